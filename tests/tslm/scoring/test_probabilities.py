import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, cohen_kappa_score, log_loss, roc_auc_score

from tslm.scoring.intervals import Resampling
from tslm.scoring.probabilities import (
    NUM_BINS,
    bootstrap_probabilities,
    measure_auroc,
    measure_entropy,
    measure_margin,
    measure_perplexity,
    score_probabilities,
    score_selection,
)

LABELS = ["W", "N1", "N2", "N3", "R"]
LOGITS = npst.arrays(float, (4, 5), elements=st.floats(-20, 20))


def draw(
    num_samples: int = 700, seed: int = 0, num_classes: int = 5, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and the classes drawn from them, so that they are calibrated."""
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(0, spread, (num_samples, num_classes)), axis=1)
    truth = (probabilities.cumsum(1) < rng.random((num_samples, 1))).sum(1).clip(max=num_classes - 1)
    return probabilities, truth


def find_reference_ece(confidence: np.ndarray, is_right: np.ndarray) -> float:
    """From scikit-learn's reliability curve, in float64."""
    share_right, mean_confidence = calibration_curve(is_right, confidence, n_bins=NUM_BINS)
    count = np.histogram(confidence, np.linspace(0, 1, NUM_BINS + 1))[0]
    return float((np.abs(share_right - mean_confidence) * count[count > 0]).sum() / len(confidence))


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_scikit_learn(seed: int) -> None:
    probabilities, truth = draw(seed=seed, spread=1.0 + seed)
    scores = score_probabilities(probabilities, truth, LABELS)
    assert scores["log_loss"] == pytest.approx(log_loss(truth, probabilities), abs=1e-12)
    wanted = brier_score_loss(truth, probabilities, scale_by_half=False, labels=range(5))
    assert scores["brier"] == pytest.approx(wanted, abs=1e-12)
    wanted = roc_auc_score(truth, probabilities, multi_class="ovr", average=None)
    assert list(scores["per_class_auroc"].values()) == pytest.approx(wanted.tolist(), abs=1e-12)
    assert scores["macro_auroc"] == pytest.approx(wanted.mean(), abs=1e-12)
    top = find_reference_ece(probabilities.max(1), probabilities.argmax(1) == truth)
    assert scores["ece"] == pytest.approx(top, abs=1e-12)
    per_class = [find_reference_ece(probabilities[:, idx], truth == idx) for idx in range(5)]
    assert list(scores["per_class_ece"].values()) == pytest.approx(per_class, abs=1e-12)
    assert scores["macro_ece"] == pytest.approx(np.mean(per_class), abs=1e-12)
    for idx, label in enumerate(LABELS):
        curve = scores["reliability"]["per_class"][label]
        share_right, mean_confidence = calibration_curve(truth == idx, probabilities[:, idx], n_bins=NUM_BINS)
        assert [value for value in curve["share_right"] if value is not None] == pytest.approx(share_right, abs=1e-12)
        found = [value for value in curve["mean_confidence"] if value is not None]
        assert found == pytest.approx(mean_confidence, abs=1e-12)
        assert sum(curve["count"]) == len(truth)
    json.dumps(scores, allow_nan=False)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_auroc_with_ties_equals_scikit_learn_and_counting_of_pairs(samples):
    scores, is_class = (np.array(values) for values in zip(*samples, strict=True))
    found = measure_auroc(scores, is_class)
    if is_class.all() or not is_class.any():
        assert found is None
        return
    pairs = [(a > b) + (a == b) / 2 for a in scores[is_class] for b in scores[~is_class]]
    assert found == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found == pytest.approx(roc_auc_score(is_class, scores), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(30)))
def test_scores_do_not_depend_on_the_order_of_samples(order):
    probabilities, truth = draw(30)
    first, second = (
        json.dumps(score_probabilities(probabilities[idx], truth[idx], LABELS)) for idx in (list(range(30)), order)
    )
    assert _round(json.loads(first)) == _round(json.loads(second))


def _round(value):
    if isinstance(value, dict):
        return {name: _round(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_round(item) for item in value]
    return round(value, 10) if isinstance(value, float) else value


def test_a_class_that_the_truth_lacks_has_no_figure_and_one_alone_no_auroc() -> None:
    scores = score_probabilities([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]], [0, 1], ["a", "b", "c"])
    assert scores["absent_labels"] == ["c"]
    assert scores["per_class_auroc"] == {"a": 1.0, "b": 1.0, "c": None}
    assert scores["macro_auroc"] == 1.0
    assert scores["per_class_ece"]["c"] is None
    assert scores["macro_ece"] == pytest.approx(0.25)
    assert scores["brier"] == pytest.approx(0.09 + 0.04 + 0.01)
    alone = score_probabilities([[0.7, 0.3]] * 3, [0] * 3, ["a", "b"])
    assert alone["per_class_auroc"] == {"a": None, "b": None}
    assert alone["macro_auroc"] is None


def test_an_impossible_truth_costs_what_six_digits_can_tell() -> None:
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    scores = score_probabilities(probabilities, [0, 0], ["a", "b"])
    assert scores["log_loss"] == pytest.approx(-math.log(1e-6) / 2, abs=1e-12)
    clipped = probabilities.clip(1e-6, 1)
    assert scores["log_loss"] == pytest.approx(-np.log(clipped[:, 0]).mean(), abs=1e-12)
    assert (scores["brier"], scores["ece"]) == (1.0, 0.5)


