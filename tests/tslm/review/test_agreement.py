import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from tests.factories.reviews import OPTIONS, save_of
from tslm.review.agreement import MIN_EPOCHS, bootstrap_icc, render_agreement, score_agreement, score_icc

# Shrout & Fleiss 1979, table 2: four judges (columns) rate six targets; table 4 has the coefficients.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])
PUBLISHED_ICC = {"1,1": 0.17, "2,1": 0.29, "3,1": 0.71, "1,k": 0.44, "2,k": 0.62, "3,k": 0.91}
# Fleiss 1971's worked example as in the literature: 10 subjects, 14 raters, 5 categories, kappa .210.
FLEISS_COUNTS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def reviews_of(table_ER, field="accuracy"):
    return [
        save_of(f"r{reviewer:02d}", f"n1:{idx}", **{field: value})
        for idx, row in enumerate(table_ER)
        for reviewer, value in enumerate(row)
        if value is not None
    ]


def test_intraclass_correlations_are_the_published_ones():
    assert score_icc(SHROUT_FLEISS) == pytest.approx(PUBLISHED_ICC, abs=0.005)


@given(arrays(np.float64, (5, 3), elements=st.integers(1, 5)).filter(lambda table: np.ptp(table.mean(axis=1)) > 0))
def test_intraclass_correlations_are_those_of_an_analysis_of_variance(table_ER):
    from statsmodels.regression.linear_model import OLS

    def rest(*columns):
        design = np.column_stack([np.ones(15), *columns])
        return float(OLS(table_ER.ravel(), design).fit().ssr)

    epochs, reviewers = np.repeat(np.eye(5)[:, 1:], 3, axis=0), np.tile(np.eye(3)[:, 1:], (5, 1))
    error = rest(epochs, reviewers)
    between, judges = (rest(reviewers) - error) / 4, (rest(epochs) - error) / 2
    error /= 8
    icc = score_icc(table_ER)
    assert icc["3,1"] == pytest.approx((between - error) / (between + 2 * error), abs=1e-9)
    assert icc["2,1"] == pytest.approx(
        (between - error) / (between + 2 * error + 3 * (judges - error) / 5), abs=1e-9, rel=1e-9
    )


@given(arrays(np.float64, (6, 3), elements=st.integers(1, 5)).filter(lambda table: np.ptp(table.mean(axis=1)) > 0))
def test_a_milder_reviewer_changes_agreement_but_not_consistency(table_ER):
    shifted = table_ER + np.array([0, 0, 100.0])
    assert score_icc(shifted)["3,1"] == pytest.approx(score_icc(table_ER)["3,1"], abs=1e-7)
    assert abs(score_icc(shifted)["2,1"]) < 0.1


def test_ratings_that_do_not_vary_between_epochs_have_no_intraclass_correlation():
    assert set(score_icc(np.full((6, 2), 4.0)).values()) == {None}


def test_fleiss_kappa_is_the_published_one():
    table = [
        [rating for rating, count in zip((1, 2, 3, 4, 5), counts, strict=True) for _ in range(count)]
        for counts in FLEISS_COUNTS
    ]
    scores = score_agreement(reviews_of(table), OPTIONS, {})
    assert scores["accuracy"]["num_epochs"] == 10
    assert scores["accuracy"]["fleiss_kappa"] == pytest.approx(0.210, abs=0.0005)


def test_weighted_kappa_counts_near_misses_as_near():
    near = [[value, min(value + 1, 5)] for value in (1, 2, 3, 4, 5, 1, 2, 3, 4, 5)]
    pair = score_agreement(reviews_of(near), OPTIONS, {})["accuracy"]["pairs"][0]
    # by hand, with weights (i - j)^2: observed 8/10; expected mean of (i - j)^2 over all 100 pairs = 4.2
    assert pair["reviewers"] == ["r00", "r01"]
    assert pair["kappa"] == pytest.approx(1 - 0.8 / np.mean([(a - b) ** 2 for a, _ in near for _, b in near]))
    assert pair["share_same"] == pytest.approx(0.2)


