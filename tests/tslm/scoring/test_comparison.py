import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score

from tslm.scoring.comparison import compare_systems, measure_mcnemar
from tslm.scoring.intervals import BLOCKS, SUBJECTS, Resampling
from tslm.scoring.metrics import compute_metrics

LABELS = ["W", "N", "R"]
FEW = Resampling(num_resamples=300)


def answer(truth: list[str], share: float, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < share, truth, rng.choice(LABELS, len(truth))).tolist()


TRUTH = np.random.default_rng(7).choice(LABELS, 600).tolist()
PEOPLE = np.repeat([f"s{idx}" for idx in range(10)], 60).tolist()


@pytest.mark.parametrize("num_samples", [20, 600])
def test_mcnemar_equals_statsmodels(num_samples: int) -> None:
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables", reason="needs statsmodels (extra ecg)")
    truth = TRUTH[:num_samples]
    a, b = (np.array(answer(truth, share, seed)) == truth for share, seed in ((0.8, 1), (0.6, 2)))
    result = measure_mcnemar(a, b)
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    is_exact = num_samples == 20
    wanted = contingency.mcnemar(table, exact=is_exact, correction=True)
    assert result["p_value"] == pytest.approx(wanted.pvalue, abs=1e-12)
    assert result["method"] == ("exact" if is_exact else "chi-squared")
    assert (result["only_a_right"], result["only_b_right"]) == (table[0][1], table[1][0])


@pytest.mark.parametrize(("only_a", "only_b", "p_value"), [(0, 0, 1.0), (6, 0, 2 / 64), (1, 9, 22 / 1024), (5, 5, 1.0)])
def test_mcnemar_of_few_samples_is_the_sign_test(only_a: int, only_b: int, p_value: float) -> None:
    a = [True] * only_a + [False] * only_b + [True] * 4
    b = [False] * only_a + [True] * only_b + [True] * 4
    assert measure_mcnemar(a, b)["p_value"] == pytest.approx(p_value, abs=1e-12)


def test_differences_are_those_of_the_two_metrics() -> None:
    a, b = answer(TRUTH, 0.8, 1), answer(TRUTH, 0.6, 2)
    result = compare_systems(TRUTH, a, b, LABELS, PEOPLE, FEW)
    metrics_a, metrics_b = compute_metrics(TRUTH, a, LABELS), compute_metrics(TRUTH, b, LABELS)
    for name, found in result["differences"].items():
        assert found["difference"] == pytest.approx(metrics_a[name] - metrics_b[name], abs=1e-12)
        low, high = found["interval"]
        assert 0 < low < found["difference"] < high
        assert found["p_value"] == 2 / 301
    assert result["unit"] == SUBJECTS
    assert result["num_units"] == 10
    json.dumps(result, allow_nan=False)


def test_the_paired_bootstrap_equals_one_written_out_subject_by_subject() -> None:
    a, b = np.array(answer(TRUTH, 0.7, 1)), np.array(answer(TRUTH, 0.66, 2))
    truth, people = np.array(TRUTH), np.array(PEOPLE)
    result = compare_systems(TRUTH, a.tolist(), b.tolist(), LABELS, PEOPLE, Resampling(num_resamples=40, seed=3))
    names = np.unique(people)
    drawn = {"macro_f1": [], "cohen_kappa": []}
    for units in np.random.default_rng(3).integers(10, size=(40, 10), dtype=np.int32):
        idx = np.concatenate([np.flatnonzero(people == names[unit]) for unit in units])
        f1 = [f1_score(truth[idx], one[idx], average="macro") for one in (a, b)]
        kappa = [cohen_kappa_score(truth[idx], one[idx]) for one in (a, b)]
        drawn["macro_f1"].append(f1[0] - f1[1])
        drawn["cohen_kappa"].append(kappa[0] - kappa[1])
    for name, values in drawn.items():
        found = result["differences"][name]
        assert found["interval"] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist(), abs=1e-12)
        smaller = min(sum(value <= 0 for value in values), sum(value >= 0 for value in values))
        assert found["p_value"] == pytest.approx(min(1, 2 * (smaller + 1) / 41))


answers = st.lists(
    st.tuples(st.sampled_from(LABELS), *[st.sampled_from([*LABELS, None])] * 2, st.sampled_from("xyz")),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=40)
@given(answers)
def test_exchanging_the_systems_turns_the_differences_round(samples):
    truth, a, b, people = zip(*samples, strict=True)
    one = compare_systems(truth, a, b, LABELS, people, FEW)
    other = compare_systems(truth, b, a, LABELS, people, FEW)
    assert one["mcnemar"]["p_value"] == other["mcnemar"]["p_value"]
    for name, found in one["differences"].items():
        turned = other["differences"][name]
        assert found["p_value"] == turned["p_value"]
        if found["difference"] is not None:
            assert found["difference"] == -turned["difference"]
            assert found["interval"] == pytest.approx([-turned["interval"][1], -turned["interval"][0]], abs=1e-12)


def test_a_system_does_not_differ_from_itself() -> None:
    a = answer(TRUTH, 0.7, 1)
    result = compare_systems(TRUTH, a, a, LABELS, resampling=FEW)
    assert result["unit"] == BLOCKS
    assert result["mcnemar"] == {"only_a_right": 0, "only_b_right": 0, "p_value": 1.0, "method": "exact"}
    for found in result["differences"].values():
        assert (found["difference"], found["interval"], found["p_value"]) == (0, [0, 0], 1)


def test_equally_good_systems_are_rarely_told_apart() -> None:
    p_values = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = rng.choice(LABELS, 400).tolist()
        people = np.repeat([f"s{idx}" for idx in range(20)], 20).tolist()
        a, b = answer(truth, 0.7, 100 + seed), answer(truth, 0.7, 200 + seed)
        p_values.append(compare_systems(truth, a, b, LABELS, people, FEW)["differences"]["accuracy"]["p_value"])
    assert np.mean(np.array(p_values) < 0.05) <= 0.2
    assert 0.3 < np.mean(p_values) < 0.7


def test_kappa_that_is_undefined_has_no_difference() -> None:
    result = compare_systems(["W"] * 4, ["W"] * 4, ["W", "N", "W", "W"], LABELS, resampling=FEW)
    assert result["differences"]["cohen_kappa"]["difference"] is None
    assert result["differences"]["accuracy"]["difference"] == 0.25


def test_answers_of_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="2 true labels but 1 predictions"):
        compare_systems(["W", "N"], ["W", "N"], ["W"], LABELS)
