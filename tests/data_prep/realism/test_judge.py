from dataclasses import replace

import numpy as np
import pytest

from data_prep.realism import evidence as evidence_judge
from data_prep.realism import simulation as simulation_judge
from data_prep.realism.evidence import compare_detections, count_events, cover_epochs, judge_evidence, render_agreement
from data_prep.realism.simulation import judge_simulation, render_judgement
from data_prep.simulators.human.night import CHANNEL, simulate_human_night
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.labels import SleepStage

W, N1, N2, N3, R, MOVE = (SleepStage(code) for code in ("W", "N1", "N2", "N3", "R", "MOVE"))


def _night(sleep_stages):
    values = np.random.default_rng(0).normal(0, 20, len(sleep_stages) * 3000).astype(np.float32)
    return RawRecording("S", "S", {CHANNEL: RawSignal(values, 100.0)}, tuple(sleep_stages), 30)


def test_events_are_counted_where_they_begin_and_cover_what_they_span():
    spans_s = np.array([[1.0, 2.5], [29.0, 33.0], [31.0, 32.0], [61.0, 70.0]])
    assert count_events(spans_s, 2).tolist() == [2, 1]
    np.testing.assert_allclose(cover_epochs(spans_s, 2), [(1.5 + 1) / 30, 3 / 30])
    assert count_events(np.zeros((0, 2)), 3).tolist() == cover_epochs(np.zeros((0, 2)), 3).tolist() == [0, 0, 0]


def test_precision_and_recall_are_ours_against_theirs():
    row = compare_detections("spindles", np.array([2, 1, 0, 1, 0]), np.array([1, 0, 0, 1, 1]), 1)
    assert (row.our_total, row.their_total) == (4, 3)
    assert (row.precision, row.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert compare_detections("same", np.arange(4), np.arange(4), 2).kappa == 1
    assert "spindles" in render_agreement([row])


def test_the_judgement_leaves_movement_out_and_says_what_is_missed(monkeypatch):
    truth = [W, W, W, MOVE, N1, N2, N2, N2, N3, N3, R, R]
    monkeypatch.setattr(simulation_judge, "simulate_human_night", lambda seed, idx: _night(truth))
    staged = [W, W, W, W, N2, N2, N2, N2, N3, N3, R, R]
    monkeypatch.setattr(simulation_judge, "stage_with_yasa", lambda night, channel: tuple(staged))
    metrics = judge_simulation(2, 0)
    assert metrics["num_samples"] == 22
    lines = render_judgement(metrics).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == [
        "met",
        "met",
        "MISSED",
        "met",
        "met",
        "met",
    ]  # kappa, W, N1, N2, N3, R


@pytest.mark.parametrize(
    ("main", "argv", "complaint"),
    [
        (simulation_judge.main, ["--num_nights", "0", "--seed", "1"], "--num_nights 0"),
        (evidence_judge.main, [], "nothing to compare"),
        (evidence_judge.main, ["--data", "missing"], "participants.tsv is missing"),
    ],
)
def test_mistakes_end_in_one_line(main, argv, complaint, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def night():
    pytest.importorskip("yasa", reason="YASA is not installed: pip install tslm-sleep[peers]")
    whole = simulate_human_night(5, 0)
    signal = whole.signals[CHANNEL]
    return replace(
        whole,
        signals={CHANNEL: replace(signal, values=signal.values[: 300 * 3000])},
        sleep_stages=whole.sleep_stages[:300],
    )


def test_yasa_finds_the_stages_of_a_simulated_night(night, monkeypatch):
    monkeypatch.setattr(simulation_judge, "simulate_human_night", lambda seed, idx: night)
    metrics = judge_simulation(1, 5)
    assert metrics["cohen_kappa"] > 0.5


def test_our_detectors_find_what_yasas_find(night):
    spindles, slow_waves = judge_evidence([night])
    assert spindles.recall > 0.8
    assert spindles.kappa > 0.4
    assert slow_waves.recall > 0.8
    assert slow_waves.correlation > 0.7
