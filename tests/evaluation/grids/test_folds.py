from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.grids.folds import Fold, pool_folds
from tests.factories.rows import make_row as make_epoch_row
from tslm.data.prepared.recordings import Participant
from tslm.data.splits.folds import choose_fold, list_folds
from tslm.data.splits.rules import assign_splits
from tslm.labels import LABEL_SETS
from tslm.predictions.rows import PredictionRow

OPTIONS = list(LABEL_SETS["rodent"].answers)


def make_row(recording: str, subject: str, epoch: int = 0, **more: Any) -> PredictionRow:
    return make_epoch_row(epoch, OPTIONS[0], recording=recording, subject=subject, options=OPTIONS, **more)


def make_folds(num_subjects: int, split: str, seed: int = 0) -> list[Fold]:
    """Folds as the library draws them: two nights a subject."""
    places = assign_splits([f"s{idx}" for idx in range(num_subjects)], split, seed)
    rows = [
        Participant(f"{subject}n{night}", subject, "mouse", place, "0", 100.0, "", "", "")
        for subject, place in places.items()
        for night in (1, 2)
    ]
    folds = []
    for number in list_folds(rows):
        chosen = choose_fold(rows, number)
        tested = [
            make_row(row.recording, row.subject, epoch)
            for row in chosen
            if row.split.part == "test"
            for epoch in (0, 1)
        ]
        folds.append(Fold(number, tested, {row.recording: row.subject for row in chosen if row.split.part != "test"}))
    return folds


@given(st.integers(3, 12), st.sampled_from(["kfold:3", "loso"]), st.integers(0, 3))
def test_folds_of_the_library_pool_and_test_every_epoch_once(num_subjects: int, split: str, seed: int) -> None:
    pooled = pool_folds(make_folds(num_subjects, split, seed))
    assert len({row["sample_id"] for row in pooled}) == len(pooled) == 4 * num_subjects
    assert {row["subject"]: row["fold"] for row in pooled}.keys() == {f"s{idx}" for idx in range(num_subjects)}


def plant_in_training(folds: list[Fold], named: bool) -> list[Fold]:
    """The other night of a test subject among the training data of its fold; its subject named there or not."""
    subject = folds[1].rows[0]["subject"]
    more = {f"{subject}n2": subject if named else ""}
    folds[1] = replace(folds[1], rows=folds[1].rows[:1], trained_on={**folds[1].trained_on, **more})
    if not named:  # another fold's row tells whose night it is
        folds[0] = replace(folds[0], rows=[*folds[0].rows, make_row(f"{subject}n2", subject, 7, leaky=True)])
    return folds


def plant_same_recording(folds: list[Fold]) -> list[Fold]:
    return [*folds[:-1], replace(folds[-1], trained_on={**folds[-1].trained_on, folds[-1].rows[0]["recording"]: ""})]


def plant_subject_in_two_tests(folds: list[Fold]) -> list[Fold]:
    moved = make_row("s9n9", folds[0].rows[0]["subject"])
    return [folds[0], replace(folds[1], rows=[*folds[1].rows, moved], trained_on={}), *folds[2:]]


def plant_epoch_twice(folds: list[Fold]) -> list[Fold]:
    return [folds[0], replace(folds[1], rows=[*folds[1].rows, folds[0].rows[0]], trained_on={}), *folds[2:]]


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (
            lambda folds: plant_in_training(folds, True),
            "fold 1 tests recording .* and was trained on it, or on another",
        ),
        (
            lambda folds: plant_in_training(folds, False),
            "fold 1 tests recording .* and was trained on it, or on another",
        ),
        (plant_same_recording, "fold 2 tests recording .* and was trained on it"),
        (plant_subject_in_two_tests, "subject s. is tested by fold 0 and by fold 1: a leak"),
        (plant_epoch_twice, "sample s.n1:0 is tested by fold 0 and by fold 1: a leak"),
    ],
)
def test_a_subject_that_is_planted_across_folds_is_found(plant: Any, said: str) -> None:
    folds = make_folds(3, "kfold:3")
    pool_folds(folds)
    with pytest.raises(ValueError, match=said):
        pool_folds(plant(folds))


def test_marked_rows_may_share_subjects_but_no_epoch_is_tested_twice() -> None:
    known = {"s0n1": "s0"}
    folds = [Fold(fold, [make_row("s0n1", "s0", fold, leaky=True)], known) for fold in range(3)]
    assert [row["fold"] for row in pool_folds(folds)] == [0, 1, 2]
    with pytest.raises(ValueError, match="sample s0n1:0 is tested by fold 0 and by fold 3"):
        pool_folds([*folds, Fold(3, folds[0].rows, known)])


def test_rows_without_subjects_are_told_apart_by_their_recordings() -> None:
    rows = [{name: value for name, value in make_row(f"n{idx}", "").items() if name != "subject"} for idx in range(2)]
    pool_folds([Fold(idx, [row], {f"n{1 - idx}": ""}) for idx, row in enumerate(rows)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="recording n1 of subject unknown"):
        pool_folds([Fold(1, rows[1:], {"n1": ""})])  # type: ignore[arg-type]
