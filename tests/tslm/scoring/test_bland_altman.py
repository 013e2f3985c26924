import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tslm.scoring.bland_altman import score_agreement

# Peak expiratory flow (l/min) by two meters, first readings: Bland & Altman 1986, table 1.
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]


def test_the_meters_of_bland_and_altman_agree_as_published() -> None:
    found = score_agreement([float(value) for value in MINI], [float(value) for value in LARGE])
    assert found["bias"] == pytest.approx(-2.1, abs=0.05)
    assert found["sd"] == pytest.approx(38.8, abs=0.05)
    assert found["bias_interval"] == pytest.approx([-22.0, 17.8], abs=0.1)
    # They take 2 for 1.96, and sqrt(3 / n) for the standard error of a limit: a difference of 2 l/min at most.
    assert found["limits"] == pytest.approx([-79.7, 75.5], abs=2)
    assert found["lower_limit_interval"] == pytest.approx([-114.3, -45.1], abs=2)
    assert found["upper_limit_interval"] == pytest.approx([40.9, 110.1], abs=2)


def test_intervals_of_the_limits_hold_the_true_ones_in_nineteen_of_twenty_samples() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        found = score_agreement([0.0] * 12, rng.normal(3.0, 10.0, 12).tolist())
        low, high = found["upper_limit_interval"]
        covered.append(low <= 3.0 + 1.96 * 10.0 <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


@given(st.lists(st.tuples(st.floats(-500, 500), st.floats(-500, 500)), min_size=2, max_size=20))
def test_swapping_the_methods_turns_the_signs_and_the_bias_is_that_of_a_paired_t_test(
    pairs: list[tuple[float, float]],
) -> None:
    truth, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    there, back = score_agreement(truth, predicted), score_agreement(predicted, truth)
    assert there["bias"] == pytest.approx(-back["bias"], abs=1e-9)
    assert there["limits"] == pytest.approx([-value for value in reversed(back["limits"])], abs=1e-9)
    assert there["limits"][0] <= there["bias"] <= there["limits"][1]
    if there["sd"] > 1e-6:
        interval = stats.ttest_rel(predicted, truth).confidence_interval(0.95)
        assert there["bias_interval"] == pytest.approx([interval.low, interval.high], rel=1e-6, abs=1e-6)


def test_one_night_has_an_error_but_no_limits_and_undefined_values_are_counted() -> None:
    found = score_agreement([10.0, None, 5.0], [12.0, 3.0, None])
    assert (found["num_nights"], found["num_undefined"], found["bias"], found["mean_absolute_error"]) == (
        1,
        2,
        2.0,
        2.0,
    )
    assert found["sd"] is found["limits"] is found["bias_interval"] is found["lower_limit_interval"] is None
    assert score_agreement([], [])["bias"] is None
    with pytest.raises(ValueError, match="2 values and 1"):
        score_agreement([1.0, 2.0], [1.0])
