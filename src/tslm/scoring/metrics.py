"""Agreement between predicted and true labels: accuracy, macro-F1, Cohen's kappa, per-class F1.

A prediction of None (a response that does not parse) is a wrong answer. It is counted, never
dropped: it fills a last column of the confusion matrix that no true label has.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from tslm.scoring.intervals import DEFAULT_RESAMPLING, Resamples, Resampling

UNPARSED = "unparsed"
INTERVAL_METRICS = ("accuracy", "macro_f1", "cohen_kappa")


def count_confusion(truth: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]) -> np.ndarray:
    """(num_labels, num_labels + 1) int64: rows truth, columns predicted label, last column unparsed."""
    return _sum_confusion(*index_answers(truth, predicted, labels), len(labels))


def compute_metrics(truth: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]) -> dict[str, Any]:
    """Metrics of one scorer as a JSON-ready dict.

    Macro-F1 is the mean F1 over the classes present in the truth. A class that the truth lacks has
    no F1 (None) and is listed under `absent_labels`; predicting it still costs the class it was
    taken for. Cohen's kappa (Cohen 1960) takes unparsed as one more category of the predicting
    side; it is None where chance agreement is perfect (one category on both sides).

    Args:
        truth: true label per sample, each one of `labels`.
        predicted: predicted label per sample, or None where the response did not parse.
        labels: the closed set of labels, in the order of the confusion matrix.

    Returns:
        num_samples, num_correct, num_parse_failures, num_absent, absent_labels, accuracy, macro_f1,
        cohen_kappa, per_class_f1, per_class_precision, per_class_recall and support (dicts by
        label), labels, confusion_matrix (list of rows, see `count_confusion`) and
        confusion_columns.

    Raises:
        ValueError: no samples, unequal lengths, repeated labels, or a label outside `labels`.
    """
    confusion = count_confusion(truth, predicted, labels)
    num_labels = len(labels)
    true_positives = np.diagonal(confusion)
    support, num_predicted = confusion.sum(1), confusion[:, :num_labels].sum(0)
    f1, precision, recall = (
        _divide(2 * true_positives, support + num_predicted),
        _divide(true_positives, num_predicted),
        _divide(true_positives, support),
    )
    present = support > 0
    accuracy, macro_f1, kappa = measure_agreement(confusion[None])[0][0]
    return {
        "num_samples": len(truth),
        "num_correct": int(true_positives.sum()),
        "num_parse_failures": int(confusion[:, num_labels].sum()),
        "num_absent": int((~present).sum()),
        "absent_labels": [label for label, is_present in zip(labels, present, strict=True) if not is_present],
        "accuracy": float(accuracy),
        "macro_f1": float(macro_f1),
        "cohen_kappa": _number(kappa),
        "per_class_f1": _by_label(labels, np.where(present, f1, np.nan)),
        "per_class_precision": _by_label(labels, np.where(present, precision, np.nan)),
        "per_class_recall": _by_label(labels, np.where(present, recall, np.nan)),
        "support": {label: int(count) for label, count in zip(labels, support, strict=True)},
        "labels": list(labels),
        "confusion_matrix": confusion.tolist(),
        "confusion_columns": [*labels, UNPARSED],
    }


def bootstrap_intervals(
    truth: Sequence[str],
    predicted: Sequence[str | None],
    labels: Sequence[str],
    *,
    subjects: Sequence[str] | None = None,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> dict[str, Any]:
    """Percentile intervals of accuracy, macro-F1, kappa and per-class F1 over subjects.

    With one subject, or none named, blocks of consecutive samples are drawn; samples must then be in time order. See
    `tslm.scoring.intervals`. In a resample that lacks a class, macro-F1 is the mean over the others and the F1 of
    that class is undefined.

    Args:
        truth: true label per sample.
        predicted: predicted label per sample, or None where the response did not parse.
        labels: the closed set of labels.
        subjects: whose each sample is.
        resampling: number of resamples, seed, level and the like.

    Returns:
        {metric: [low, high]} for each of `INTERVAL_METRICS`, per_class_f1 (the same by label), both [None, None] where
        undefined in every resample; and unit ("subjects" or "blocks of epochs"), num_units, level, num_resamples, seed.
    """
    resamples = Resamples(len(truth), subjects, resampling)
    totals_RKK = sum_confusions(resamples, *index_answers(truth, predicted, labels), len(labels))
    agreement_R3, f1_RK = measure_agreement(totals_RKK)
    of_metric = {
        name: resamples.find_interval(values) for name, values in zip(INTERVAL_METRICS, agreement_R3.T, strict=True)
    }
    of_label = {label: resamples.find_interval(values) for label, values in zip(labels, f1_RK.T, strict=True)}
    return of_metric | {"per_class_f1": of_label} | resamples.describe()


def sum_confusions(
    resamples: Resamples, truth_idx: np.ndarray, predicted_idx: np.ndarray, num_labels: int
) -> np.ndarray:
    """(num_resamples, num_labels, num_labels + 1) confusion matrix of each resample; indices by `index_answers`."""
    cell_idx = truth_idx * (num_labels + 1) + predicted_idx
    num_samples, num_cells = len(cell_idx), num_labels * (num_labels + 1)
    is_cell_NC = scipy.sparse.csr_matrix(
        (np.ones(num_samples), cell_idx, np.arange(num_samples + 1)), shape=(num_samples, num_cells)
    )
    return resamples.sum(is_cell_NC).reshape(-1, num_labels, num_labels + 1)


def measure_agreement(confusions_RKC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of each of many confusion matrices; NaN where one is undefined.

    Args:
        confusions_RKC: (R, num_labels, num_labels + 1) counts.

    Returns:
        (R, 3) accuracy, macro-F1 over the classes present, Cohen's kappa; (R, num_labels) F1 of each class.
    """
    num_labels = confusions_RKC.shape[1]
    total = confusions_RKC.sum((1, 2))
    diagonal = np.einsum("rkk->rk", confusions_RKC[:, :, :num_labels])
    support, num_predicted = confusions_RKC.sum(2), confusions_RKC[:, :, :num_labels].sum(1)
    accuracy = diagonal.sum(1) / total
    f1 = np.where(support > 0, _divide(2 * diagonal, support + num_predicted), np.nan)
    chance = (support * num_predicted).sum(1) / total**2
    kappa = np.full(len(total), np.nan)
    # Whole numbers decide whether chance agreement is 1; as a quotient it could miss by a rounding error.
    is_defined = (support * num_predicted).sum(1) != total**2
    kappa[is_defined] = ((accuracy - chance) / np.where(is_defined, 1 - chance, 1))[is_defined]
    return np.stack([accuracy, np.nanmean(f1, axis=1), kappa], axis=1), f1


