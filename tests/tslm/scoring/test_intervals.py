import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.scoring.intervals import BLOCKS, RECORDINGS, SUBJECTS, Resamples, Resampling, render_unit
from tslm.scoring.metrics import bootstrap_intervals, compute_metrics

LABELS = ["W", "N", "R"]
FEW = Resampling(num_resamples=200)


def make_subjects(num_subjects: int, epochs_each: int, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    """(truth, predicted, subjects); subjects differ in how well they are predicted."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(LABELS, num_subjects * epochs_each)
    subjects = np.repeat([f"s{idx}" for idx in range(num_subjects)], epochs_each)
    is_right = rng.random(len(truth)) < np.repeat(rng.uniform(0.4, 1.0, num_subjects), epochs_each)
    predicted = np.where(is_right, truth, rng.choice(LABELS, len(truth)))
    return truth.tolist(), predicted.tolist(), subjects.tolist()


def test_totals_equal_sums_over_the_subjects_drawn_one_by_one() -> None:
    rng = np.random.default_rng(0)
    subjects = rng.choice(["a", "b", "c", "d"], 50).tolist()
    counted = rng.normal(size=(50, 3))
    resampling = Resampling(num_resamples=30, seed=5)
    totals = Resamples(50, subjects, resampling).sum(counted)
    names = sorted(set(subjects))
    drawn = np.random.default_rng(5).integers(len(names), size=(30, len(names)), dtype=np.int32)
    for total, units in zip(totals, drawn, strict=True):
        wanted = sum(counted[[subject == names[unit] for subject in subjects]].sum(0) for unit in units)
        np.testing.assert_allclose(total, wanted, atol=1e-12)


def test_totals_equal_sums_over_the_circular_blocks_drawn_one_by_one() -> None:
    counted = np.random.default_rng(0).normal(size=(43, 2))
    totals = Resamples(43, None, Resampling(num_resamples=20, seed=1, block_samples=3)).sum(counted)
    drawn = np.random.default_rng(1).integers(43, size=(20, 15), dtype=np.int32)
    for total, starts in zip(totals, drawn, strict=True):
        taken = ((starts[:, None] + np.arange(3)) % 43).ravel()
        np.testing.assert_allclose(total, counted[taken].sum(0), atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None])), min_size=1, max_size=20),
    st.integers(2, 6),
)
def test_intervals_over_subjects_that_are_all_alike_have_no_width(night, num_subjects):
    truth, predicted = (list(values) * num_subjects for values in zip(*night, strict=True))
    subjects = [f"s{idx}" for idx in range(num_subjects) for _ in night]
    metrics = compute_metrics(truth, predicted, LABELS)
    intervals = bootstrap_intervals(truth, predicted, LABELS, subjects=subjects, resampling=FEW)
    for name in ("accuracy", "macro_f1", "cohen_kappa"):
        wanted = metrics[name]
        assert intervals[name] == ([None, None] if wanted is None else pytest.approx([wanted, wanted], abs=1e-12))
    for label, wanted in metrics["per_class_f1"].items():
        found = intervals["per_class_f1"][label]
        assert found == ([None, None] if wanted is None else pytest.approx([wanted, wanted], abs=1e-12))


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_intervals_over_subjects_do_not_depend_on_the_order_of_samples(random):
    samples = list(zip(*make_subjects(5, 12), strict=True))
    intervals = []
    for _ in range(2):
        truth, predicted, subjects = zip(*samples, strict=True)
        intervals.append(bootstrap_intervals(truth, predicted, LABELS, subjects=subjects, resampling=FEW))
        random.shuffle(samples)
    assert intervals[0] == intervals[1]


def test_intervals_over_subjects_have_the_width_that_subjects_differ_by() -> None:
    truth, predicted, subjects = make_subjects(40, 200)
    of_subject = np.array(truth).reshape(40, 200) == np.array(predicted).reshape(40, 200)
    spread = of_subject.mean(1).std() / np.sqrt(40)
    over_subjects = bootstrap_intervals(truth, predicted, LABELS, subjects=subjects)
    over_blocks = bootstrap_intervals(truth, predicted, LABELS)
    low, high = over_subjects["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert over_subjects["unit"] == SUBJECTS
    assert over_subjects["num_units"] == 40
    assert over_blocks["unit"] == BLOCKS
    assert over_blocks["accuracy"][1] - over_blocks["accuracy"][0] < high - low


def test_one_subject_is_drawn_in_blocks_as_if_none_was_named() -> None:
    truth, predicted, subjects = make_subjects(1, 300)
    named = bootstrap_intervals(truth, predicted, LABELS, subjects=subjects, resampling=FEW)
    assert named == bootstrap_intervals(truth, predicted, LABELS, resampling=FEW)
    assert (named["unit"], named["block_samples"]) == (BLOCKS, 20)


@pytest.mark.parametrize(
    ("num_subjects", "unit", "said"),
    [
        (1, SUBJECTS, "95 % intervals over 20 blocks of epochs (20 each) of one subject: they say nothing about other"),
        (3, SUBJECTS, "95 % intervals over 3 subjects; so few that they are too narrow"),
        (8, SUBJECTS, "95 % intervals over 8 subjects"),
        (3, RECORDINGS, "over 3 recordings, taken for people as the predictions name no subjects; so few"),
    ],
)
def test_what_intervals_are_over_is_said(num_subjects: int, unit: str, said: str) -> None:
    truth, predicted, subjects = make_subjects(num_subjects, 400 // num_subjects)
    resampling = Resampling(num_resamples=2, unit=unit)
    text = render_unit(bootstrap_intervals(truth, predicted, LABELS, subjects=subjects, resampling=resampling))
    assert said in text
    assert ("too narrow" in text) is (1 < num_subjects < 5)


@pytest.mark.parametrize("wrong", [{"num_resamples": 0}, {"block_samples": 0}, {"level": 1.0}])
def test_a_resampling_that_cannot_be_drawn_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Resampling(**wrong)


def test_subjects_of_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="2 subjects but 3 samples"):
        Resamples(3, ["a", "b"], Resampling())