@settings(max_examples=20)
@given(arrays(np.int64, (20, 2), elements=st.integers(1, 5)).filter(lambda table: len(np.unique(table)) > 1))
def test_kappas_of_two_are_those_of_scikit_learn(table_ER):
    (pair,) = score_agreement(reviews_of(table_ER.tolist()), OPTIONS, {})["accuracy"]["pairs"]
    wanted = cohen_kappa_score(*table_ER.T, labels=[1, 2, 3, 4, 5], weights="quadratic")
    assert pair["kappa"] == pytest.approx(wanted, abs=1e-12)
    assert pair["interval"] is None or -1 <= pair["interval"][0] <= pair["kappa"] <= pair["interval"][1] <= 1
    stages = [[OPTIONS[value - 1] for value in row] for row in table_ER]
    (pair,) = score_agreement(reviews_of(stages, "corrected_stage"), OPTIONS, {})["corrected_stage"]["pairs"]
    assert pair["kappa"] == pytest.approx(cohen_kappa_score(*table_ER.T), abs=1e-12)


def test_intervals_of_intraclass_correlations_hold_the_true_one_about_as_often_as_they_say():
    """Epochs of variance 1, reviewers that add noise of variance 1: the true ICC(3,1) is .5."""
    rng = np.random.default_rng(0)
    tables = rng.normal(size=(20, 60, 1)) + rng.normal(size=(20, 60, 3))
    intervals = [bootstrap_icc(table)["3,1"] for table in tables]
    assert 0.8 <= np.mean([low <= 0.5 <= high for low, high in intervals]) <= 1.0


def test_a_mean_of_reviewers_who_contradict_one_another_has_no_reliability_to_report():
    opposed = np.array([[1.0, 5.0], [5.0, 1.0], [2.0, 4.0], [4.0, 2.0], [3.0, 3.1]])
    assert score_icc(opposed)["3,1"] < 0
    assert score_icc(opposed)["2,k"] is None


def test_too_few_common_epochs_are_counted_and_give_no_figure():
    table = [[1 + idx % 5, 1 + idx % 5] for idx in range(MIN_EPOCHS - 1)] + [[3, None]] * 5
    scores = score_agreement(reviews_of(table), OPTIONS, {})["accuracy"]
    assert scores["num_epochs"] == scores["pairs"][0]["num_epochs"] == MIN_EPOCHS - 1
    assert scores["fleiss_kappa"] is scores["icc"] is scores["pairs"][0]["kappa"] is None


def test_answers_that_do_not_vary_have_no_kappa():
    scores = score_agreement(reviews_of([[4, 4]] * 20), OPTIONS, {})["accuracy"]
    pair = {"reviewers": ["r00", "r01"], "num_epochs": 20, "share_same": 1.0, "kappa": None, "interval": None}
    assert scores["pairs"] == [pair]
    assert scores["fleiss_kappa"] is None
    assert set(scores["icc"].values()) == {None}


def test_stages_are_held_against_model_and_expert_and_not_against_a_hidden_expert():
    stages = [[OPTIONS[idx % 5], OPTIONS[(idx + idx // 10) % 5]] for idx in range(20)]
    model = {f"n1:{idx}": stages[idx][1] if idx else None for idx in range(20)}
    expert = {f"n1:{idx}": stages[idx][0] for idx in range(20)}
    reviews = reviews_of(stages, "corrected_stage")
    scores = score_agreement(reviews, OPTIONS, model, expert)["corrected_stage"]
    assert scores["with_expert"]["r00"]["kappa"] == pytest.approx(1.0)
    model_pair = {"num_epochs": 19, "share_same": 1.0, "kappa": pytest.approx(1.0), "interval": None}
    assert scores["with_model"]["r01"] == model_pair
    assert scores["with_expert"]["r01"]["share_same"] == pytest.approx(0.5)
    assert "with_expert" not in score_agreement(reviews, OPTIONS, model)["corrected_stage"]


def test_the_table_says_everything_and_has_dashes_for_what_is_not_known():
    rng = np.random.default_rng(0)
    reviews = reviews_of(rng.integers(1, 6, (12, 3)).tolist()) + [save_of("zoe", "n1:0", comment="later")]
    text = render_agreement(score_agreement(reviews, OPTIONS, {}))
    assert "accuracy: r00 and r02" in text
    assert "ICC(2,1)" in text
    assert "fewer than 10" in text
    assert "nan" not in text


def test_nobody_and_one_reviewer_give_no_figures_and_no_error():
    for reviews in ([], reviews_of([[3]] * 12)):
        scores = score_agreement(reviews, OPTIONS, {})
        assert scores["accuracy"]["pairs"] == []
        assert scores["accuracy"]["icc"] is None
        assert render_agreement(scores)