def index_answers(
    truth: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices into `labels`, (num_samples,) int64 each; of an answer that did not parse len(labels).

    Raises:
        ValueError: no samples, unequal lengths, repeated labels, or a label outside `labels`.
    """
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} true labels but {len(predicted)} predictions; give one prediction a sample")
    if not truth:
        raise ValueError("no samples to score; give at least one")
    index_of: dict[str | None, int] = {label: idx for idx, label in enumerate(labels)}
    if len(index_of) != len(labels):
        raise ValueError(f"labels repeat: {', '.join(labels)}; give each label once")
    unknown = next((label for label in truth if label not in index_of), None)
    if unknown is not None:
        raise ValueError(f"true label {unknown!r} is none of: {', '.join(labels)}")
    index_of[None] = len(labels)
    unknown = next((label for label in predicted if label not in index_of), None)
    if unknown is not None:
        raise ValueError(f"predicted label {unknown!r} is none of: {', '.join(labels)}; give None where unparsed")
    return np.array([index_of[label] for label in truth]), np.array([index_of[label] for label in predicted])


def _sum_confusion(truth_idx: np.ndarray, predicted_idx: np.ndarray, num_labels: int) -> np.ndarray:
    cells = np.bincount(truth_idx * (num_labels + 1) + predicted_idx, minlength=num_labels * (num_labels + 1))
    return cells.reshape(num_labels, num_labels + 1)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)


def _by_label(labels: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {label: _number(value) for label, value in zip(labels, values, strict=True)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
