"""How good probabilities are: log-loss, Brier score, calibration errors, reliability curves, AUROC, perplexity.

K: classes, N: samples, B: bins.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from tslm.files import to_plain
from tslm.predictions.resampling import DEFAULT_RESAMPLING, Resamples, Resampling

NUM_BINS = 15  # of equal width, as in Guo et al. 2017
PROBABILITY_FLOOR = 1e-6  # files keep six digits, so 0 stands for anything up to that


def score_probabilities(
    probabilities_NK: np.ndarray | Sequence[Sequence[float]],
    truth_N: np.ndarray | Sequence[int],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Scores of the probabilities of one scorer as a JSON-ready dict.

    Figures of one class take it against the rest. A class that the truth lacks has none (None) and is in no mean; it
    still costs in log_loss, brier and ece what was wasted on it. AUROC is also None where the truth has no other class.

    Args:
        probabilities_NK: (num_samples, num_classes) float, in the order of `labels`.
        truth_N: index of the true class, (num_samples,) int.
        labels: names of the classes.

    Returns:
        num_samples, absent_labels;
        log_loss: mean negative log-likelihood of the truth, probabilities below 1e-6 taken for that;
        brier: mean squared distance to the truth summed over classes (Brier 1950), 0 to 2;
        ece: expected calibration error of the most probable class, 15 bins of equal width (Guo et al. 2017);
        per_class_ece, macro_ece: the same of each class' own probability (Kull et al. 2019), and their mean;
        per_class_auroc, macro_auroc: area under the ROC curve of each class, and their mean;
        reliability: bin_edges, `top` and `per_class` curves (`measure_reliability`).
    """
    probabilities, truth = np.asarray(probabilities_NK, dtype=np.float64), np.asarray(truth_N, dtype=np.int64)
    if not len(truth) or probabilities.shape != (len(truth), len(labels)):
        raise ValueError(
            f"probabilities of shape {probabilities.shape} for {len(truth)} samples of {len(labels)} labels"
        )
    is_class_NK = truth[:, None] == np.arange(len(labels))
    confidence_N, is_right_N = _take_top(probabilities, truth)
    present = is_class_NK.any(axis=0)
    per_class_ece = [_measure_ece(probabilities[:, idx], is_class_NK[:, idx]) for idx in range(len(labels))]
    per_class_auroc = [measure_auroc(probabilities[:, idx], is_class_NK[:, idx]) for idx in range(len(labels))]
    scores = {
        "num_samples": len(truth),
        "absent_labels": [label for label, is_present in zip(labels, present, strict=True) if not is_present],
        "log_loss": _lose_log(probabilities, truth).mean(),
        "brier": _lose_brier(probabilities, is_class_NK).mean(),
        "ece": _measure_ece(confidence_N, is_right_N),
        "per_class_ece": dict(zip(labels, np.where(present, per_class_ece, np.nan), strict=True)),
        "macro_ece": np.mean([ece for ece, is_present in zip(per_class_ece, present, strict=True) if is_present]),
        "per_class_auroc": dict(zip(labels, per_class_auroc, strict=True)),
        "macro_auroc": _average([value for value in per_class_auroc if value is not None]),
        "reliability": {
            "bin_edges": np.arange(NUM_BINS + 1) / NUM_BINS,
            "top": measure_reliability(confidence_N, is_right_N),
            "per_class": {
                label: measure_reliability(probabilities[:, idx], is_class_NK[:, idx])
                for idx, label in enumerate(labels)
            },
        },
    }
    return dict(to_plain(scores))


def bootstrap_probabilities(
    probabilities_NK: np.ndarray,
    truth_N: np.ndarray,
    *,
    subjects: Sequence[str] | None = None,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> dict[str, Any]:
    """Percentile intervals of log_loss, brier and ece, drawn as `tslm.scoring.metrics.bootstrap_intervals` draws.

    A calibration error takes distance from the diagonal whatever its direction, so resampling noise makes it larger: of
    few samples its interval lies high and may leave out the value itself.
    """
    confidence_N, is_right_N = _take_top(probabilities_NK, truth_N)
    is_class_NK = truth_N[:, None] == np.arange(probabilities_NK.shape[1])
    num_samples = len(truth_N)
    losses_N2 = np.stack([_lose_log(probabilities_NK, truth_N), _lose_brier(probabilities_NK, is_class_NK)], axis=1)
    gaps_NB = sparse.csr_matrix(
        (is_right_N - confidence_N, _find_bins(confidence_N), np.arange(num_samples + 1)), shape=(num_samples, NUM_BINS)
    )
    counted = sparse.hstack([np.ones((num_samples, 1)), losses_N2, gaps_NB], format="csr")
    resamples = Resamples(num_samples, subjects, resampling)
    totals = resamples.sum(counted)
    means = totals[:, 1:] / totals[:, :1]
    drawn = {"log_loss": means[:, 0], "brier": means[:, 1], "ece": np.abs(means[:, 2:]).sum(axis=1)}
    return {name: resamples.find_interval(values) for name, values in drawn.items()} | resamples.describe()


def measure_auroc(scores_N: np.ndarray, is_class_N: np.ndarray) -> float | None:
    """Chance that a sample of the class scores higher than one of another, ties half (Mann & Whitney 1947).

    None where there is no sample of the class, or none of another.
    """
    num_in, num_out = int(is_class_N.sum()), int((~is_class_N).sum())
    if not num_in or not num_out:
        return None
    rank_sum = rankdata(scores_N)[is_class_N].sum()
    return float((rank_sum - num_in * (num_in + 1) / 2) / (num_in * num_out))


def measure_reliability(confidence_N: np.ndarray, is_right_N: np.ndarray) -> dict[str, list[Any]]:
    """What was promised and what came true, by bin of confidence.

    Returns:
        mean_confidence and share_right of each of the 15 bins, None in an empty one, and count.
    """
    bin_N = _find_bins(confidence_N)
    count_B, confidence_B, right_B = (
        np.bincount(bin_N, weights=values, minlength=NUM_BINS) for values in (None, confidence_N, is_right_N)
    )
    with np.errstate(invalid="ignore"):
        curve = {"mean_confidence": confidence_B / count_B, "share_right": right_B / count_B, "count": count_B}
    return dict(to_plain(curve))


def measure_perplexity(log_likelihoods_N: np.ndarray | Sequence[float]) -> float:
    """Exp of the mean negative log-likelihood (natural log) of the true answers, each as one whole text."""
    return float(np.exp(-np.mean(log_likelihoods_N)))


def _take_top(probabilities_NK: np.ndarray, truth_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the most probable class, and whether it is the true one; the first of equals."""
    return probabilities_NK.max(axis=1), probabilities_NK.argmax(axis=1) == truth_N


def _lose_log(probabilities_NK: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    return -np.log(np.clip(probabilities_NK[np.arange(len(truth_N)), truth_N], PROBABILITY_FLOOR, 1.0))


def _lose_brier(probabilities_NK: np.ndarray, is_class_NK: np.ndarray) -> np.ndarray:
    return ((probabilities_NK - is_class_NK) ** 2).sum(axis=1)


def _measure_ece(confidence_N: np.ndarray, is_right_N: np.ndarray) -> float:
    gaps_B = np.bincount(_find_bins(confidence_N), weights=is_right_N - confidence_N, minlength=NUM_BINS)
    return float(np.abs(gaps_B).sum() / len(confidence_N))


def _find_bins(confidence_N: np.ndarray) -> np.ndarray:
    return np.clip((confidence_N * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)


def _average(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
