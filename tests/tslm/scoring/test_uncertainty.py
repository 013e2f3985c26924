import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, cohen_kappa_score

from tslm.scoring.uncertainty import measure_entropy, measure_margin, score_selection

logits = npst.arrays(float, (4, 5), elements=st.floats(-20, 20))


@given(logits)
def test_entropy_equals_scipy_and_lies_between_nothing_and_one(values):
    probabilities = softmax(values, axis=1)
    found = measure_entropy(probabilities)
    np.testing.assert_allclose(found, entropy(probabilities, axis=1) / np.log(5), atol=1e-12)
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()


@given(logits)
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
