from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories.small import AASM, CHANNEL, small_config, small_recording, split_by_epoch
from tslm.batch import IGNORE_INDEX
from tslm.data.prepared.recordings import Participant, write_participants, write_recording
from tslm.data.samples.dataset import build_dataset
from tslm.data.samples.night_windows import load_recordings
from tslm.data.splits.folds import EPOCH_SHARES, choose_fold, draw_epoch_splits, keep_epochs, list_folds
from tslm.data.splits.rules import DEFAULT_SPLIT, PUBLISHED_FOLDS, assign_splits, check_split, hold_out
from tslm.data.splits.split import BY_EPOCH, SPLITS, Split
from tslm.labels import SleepStage

SUBJECTS = st.sets(st.text("abcdefgh0123456789", min_size=1, max_size=4), min_size=3, max_size=60)


def make_rows(places: dict[str, Split], nights: int = 2) -> list[Participant]:
    return [
        Participant(f"{subject}n{night}", subject, "human", place, "0", 100.0, "", "", "")
        for subject, place in places.items()
        for night in range(nights)
    ]


@pytest.mark.parametrize(
    ("num_subjects", "split", "counts"),
    [
        (1, "70/15/15", {"test": 1}),
        (2, "70/15/15", {"test": 1, "train": 1}),
        (3, "70/15/15", {"test": 1, "train": 1, "val": 1}),
        (19, "70/15/15", {"train": 13, "val": 3, "test": 3}),
        (20, "70/15/15", {"train": 12, "val": 3, "test": 5}),
        (34, "70/15/15", {"train": 24, "val": 5, "test": 5}),
        (78, "70/15/15", {"train": 54, "val": 12, "test": 12}),
        (100, "70/15/15", {"train": 70, "val": 15, "test": 15}),
        (24, "85/15/0", {"train": 20, "val": 4}),
        (10, "80/20/0", {"train": 8, "val": 2}),
        (4, "test", {"test": 4}),
        (40, "train", {"train": 40}),
    ],
)
def test_splits_have_their_shares_and_five_test_subjects_where_there_are_twenty(
    num_subjects: int, split: str, counts: dict[str, int]
) -> None:
    subjects = [f"S{idx}" for idx in range(num_subjects)]
    assigned = assign_splits(subjects, split, 0)
    assert Counter(place.part for place in assigned.values()) == counts
    assert assigned == assign_splits(list(reversed(subjects)), split, 0)
    if num_subjects == 20:
        assert assigned != assign_splits(subjects, split, 1)


