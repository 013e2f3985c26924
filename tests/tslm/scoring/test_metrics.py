import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tslm.scoring.intervals import Resampling
from tslm.scoring.metrics import bootstrap_intervals, compute_metrics, count_confusion

LABELS = ["Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "REM sleep"]
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None])), min_size=1, max_size=60)


@settings(deadline=None)
@given(pairs)
def test_metrics_equal_scikit_learn_with_unparsed_as_one_more_predicted_class(samples):
    truth = [label for label, _ in samples]
    predicted = [answer for _, answer in samples]
    result = compute_metrics(truth, predicted, LABELS)
    named = [answer or "unparsed" for answer in predicted]
    present = [label for label in LABELS if label in truth]
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(truth, named))
    assert result["macro_f1"] == pytest.approx(
        sk.f1_score(truth, named, labels=present, average="macro", zero_division=0)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = sk.cohen_kappa_score(truth, named, labels=[*LABELS, "unparsed"])
    if np.isnan(kappa):
        assert result["cohen_kappa"] is None
    else:
        assert result["cohen_kappa"] == pytest.approx(kappa, abs=1e-12)
    confusion = sk.confusion_matrix(truth, named, labels=[*LABELS, "unparsed"])
    assert result["confusion_matrix"] == confusion[:-1].tolist()
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, named, labels=LABELS, zero_division=0)
    for idx, label in enumerate(LABELS):
        assert result["support"][label] == support[idx]
        if label in present:
            assert result["per_class_f1"][label] == pytest.approx(f1[idx])
            assert result["per_class_precision"][label] == pytest.approx(precision[idx])
            assert result["per_class_recall"][label] == pytest.approx(recall[idx])
        else:
            assert result["per_class_f1"][label] is None
    json.dumps(result, allow_nan=False)


@settings(deadline=None)
@given(pairs)
def test_every_sample_stands_in_the_confusion_matrix_once(samples):
    truth, predicted = zip(*samples, strict=True)
    confusion = count_confusion(truth, predicted, LABELS)
    assert confusion.sum() == len(samples)
    assert confusion[:, -1].sum() == sum(answer is None for answer in predicted)


def test_an_unparsed_answer_is_wrong_and_counted():
    result = compute_metrics(["a", "a", "b", "b"], ["a", None, "b", "b"], ["a", "b"])
    assert result["num_samples"] == 4
    assert result["num_parse_failures"] == 1
    assert result["accuracy"] == 0.75
    assert result["confusion_matrix"] == [[1, 0, 1], [0, 2, 0]]
    assert result["confusion_columns"] == ["a", "b", "unparsed"]


def test_absent_classes_are_left_out_of_macro_f1_and_named():
    result = compute_metrics(["a", "b"], ["a", "c"], ["a", "b", "c", "d"])
    assert result["absent_labels"] == ["c", "d"]
    assert result["num_absent"] == 2
    assert result["macro_f1"] == pytest.approx(0.5)
    assert result["per_class_f1"] == {"a": 1.0, "b": 0.0, "c": None, "d": None}


def test_kappa_is_undefined_when_both_sides_use_one_and_the_same_class():
    assert compute_metrics(["a"] * 3, ["a"] * 3, ["a", "b"])["cohen_kappa"] is None


@pytest.mark.parametrize(
    ("truth", "predicted", "labels", "message"),
    [
        ([], [], ["a"], "no samples"),
        (["a"], [], ["a"], "1 true labels but 0"),
        (["x"], ["a"], ["a"], "true label 'x'"),
        (["a"], ["x"], ["a"], "predicted label 'x'"),
        (["a"], ["a"], ["a", "a"], "labels repeat"),
    ],
)
def test_wrong_input_is_named(truth, predicted, labels, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics(truth, predicted, labels)


def make_night(num_epochs, accuracy, seed=0):
    rng = np.random.default_rng(seed)
    truth = [LABELS[idx] for idx in np.repeat(rng.integers(5, size=num_epochs // 10), 10)]
    predicted = [label if rng.random() < accuracy else LABELS[rng.integers(5)] for label in truth]
    return truth, predicted


def test_intervals_enclose_the_metric_and_repeat_with_the_seed():
    truth, predicted = make_night(900, 0.7)
    result, intervals = compute_metrics(truth, predicted, LABELS), bootstrap_intervals(truth, predicted, LABELS)
    for name in ("accuracy", "macro_f1", "cohen_kappa"):
        low, high = intervals[name]
        assert low < result[name] < high
        assert high - low < 0.2
    assert intervals == bootstrap_intervals(truth, predicted, LABELS)
    assert intervals != bootstrap_intervals(truth, predicted, LABELS, resampling=Resampling(seed=1))


def test_interval_of_single_sample_blocks_has_the_binomial_width():
    truth, predicted = make_night(2000, 0.7)
    accuracy = compute_metrics(truth, predicted, LABELS)["accuracy"]
    low, high = bootstrap_intervals(truth, predicted, LABELS, resampling=Resampling(block_samples=1))["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / 2000), rel=0.15)


def test_perfect_agreement_has_a_point_interval():
    truth, _ = make_night(200, 1.0)
    assert bootstrap_intervals(truth, truth, LABELS)["accuracy"] == [1.0, 1.0]


@pytest.mark.parametrize("num_samples", [1, 2, 9, 11, 25])
def test_intervals_exist_for_short_recordings(num_samples):
    intervals = bootstrap_intervals(["a"] * num_samples, ["a"] * num_samples, ["a", "b"])
    assert intervals["accuracy"] == [1.0, 1.0]
    assert intervals["cohen_kappa"] == [None, None]
    assert intervals["block_samples"] == max(1, num_samples // 10)
