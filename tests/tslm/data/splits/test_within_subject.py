from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.factories.rows import make_row
from tests.factories.small import CHANNEL, small_config, small_recording
from tslm.data.prepared.recordings import read_participants, write_participants, write_recording
from tslm.data.samples.dataset import build_dataset
from tslm.data.samples.night_windows import load_recordings
from tslm.data.splits.folds import GAP_EPOCHS, draw_time_splits, list_folds, render_counts
from tslm.data.splits.leakage import check_leakage
from tslm.data.splits.provenance import describe_split
from tslm.data.splits.rules import assign_splits, check_split
from tslm.data.splits.split import SPLITS, Split, parse_split, render_leak
from tslm.labels import SleepStage
from tslm.predictions.scorings import parse_scorings
from tslm.scoring.systems import score_systems

RULES = ("temporal:3", "rolling:3")


def write_cohort(cohort_dir: Path, split: str, num_nights: int = 2, num_epochs: int = 80, first_seed: int = 0) -> Path:
    """Two subjects; the night that is written first began last."""
    rows = []
    for seed in range(2 * num_nights):
        night = small_recording(f"night{seed}", num_epochs, first_seed + seed, subject=f"s{seed % 2}")
        night = replace(night, start=f"2026-01-{20 - seed:02d}T22:00:00")
        rows.append(write_recording(night, cohort_dir, split))
    write_participants(rows, cohort_dir)
    return cohort_dir


@given(st.integers(60, 2000), st.sampled_from(["temporal", "rolling"]), st.integers(2, 8))
def test_training_is_before_validation_before_test_with_gaps_between(
    num_epochs: int, rule: str, num_folds: int
) -> None:
    assume(num_epochs // (num_folds + 1) >= 30)
    tested = np.zeros(num_epochs, dtype=int)
    lengths = []
    for fold in range(num_folds):
        split_E = draw_time_splits(num_epochs, Split(rule=rule, num_folds=num_folds), fold)
        idx = {split: np.flatnonzero(split_E == split) for split in SPLITS}
        assert all(len(found) and (np.diff(found) == 1).all() for found in idx.values())
        assert idx["val"][0] - idx["train"][-1] == idx["test"][0] - idx["val"][-1] == GAP_EPOCHS + 1
        assert rule == "rolling" or idx["train"][0] == 0
        lengths.append(len(idx["train"]))
        tested[idx["test"]] += 1
    assert tested.max() == 1
    assert tested.sum() == num_folds * (num_epochs // (num_folds + 1))
    assert tested[-1] == 1
    assert len(set(lengths)) == (1 if rule == "rolling" else num_folds)


@pytest.mark.parametrize(
    ("num_epochs", "split", "fold", "said"),
    [
        (100, "temporal:5", 0, "take fewer folds"),
        (1000, "temporal:5", 5, "has the folds 0 to 4, not 5"),
        (1000, "temporal:1", 0, "2 or more"),
        (1000, "rolling", 0, "rolling:K"),
    ],
)
def test_what_cannot_be_divided_is_an_error(num_epochs: int, split: str, fold: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        draw_time_splits(num_epochs, parse_split(split), fold)


@pytest.mark.parametrize("split", RULES)
def test_a_label_is_shown_to_one_split_and_no_later_signal_to_any(split: str, tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, split)
    rows = read_participants(cohort)
    assert list_folds(rows) == [0, 1, 2]
    assert "3 folds in time within each subject" in render_counts(rows)
    tested: list[tuple[str, int]] = []
    for fold in range(3):
        seen: dict[tuple[str, int], str] = {}
        last: dict[tuple[str, str], int] = {}
        for name in SPLITS:
            for night in load_recordings(cohort, name, [CHANNEL], fold):
                assert night.split.leaks and night.split.is_within_subject
                shown = [idx for idx, stage in enumerate(night.sleep_stages) if stage is not SleepStage.UNSCORED]
                assert shown[-1] == night.num_epochs - 1 == len(night.channels[CHANNEL]) - 1 == len(night.onset_s) - 1
                assert not set(seen) & {(night.recording, idx) for idx in shown}
                seen |= {(night.recording, idx): name for idx in shown}
                # Nights in the order of their starts: 2 before 0, 3 before 1.
                order = (0 if night.recording in ("night2", "night3") else 80) + shown[-1]
                last[name, night.subject] = max(last.get((name, night.subject), 0), order)
                tested += [(night.recording, idx) for idx in shown] if name == "test" else []
        for subject in ("s0", "s1"):
            assert last["train", subject] < last["val", subject] < last["test", subject]
    assert len(tested) == len(set(tested)) == 2 * 3 * 40


@pytest.mark.parametrize("split", RULES)
def test_every_output_says_within_subject(split: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = small_config(stage__train_dir=str(write_cohort(tmp_path, split)), stage__fold=1, stage__task="sleep")
    assert check_leakage([config]) == {config.stage.name}
    assert f"split={split}" in caplog.text
    dataset = build_dataset(config, "test")
    rows = [
        make_row(truth=dataset[idx].answer, sample_id=dataset[idx].sample_id, **dataset.describe(idx))
        for idx in range(len(dataset))
    ]
    metrics = score_systems(parse_scorings(rows), num_resamples=0)
    assert metrics["leaky"] and metrics["within_subject"]
    assert render_leak(metrics).startswith("WITHIN-SUBJECT: ")
    assert render_leak({"leaky": True}).startswith("LEAKY: ")
    assert render_leak({"leaky": False}) == ""
    assert describe_split(config.stage, "test")["split"] == "within subjects, fold 1 in time"
    assert '"within_subject": true' in (tmp_path / "participants.json").read_text()


def test_a_stage_may_not_know_the_time_that_another_tests(tmp_path: Path) -> None:
    first, second = write_cohort(tmp_path / "1", "temporal:3"), write_cohort(tmp_path / "2", "rolling:3", first_seed=50)
    stages = [
        small_config(stage__name=f"s{fold}", stage__train_dir=str(folder), stage__fold=fold, stage__task="night")
        for folder, fold in ((first, 2), (first, 0), (second, 2))
    ]
    for later in stages[1:]:
        with pytest.raises(ValueError, match="training may know what is tested"):
            check_leakage([stages[0], later])
    assert check_leakage([stages[0], replace(stages[0], stage=replace(stages[0].stage, name="later"))])


def test_a_cohort_is_divided_by_time_whole(tmp_path: Path) -> None:
    rows = read_participants(write_cohort(tmp_path, "temporal:3"))
    with pytest.raises(ValueError, match="only some recordings have split=temporal:3"):
        list_folds([*rows[:-1], replace(rows[-1], split=Split("train"))])
    with pytest.raises(ValueError, match="temporal:K or rolling:K"):
        check_split("temporal:x")
    assert assign_splits(["a"], "rolling:4", 0) == {"a": Split(rule="rolling", num_folds=4)}
    with pytest.raises(ValueError, match="cohort, subject s[01]: "):
        load_recordings(write_cohort(tmp_path / "cohort", "temporal:3", 1, 30), "test", [CHANNEL], 0)