def test_calibrated_probabilities_have_a_small_error_and_overconfident_ones_a_large_one() -> None:
    probabilities, truth = draw(20000, spread=2.0)
    assert score_probabilities(probabilities, truth, LABELS)["ece"] < 0.02
    sharper = softmax(3 * np.log(probabilities), axis=1)
    assert score_probabilities(sharper, truth, LABELS)["ece"] > 0.15


def test_probabilities_of_another_shape_are_refused() -> None:
    for probabilities, truth in (([[0.5, 0.5]], [0, 1]), (np.zeros((0, 2)), []), ([[1.0]], [0])):
        with pytest.raises(ValueError, match="probabilities of shape"):
            score_probabilities(probabilities, truth, ["a", "b"])


def test_intervals_equal_a_bootstrap_written_out_subject_by_subject() -> None:
    probabilities, truth = draw(120)
    people = np.repeat(list("abcdef"), 20)
    resampling = Resampling(num_resamples=25, seed=2)
    found = bootstrap_probabilities(probabilities, truth, subjects=people.tolist(), resampling=resampling)
    drawn = []
    for units in np.random.default_rng(2).integers(6, size=(25, 6), dtype=np.int32):
        idx = np.concatenate([np.flatnonzero(people == "abcdef"[unit]) for unit in units])
        drawn.append(score_probabilities(probabilities[idx], truth[idx], LABELS))
    for name in ("log_loss", "brier", "ece"):
        wanted = np.quantile([scores[name] for scores in drawn], [0.025, 0.975])
        assert found[name] == pytest.approx(wanted.tolist(), abs=1e-12)


def test_perplexity_of_even_chances_is_their_number() -> None:
    assert measure_perplexity(np.log([0.2] * 7)) == pytest.approx(5)


@given(LOGITS)
def test_entropy_equals_scipy_and_lies_between_nothing_and_one(values):
    probabilities = softmax(values, axis=1)
    found = measure_entropy(probabilities)
    np.testing.assert_allclose(found, entropy(probabilities, axis=1) / np.log(5), atol=1e-12)
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()


@given(LOGITS)
def test_a_margin_is_the_lead_of_the_most_probable_class(values):
    probabilities = softmax(values, axis=1)
    for row, margin in zip(probabilities, measure_margin(probabilities), strict=True):
        first, second, *_ = sorted(row, reverse=True)
        assert margin == first - second


def test_certainty_and_ignorance_are_the_ends_of_both() -> None:
    ends = np.array([[1.0, 0.0, 0.0, 0.0], [0.25] * 4])
    assert measure_entropy(ends).tolist() == [0, 1]
    assert measure_margin(ends).tolist() == [1, 0]
    assert measure_entropy(np.ones((1, 1))).tolist() == [0]
    assert measure_margin(np.ones((1, 1))).tolist() == [1]


def make_epochs(num_epochs: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth, certainty = rng.integers(4, size=num_epochs), rng.random(num_epochs)
    answer = np.where(rng.random(num_epochs) < certainty, truth, rng.integers(5, size=num_epochs))
    return certainty, truth, answer


def test_the_curve_equals_scikit_learn_on_the_epochs_kept() -> None:
    certainty, truth, answer = make_epochs()
    scores = score_selection(certainty, truth, answer, 4)
    order = np.argsort(-certainty)
    for share, accuracy, kappa in zip(scores["share_left"], scores["accuracy"], scores["cohen_kappa"], strict=True):
        kept = order[: round(400 * (1 - share))]
        assert accuracy == pytest.approx(accuracy_score(truth[kept], answer[kept]), abs=1e-12)
        assert kappa == pytest.approx(cohen_kappa_score(truth[kept], answer[kept], labels=range(5)), abs=1e-12)
    assert scores["share_left"][0] == 0
    assert scores["share_left"][-1] == 0.95
    risks = [np.mean(truth[order[:kept]] != answer[order[:kept]]) for kept in range(1, 401)]
    assert scores["risk_coverage_area"] == pytest.approx(np.mean(risks), abs=1e-12)


def test_no_order_beats_the_one_that_puts_all_errors_last() -> None:
    certainty, truth, answer = make_epochs()
    scores = score_selection(certainty, truth, answer, 4)
    best = score_selection((truth == answer).astype(float), truth, answer, 4)
    assert best["risk_coverage_area"] == pytest.approx(scores["least_area"], abs=1e-12)
    assert best["least_area"] == scores["least_area"] < scores["risk_coverage_area"]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=25
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_equally_certain_epochs_does_not_matter(epochs, random):
    curves = []
    for _ in range(2):
        certainty, truth, answer = (np.array(values) for values in zip(*epochs, strict=True))
        curves.append(score_selection(certainty, truth, answer, 3))
        random.shuffle(epochs)
    assert curves[0] == curves[1]


def test_an_uncertainty_that_tells_nothing_keeps_the_accuracy_as_it_was() -> None:
    _, truth, answer = make_epochs()
    scores = score_selection(np.zeros(400), truth, answer, 4)
    assert scores["accuracy"] == pytest.approx([np.mean(truth == answer)] * 20)
    assert scores["risk_coverage_area"] == pytest.approx(np.mean(truth != answer))
