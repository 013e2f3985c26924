from pathlib import Path

import numpy as np
import pytest

from tests.factories.recordings import (
    AASM,
    EEG,
    EMG,
    build_baseline_inputs,
    build_night,
    draw_stages,
    write_cohort,
    write_rhythm_cohort,
)
from tslm.baselines import table as baselines
from tslm.baselines.band_power import CENTRED_EPOCHS, PAST_EPOCHS, measure_night
from tslm.baselines.inputs import UnfitNightsError, spread_epochs
from tslm.baselines.table import BASELINES, fit_majority, fit_transition_prior, fit_yasa
from tslm.labels import LABEL_SETS, SleepStage
from tslm.signals.features import FEATURE_COLUMNS, measure_features

W, N1, N2, N3, R = AASM.sleep_stages


def answers_of(rows) -> list[str]:
    return [row["answer"] for row in rows]


def accuracy(rows) -> float:
    return float(np.mean([answer == row["truth"] for answer, row in zip(answers_of(rows), rows, strict=True)]))


@pytest.fixture(scope="module")
def cohort_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rhythm_cohort(tmp_path_factory.mktemp("rhythm"))


def test_majority_is_the_most_frequent_training_stage_and_how_frequent_each_is(tmp_path: Path) -> None:
    write_cohort(
        tmp_path,
        {
            "train 1": build_night("a", [W, N2, N2, N2, SleepStage.MOVEMENT]),
            "train 2": build_night("b", [N2, N3, R, SleepStage.UNSCORED]),
            "test": build_night("c", [W, N1, SleepStage.UNSCORED, N2]),
        },
    )
    rows = list(fit_majority(build_baseline_inputs(tmp_path))())
    assert [row["sample_id"] for row in rows] == ["c:0", "c:1", "c:3"]
    assert answers_of(rows) == ["Non-REM stage 2"] * 3
    assert rows[0]["probabilities"] == pytest.approx([1 / 7, 0, 4 / 7, 1 / 7, 1 / 7], abs=1e-6)


def test_the_transition_prior_is_the_chain_run_from_the_first_epochs_on(tmp_path: Path) -> None:
    stages = [W, W, N1, N2, N2, N2, W, N2]
    write_cohort(tmp_path, {"train": build_night("a", stages), "test": build_night("b", [W] * 6, gap_at=3)})
    rows = list(fit_transition_prior(build_baseline_inputs(tmp_path))())
    counts = np.zeros((5, 5))
    idx = [AASM.index(stage) for stage in stages]
    for before, after in zip(idx[:-1], idx[1:], strict=True):
        counts[before, after] += 1
    night = counts + 1 + np.eye(5)
    night /= night.sum(axis=1, keepdims=True)
    for before, after in ((W, N3), (N1, N3), (R, N3), (N3, R)):
        night[AASM.index(before), AASM.index(after)] *= 0.01
    night /= night.sum(axis=1, keepdims=True)
    hour = (counts + 20 * night) / (counts.sum(axis=1, keepdims=True) + 20)
    share = (np.bincount(idx, minlength=5) + 1) / (len(idx) + 5)
    start = (share + np.eye(5)[AASM.index(W)]) / 2
    wanted = [start @ np.linalg.matrix_power(hour, time) for time in (0, 1, 2, 23, 24, 25)]  # a gap of 20 epochs
    assert np.array([row["probabilities"] for row in rows]) == pytest.approx(np.array(wanted), abs=1e-6)
    assert answers_of(rows) == [AASM.answers[int(np.argmax(values))] for values in wanted]


def test_the_transition_prior_knows_the_hour(tmp_path: Path) -> None:
    first, second = [N3, N3, N2] * 40, [R, R, N2] * 40
    write_cohort(tmp_path, {"train": build_night("a", first + second), "test": build_night("b", [W] * 240)})
    answers = answers_of(fit_transition_prior(build_baseline_inputs(tmp_path))())
    assert set(answers[20:110]) == {"Non-REM stage 3"}
    assert set(answers[200:]) == {"REM sleep"}


