from pathlib import Path

import pytest

from tests.factories.small import small_recording
from tslm.data.prepared.recordings import read_participants, write_participants, write_recording
from tslm.data.samples.night_windows import load_recordings
from tslm.data.splits.folds import list_folds, write_inner_cohort
from tslm.data.splits.rules import assign_splits


def write_cohort(cohort_dir: Path, split: str, num_subjects: int = 5) -> Path:
    places = assign_splits([f"s{idx}" for idx in range(num_subjects)], split, 0)
    rows = []
    for idx in range(2 * num_subjects):
        night = small_recording(f"night{idx}", 10, idx, subject=f"s{idx % num_subjects}")
        rows.append(write_recording(night, cohort_dir, places[night.subject]))
    write_participants(rows, cohort_dir)
    return cohort_dir


@pytest.mark.parametrize("fold", range(5))
def test_the_subjects_that_a_fold_tests_are_not_in_its_inner_cohort(fold: int, tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "a", "loso")
    for _ in range(2):  # written again, it is the same
        inner = write_inner_cohort(cohort, fold, 3, tmp_path / "b")
        assert {row.subject for row in inner} == {f"s{idx}" for idx in range(5)} - {f"s{fold}"}
        assert read_participants(tmp_path / "b") == inner
        assert {path.stem for path in (tmp_path / "b").glob("*.parquet")} == {row.recording for row in inner}
        assert list_folds(inner) == [0, 1, 2]
    tested = []
    for inner_fold in range(3):
        of_split = {
            split: {night.subject for night in load_recordings(tmp_path / "b", split, [], inner_fold)}
            for split in ("train", "val", "test")
        }
        assert len(set.union(*of_split.values())) == sum(map(len, of_split.values())) == 4
        tested += sorted(of_split["test"])
    assert sorted(tested) == [f"s{idx}" for idx in range(5) if idx != fold]
    assert all(row.split.fold is not None for row in read_participants(cohort))


def test_folds_of_another_outer_fold_leave_no_recording_behind(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "a", "loso")
    write_inner_cohort(cohort, 0, 3, tmp_path / "b")
    write_inner_cohort(cohort, 1, 3, tmp_path / "b")
    assert not {"night1", "night6"} & {path.stem for path in (tmp_path / "b").glob("*.parquet")}


@pytest.mark.parametrize(
    ("split", "fold", "num_folds", "said"),
    [
        ("70/15/15", 0, 3, "no folds of subjects to tune within"),
        ("temporal:2", 0, 3, "no folds of subjects to tune within"),
        ("loso", 9, 3, "stage.fold is 9"),
        ("loso", 0, 5, "needs 5 subjects or more, there are 4"),
        ("loso", 0, 2, "3 or more"),
    ],
)
def test_what_has_no_inner_folds_says_why(split: str, fold: int, num_folds: int, said: str, tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "a", split)
    with pytest.raises(ValueError, match=said):
        write_inner_cohort(cohort, fold, num_folds, tmp_path / "b")
