"""Agreement between predicted and true labels: accuracy, macro-F1, Cohen's kappa, per-class F1.

A prediction of None (a response that does not parse) is a wrong answer. It is counted, never
dropped: it fills a last column of the confusion matrix that no true label has.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

UNPARSED = "unparsed"
INTERVAL_METRICS = ("accuracy", "macro_f1", "cohen_kappa")


def count_confusion(truth: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]) -> np.ndarray:
    """(num_labels, num_labels + 1) int64: rows truth, columns predicted label, last column unparsed."""
    return _sum_confusion(*_to_indices(truth, predicted, labels), len(labels))


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
    accuracy, macro_f1, kappa = _agreement(confusion[None])[0]
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
    block_samples: int = 20,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Percentile intervals of accuracy, macro-F1 and kappa from a circular block bootstrap.

    Neighbouring epochs resemble each other, so blocks of consecutive samples are drawn (Politis &
    Romano 1992); 20 epochs of 30 s are 10 minutes. The intervals speak of other stretches of the
    same recordings, not of other people. Samples must be in time order. Where fewer than ten blocks
    would fit, blocks are shortened to a tenth of the samples; the length used is returned.

    Returns:
        {metric: [low, high]} for each of `INTERVAL_METRICS` ([None, None] where kappa is undefined
        in every resample), and level, block_samples, num_resamples, seed.
    """
    if num_resamples < 1 or block_samples < 1 or not 0 < level < 1:
        raise ValueError("num_resamples and block_samples must be at least 1 and level between 0 and 1")
    truth_idx, predicted_idx = _to_indices(truth, predicted, labels)
    num_samples, num_cells = len(truth_idx), len(labels) * (len(labels) + 1)
    block = max(1, min(block_samples, num_samples // 10))
    cells = np.zeros((num_samples + block, num_cells), dtype=np.int64)
    cell_idx = truth_idx * (len(labels) + 1) + predicted_idx
    cells[np.arange(1, num_samples + block), np.resize(cell_idx, num_samples + block - 1)] = 1
    summed = cells.cumsum(0)
    per_block = summed[block:] - summed[:-block]  # one row per start: confusion of the block that begins there
    rng = np.random.default_rng(seed)
    num_blocks = -(-num_samples // block)
    resamples = np.stack(
        [per_block[rng.integers(num_samples, size=num_blocks)].sum(0) for _ in range(num_resamples)]
    ).reshape(num_resamples, len(labels), len(labels) + 1)
    metrics = _agreement(resamples)
    tail = (1 - level) / 2
    intervals: dict[str, Any] = {}
    for name, values in zip(INTERVAL_METRICS, metrics.T, strict=True):
        defined = values[np.isfinite(values)]
        bounds = np.quantile(defined, [tail, 1 - tail]) if len(defined) else [np.nan, np.nan]
        intervals[name] = [_number(bound) for bound in bounds]
    return intervals | {"level": level, "block_samples": block, "num_resamples": num_resamples, "seed": seed}


def _agreement(confusions: np.ndarray) -> np.ndarray:
    """(R, K, K + 1) counts -> (R, 3) accuracy, macro-F1 and kappa; NaN where undefined."""
    num_labels = confusions.shape[1]
    total = confusions.sum((1, 2))
    diagonal = np.einsum("rkk->rk", confusions[:, :, :num_labels])
    support, num_predicted = confusions.sum(2), confusions[:, :, :num_labels].sum(1)
    accuracy = diagonal.sum(1) / total
    f1 = np.where(support > 0, _divide(2 * diagonal, support + num_predicted), np.nan)
    chance = (support * num_predicted).sum(1) / total.astype(np.float64) ** 2
    kappa = np.full(len(total), np.nan)
    # Integers decide whether chance agreement is 1; in floats it could miss by a rounding error.
    is_defined = (support * num_predicted).sum(1) != total**2
    kappa[is_defined] = ((accuracy - chance) / np.where(is_defined, 1 - chance, 1))[is_defined]
    return np.stack([accuracy, np.nanmean(f1, axis=1), kappa], axis=1)


def _to_indices(
    truth: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
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