def test_band_power_tells_rhythms_apart_that_no_prior_can(cohort_dir: Path) -> None:
    inputs = build_baseline_inputs(cohort_dir, (EEG, EMG))
    rows = list(BASELINES["band_power"].fit(inputs)())
    assert {row["sample_id"] for row in rows} == inputs.sample_ids
    assert np.array([row["probabilities"] for row in rows]).sum(axis=1) == pytest.approx(1, abs=1e-5)
    priors = [accuracy(list(BASELINES[name].fit(inputs)())) for name in ("majority", "transition_prior")]
    assert accuracy(rows) > 0.8 > 0.5 > max(priors)


def test_features_of_neighbours_are_means_over_them_that_stop_at_gaps() -> None:
    night = build_night("a", draw_stages(40, 0), gap_at=25)
    own = measure_features(night.channels[EEG], night.fs_hz)
    own_EF = np.stack([own[name] for name in FEATURE_COLUMNS if name != "emg_rms_uv"], axis=1)
    num = own_EF.shape[1]
    table = measure_night(night, [EEG])
    assert table.shape == (40, 3 * num + 1)
    assert np.array_equal(table[:, :num], own_EF, equal_nan=True)
    assert table[-1, -1] == pytest.approx((39 * 30 + 600) / 3600)

    def scale(values: np.ndarray) -> np.ndarray:
        low, middle, high = np.percentile(values, (5, 50, 95))
        return (values - middle) / (high - low)

    run = np.array([0] * 25 + [1] * 15)
    half = CENTRED_EPOCHS // 2
    centred, past = np.empty(40), np.empty(40)
    for epoch in range(40):
        near = [e for e in range(40) if run[e] == run[epoch] and abs(e - epoch) <= half]
        weights = [half + 1 - abs(e - epoch) for e in near]
        centred[epoch] = np.average(own_EF[near, 0], weights=weights)
        before = [e for e in range(epoch - PAST_EPOCHS + 1, epoch + 1) if e >= 0 and run[e] == run[epoch]]
        past[epoch] = own_EF[before, 0].mean()
    assert table[:, num] == pytest.approx(scale(centred), abs=1e-4)
    assert table[:, 2 * num] == pytest.approx(scale(past), abs=1e-4)


def test_yasa_that_is_not_installed_says_how_to_install_it(cohort_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yasa", None)
    with pytest.raises(ImportError, match=r"not installed: pip install 'tslm-sleep\[peers\]'"):
        fit_yasa(build_baseline_inputs(cohort_dir))


def test_yasa_is_for_people(cohort_dir: Path) -> None:
    inputs = build_baseline_inputs(cohort_dir)
    with pytest.raises(UnfitNightsError, match="rodent"):
        fit_yasa(type(inputs)(**{**vars(inputs), "label_set": LABEL_SETS["rodent"]}))


def test_yasa_reads_the_epochs_as_one_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cohort(tmp_path, {"train": build_night("a", [W]), "test": build_night("b", [W, N3, R], gap_at=2)})
    told = {}

    def score(recording, channel, eog, emg):
        told.update(channel=channel, eog=eog, emg=emg, samples=len(recording.signals[EEG].values))
        return np.eye(5)[[0, 3, 4]]

    monkeypatch.setattr(baselines, "score_with_yasa", score)
    monkeypatch.setattr(baselines, "check_yasa", lambda: None)
    rows = list(fit_yasa(build_baseline_inputs(tmp_path, (EEG, EMG)))())
    assert accuracy(rows) == 1
    assert told == {"channel": EEG, "eog": None, "emg": EMG, "samples": 3 * 1920}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_subset_is_spread_over_the_night_and_the_same_every_time(seed: int) -> None:
    ids = [f"n:{idx}" for idx in range(100)]
    chosen = spread_epochs(ids, 10, seed)
    assert chosen == spread_epochs(ids, 10, seed)
    assert sorted(int(name[2:]) // 10 for name in chosen) == list(range(10))
    assert spread_epochs(ids, 0, seed) == spread_epochs(ids, 200, seed) == frozenset(ids)