@given(SUBJECTS, st.sampled_from([DEFAULT_SPLIT, "80/10/10", "kfold:3", "loso"]), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_subject_has_one_place_whatever_the_rule(subjects: set[str], split: str, seed: int) -> None:
    places = assign_splits(subjects, split, seed)
    assert set(places) == subjects
    rows = make_rows(places)
    folds = list_folds(rows)
    assert bool(folds) == split.startswith(("kfold", "loso"))
    tested: Counter[str] = Counter()
    for fold in folds or [-1]:
        split_of: dict[str, set[str]] = {}
        for row in choose_fold(rows, fold):
            split_of.setdefault(row.subject, set()).add(row.split.part)
        assert all(len(splits) == 1 for splits in split_of.values())
        assert {"train", "val", "test"} == set.union(*split_of.values())
        tested.update(subject for subject, splits in split_of.items() if splits == {"test"})
    if folds:
        assert set(tested) == subjects
        assert set(tested.values()) == {1}


@pytest.mark.parametrize("num_subjects", [10, 23, 78])
def test_folds_differ_by_one_subject_at_most(num_subjects: int) -> None:
    places = assign_splits([f"S{idx}" for idx in range(num_subjects)], "kfold:10", 0)
    sizes = Counter(place.fold for place in places.values())
    assert set(sizes) == set(range(10))
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_the_first_fold_is_the_split_column_and_the_next_fold_validates() -> None:
    rows = make_rows(assign_splits([f"S{idx}" for idx in range(6)], "loso", 0), nights=1)
    assert [row.split.part for row in rows] == [row.split.part for row in choose_fold(rows, 0)]
    assert [row.split.part for row in choose_fold(rows, 0)] == ["test", "val", *["train"] * 4]
    assert [row.split.part for row in choose_fold(rows, 5)] == ["val", *["train"] * 4, "test"]


def test_published_folds_are_those_of_the_papers() -> None:
    twenty, all_78 = PUBLISHED_FOLDS["sleep_edf_20"], PUBLISHED_FOLDS["sleep_edf_78"]
    assert [twenty[f"SC4{number:02d}"] for number in range(20)] == list(range(20))
    assert len(all_78) == 78
    assert not {"SC439", "SC468", "SC469", "SC478", "SC479", "SC483"} & set(all_78)
    assert sorted(Counter(all_78.values()).items()) == [(fold, 8 if fold < 8 else 7) for fold in range(10)]
    # ends of TinySleepNet's np.array_split over its list of subjects
    members = {fold: [subject for subject in all_78 if all_78[subject] == fold] for fold in (4, 9)}
    assert members[4] == [f"SC4{number}" for number in (32, 33, 34, 35, 36, 37, 38, 40)]
    assert members[9] == [f"SC4{number}" for number in (74, 75, 76, 77, 80, 81, 82)]


def test_an_incomplete_download_keeps_the_published_numbers() -> None:
    places = assign_splits(["SC482", "SC400", "SC410", "ST701"], "sleep_edf_78", 0)
    assert {subject: place.fold for subject, place in places.items()} == {"SC400": 0, "SC410": 1, "SC482": 9}
    rows = make_rows(places)
    assert {row.subject: row.split.part for row in choose_fold(rows, 9)} == {
        "SC400": "val",
        "SC410": "train",
        "SC482": "test",
    }


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("90/20/10", "in percent such as 70/15/15"),
        ("nan/0/100", "in percent"),
        ("sleep_edf_30", "sleep_edf_20, sleep_edf_78, by_epoch"),
        ("kfold", "kfold:K"),
        ("kfold:2", "3 or more"),
        ("kfold:x", "whole number"),
    ],
)
def test_a_rule_that_is_none_lists_the_rules(split: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_split(split)


HELD = [
    replace(row, start=f"2024-03-0{1 + idx % 2}T12:00:00", source="lab1" if row.subject < "s4" else "lab2")
    for idx, row in enumerate(make_rows({f"s{number}": Split("train") for number in range(6)}))
]


@pytest.mark.parametrize("rule", ["holdout:source=lab2", "holdout:subject=s[45]"])
def test_a_held_out_site_is_the_test_and_nobody_of_it_trains(rule: str) -> None:
    split_of = hold_out(HELD, rule, 0)
    assert {row.recording for row in HELD if split_of[row.recording].part == "test"} == {"s4n0", "s4n1", "s5n0", "s5n1"}
    assert {split_of[row.recording].part for row in HELD if row.source == "lab1"} == {"train", "val"}


def test_other_days_of_those_who_test_are_left_out() -> None:
    rows = [row for row in HELD if row.subject < "s2" or row.start < "2024-03-02"]  # s0 and s1 come on both days
    split_of = hold_out(rows, "holdout:start=2024-03-02*", 0)
    assert {name for name, split in split_of.items() if split.part == "test"} == {"s0n1", "s1n1"}
    assert not {"s0n0", "s1n0"} & split_of.keys()
    assert {row.subject for row in rows if row.recording in split_of and split_of[row.recording].part != "test"} == {
        "s2",
        "s3",
        "s4",
        "s5",
    }


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("holdout:source", "wanted holdout:COLUMN=PATTERN"),
        ("holdout:fold=1", "COLUMN one of: source"),
        ("holdout:source=lab3", "no recording matches; the column source holds: lab1, lab2"),
        ("holdout:start=2024*", "leaves 0 subjects"),
    ],
)
def test_a_hold_out_that_cannot_be_says_why(rule: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hold_out(HELD, rule, 0)


def test_a_hold_out_needs_the_table_of_a_prepared_cohort() -> None:
    with pytest.raises(ValueError, match="data_prep.split"):
        assign_splits(["a", "b", "c"], "holdout:source=lab2", 0)


@pytest.mark.parametrize(
    ("subjects", "split", "said"),
    [
        (["a", "b", "c"], "kfold:4", "4 subjects or more, there are 3"),
        (["a", "b"], "loso", "3 folds or more"),
        (["ST701", "ST702", "ST703"], "sleep_edf_20", "3 folds or more .*, here are 0"),
        (["SC400", "SC401", "SC402"], "sleep_edf_78", "here are 1"),
    ],
)
def test_too_few_subjects_for_a_rule_are_an_error(subjects: list[str], split: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        assign_splits(subjects, split, 0)


def test_folds_that_contradict_one_another_name_the_subject() -> None:
    rows = make_rows(assign_splits(["a", "b", "c"], "loso", 0))
    with pytest.raises(
        ValueError, match=r"folds \(0 to 2\) and stage.fold chooses none; give stage.fold=N or --fold N"
    ):
        choose_fold(rows, -1)
    with pytest.raises(ValueError, match="stage.fold is 7"):
        choose_fold(rows, 7)
    with pytest.raises(ValueError, match="subject c is in fold 2 and in 1: a leak"):
        choose_fold([*rows[:-1], replace(rows[-1], split=Split("train", 1))], 0)
    with pytest.raises(ValueError, match="subject c has no fold"):
        choose_fold([*rows[:-2], *(replace(row, split=Split("train")) for row in rows[-2:])], 0)


@given(st.lists(st.sampled_from(list(SleepStage)), min_size=1, max_size=300), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_epochs_are_split_by_their_shares_in_every_stage(stages: list[SleepStage], seed: int) -> None:
    splits = draw_epoch_splits(stages, "night1", seed)
    assert splits == draw_epoch_splits(stages, "night1", seed)
    for stage in set(stages):
        counts = Counter(split for split, other in zip(splits, stages, strict=True) if other is stage)
        for split, share in zip(SPLITS, EPOCH_SHARES, strict=True):
            assert abs(counts[split] - share * stages.count(stage)) <= 1


def test_rare_stages_are_not_always_training() -> None:
    drawn = Counter(draw_epoch_splits([SleepStage.N1], f"night{idx}", 0)[0] for idx in range(2000))
    assert drawn["test"] / 2000 == pytest.approx(0.1, abs=0.03)
    assert drawn["val"] / 2000 == pytest.approx(0.1, abs=0.03)


def write_leaky_cohort(cohort_dir: Path) -> Path:
    rows = []
    for seed in range(2):
        leaky = split_by_epoch(small_recording(f"night{seed}", 60, seed))
        rows.append(write_recording(leaky, cohort_dir, BY_EPOCH))
    write_participants(rows, cohort_dir)
    return cohort_dir


@pytest.mark.parametrize("reader", ["sleep", "night"])
def test_a_split_by_epoch_shows_each_label_to_one_split_only(reader: str, tmp_path: Path) -> None:
    config = small_config(stage__task=reader, stage__train_dir=str(write_leaky_cohort(tmp_path)))
    seen: Counter[tuple[str, int]] = Counter()
    for split in SPLITS:
        dataset = build_dataset(config, split)
        labelled = set()
        for idx in range(len(dataset)):
            window = dataset[idx].window
            assert window is not None
            where = dataset.describe(idx)
            first = where["epoch_idx"] - len(window.sleep_stage_idx_W) // 2
            labelled |= {
                (where["recording"], first + int(offset))
                for offset in np.flatnonzero(window.sleep_stage_idx_W != IGNORE_INDEX)
            }
        seen.update(labelled)
    assert len(seen) == 2 * 60
    assert set(seen.values()) == {1}


def test_hiding_labels_leaves_the_signal_and_recordings_split_by_subject_alone(tmp_path: Path) -> None:
    plain = small_recording()
    assert keep_epochs(plain, "train") is plain
    for recording in load_recordings(write_leaky_cohort(tmp_path), "test", [CHANNEL]):
        assert recording.split.leaks
        assert recording.num_epochs == 60
        assert Counter(stage in AASM for stage in recording.sleep_stages)[True] < 20
        assert recording.channels[CHANNEL].any(axis=1).all()


def test_a_recording_says_by_epoch_if_and_only_if_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has split 'by_epoch'"):
        write_recording(small_recording(), tmp_path, BY_EPOCH)
    with pytest.raises(ValueError, match="has split 'train'"):
        write_recording(split_by_epoch(small_recording()), tmp_path, "train")
