import sys
from dataclasses import replace

import numpy as np
import pytest

from data_prep.realism import bench
from data_prep.realism.bench import (
    BenchOptions,
    Row,
    judge_simulation,
    main,
    measure_preparation,
    measure_realism,
    measure_speed,
)
from data_prep.simulators.human.night import CHANNEL, simulate_human_night
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.labels import SleepStage

W, N1, N2, N3, R, MOVE = (SleepStage(code) for code in ("W", "N1", "N2", "N3", "R", "MOVE"))


@pytest.fixture
def options(tmp_path):
    return BenchOptions(raw_dir=tmp_path, num_nights=1, seed=0, repeats=1)


@pytest.mark.parametrize(
    ("row", "end"),
    [
        (Row("a", 1.5, "s", most=2.0), "wanted <= 2       met"),
        (Row("a", 2.5, "s", most=2.0), "wanted <= 2       MISSED"),
        (Row("a", 0.8, "", 0.75, 0.9), "wanted 0.75-0.9   met"),
        (Row("a", 0.95, "", 0.75, 0.9), "wanted 0.75-0.9   MISSED"),
        (Row("a", 290, "epochs/s", least=300), "wanted >= 300     MISSED"),
        (Row("a", None, note="no file"), "skipped: no file"),
    ],
)
def test_a_row_says_what_was_wanted_and_whether_it_is_met(row, end):
    assert str(row).endswith(end)


def test_a_missing_recording_and_a_missing_peer_skip_their_rows(options, monkeypatch):
    def judge(num_nights, seed):
        raise ImportError("YASA is not installed")

    monkeypatch.setattr(bench, "judge_simulation", judge)
    for measure in (measure_preparation, measure_realism):
        rows = list(measure(options))
        assert [row.value for row in rows] == [None]
        assert rows[0].note


def test_speed_is_measured_on_a_simulated_night(options):
    evidence, simulation = measure_speed(options)
    assert 0 < evidence.value < 50
    assert simulation.value > 10


def test_the_memory_of_children_counts():
    child = "x = bytearray(60 << 20); import time; time.sleep(0.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert bench._watch_memory([sys.executable, "-c", parent]) > 60 << 20
    with pytest.raises(OSError, match="ended with 3"):
        bench._watch_memory([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_mistake_in_the_call_ends_in_one_line(capsys):
    assert main(["--repeats", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_judgement_leaves_movement_out(monkeypatch):
    truth = (W, W, W, MOVE, N1, N2, N2, N2, N3, N3, R, R)
    night = RawRecording("S", "S", {CHANNEL: RawSignal(np.zeros(len(truth) * 3000), 100.0)}, truth, 30)
    monkeypatch.setattr(bench, "simulate_human_night", lambda seed, idx: night)
    monkeypatch.setattr(bench, "stage_with_yasa", lambda night, channel: (W, W, W, W, N2, N2, N2, N2, N3, N3, R, R))
    metrics = judge_simulation(2, 0)
    assert metrics["num_samples"] == 22
    assert metrics["per_class_f1"][N1] == 0


def test_yasa_finds_the_stages_of_a_simulated_night(monkeypatch):
    pytest.importorskip("yasa", reason="YASA is not installed: pip install tslm-sleep[peers]")
    whole = simulate_human_night(5, 0)
    signal = replace(whole.signals[CHANNEL], values=whole.signals[CHANNEL].values[: 300 * 3000])
    night = replace(whole, signals={CHANNEL: signal}, sleep_stages=whole.sleep_stages[:300])
    monkeypatch.setattr(bench, "simulate_human_night", lambda seed, idx: night)
    assert judge_simulation(1, 5)["cohen_kappa"] > 0.5
