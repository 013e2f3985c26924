from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.rows import OPTIONS, make_row
from tests.factories.small import small_recording
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.labels import LABEL_SETS, SleepStage
from tslm.predictions.truth import align_rows, apply_truth, read_truth


def make_rows(sample_ids: Any, system: str = "scorer") -> Any:
    return [make_row(sample_id=name, system=system) for name in sample_ids]


@given(st.lists(st.text("abc", min_size=1), unique=True), st.randoms(use_true_random=False))
def test_rows_come_in_the_order_of_the_samples(sample_ids, random):
    rows = make_rows(sample_ids)
    random.shuffle(rows)
    assert [row["sample_id"] for row in align_rows(rows, sample_ids, "the truth")] == sample_ids


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_samples_on_one_side_only_are_named(predicted, wanted):
    if predicted == wanted:
        return
    with pytest.raises(ValueError, match="other epochs than night 4") as caught:
        align_rows(make_rows(sorted(predicted)), sorted(wanted), "night 4")
    said = str(caught.value)
    missing, extra = sorted(wanted - predicted), sorted(predicted - wanted)
    assert (f"lack {len(missing)} of the {len(wanted)}" in said) is bool(missing)
    assert (f"hold {len(extra)} that it lacks" in said) is bool(extra)
    for names in (missing, extra):
        assert not names or f": {', '.join(names[:5])}" in said


@pytest.mark.parametrize(
    ("predicted", "wanted", "holder"), [("aab", "ab", "the predictions"), ("ab", "aab", "the truth")]
)
def test_samples_that_stand_twice_are_named(predicted: str, wanted: str, holder: str) -> None:
    with pytest.raises(ValueError, match=f"{holder} hold.* a more than once"):
        align_rows(make_rows(predicted), list(wanted), "the truth")


def test_many_samples_are_counted_and_the_first_are_named() -> None:
    with pytest.raises(ValueError, match=r"lack 20 of the 20 epochs of the truth: 0, 1, 2, 3, 4 and 15 more"):
        align_rows([], [str(idx) for idx in range(20)], "the truth")


def test_epochs_of_a_cohort_that_no_option_answers_are_no_truth(tmp_path: Path) -> None:
    stages = (SleepStage.WAKE, SleepStage.UNSCORED, SleepStage.MOVEMENT, SleepStage.N2)
    night = small_recording("n", sleep_stages=stages, subject="s")
    write_participants([write_recording(night, tmp_path, "test")], tmp_path)
    whose = {"recording": "n", "subject": "s"}
    assert read_truth(tmp_path, OPTIONS) == {
        "n:0": {"truth": "Wake", **whose},
        "n:3": {"truth": "Non-REM stage 2", **whose},
    }
    assert list(read_truth(tmp_path, LABEL_SETS["aasm_movement"].answers)) == ["n:0", "n:2", "n:3"]
    with pytest.raises(ValueError, match="no epoch in split 'val'"):
        read_truth(tmp_path, OPTIONS, "val")


def test_labels_and_subjects_of_the_truth_stand_in_the_place_of_the_rows() -> None:
    rows = make_rows("ab")
    rows[0] |= {"subject": "me", "onset_s": 3.0}
    applied, num_other = apply_truth(rows, {"b": {"truth": "REM sleep", "subject": "x"}, "a": {"truth": "Wake"}})
    assert [(row["sample_id"], row["truth"], row.get("subject")) for row in applied] == [
        ("b", "REM sleep", "x"),
        ("a", "Wake", "me"),
    ]
    assert num_other == 1
    assert applied[1]["onset_s"] == 3.0
    assert rows[1]["truth"] == "Wake"


def test_every_system_is_held_against_the_truth() -> None:
    labelled: Any = {"a": {"truth": "REM sleep"}, "b": {"truth": "Wake"}}
    rows = [*make_rows("ba", "one"), *make_rows("ab", "two")]
    applied, num_other = apply_truth(rows, labelled)
    assert [(row["system"], row["sample_id"]) for row in applied] == [
        ("one", "a"),
        ("one", "b"),
        ("two", "a"),
        ("two", "b"),
    ]
    assert num_other == 1
    with pytest.raises(ValueError, match="lack 1 of the 2 epochs of the truth: b"):
        apply_truth(rows[:-1], labelled)
