"""Quality of probabilities: log-loss, Brier score, calibration, AUROC, and accuracy without uncertain epochs.

K: classes, N: samples, B: bins.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from tslm.files import to_plain
from tslm.predictions.calibration import unscale
from tslm.predictions.scorings import Scoring
from tslm.scoring.intervals import DEFAULT_RESAMPLING, Resamples, Resampling, find_subjects
from tslm.scoring.metrics import index_answers, measure_agreement

NUM_BINS = 15  # of equal width, as in Guo et al. 2017
PROBABILITY_FLOOR = 1e-6  # files keep six digits, so 0 stands for anything up to that
_SHARES_LEFT = np.arange(20) / 20  # of the epochs that go to a human: 0, 5, ... 95 %


def score_own_probabilities(scoring: Scoring, num_resamples: int, seed: int) -> dict[str, Any] | None:
    """Score the probabilities of one system; None if no row has any.

    Args:
        scoring: rows with the same options, in any order of their own; in time order where they are of one subject.
        num_resamples: for `intervals`; 0 leaves them out.
        seed: of the bootstrap.

    Returns:
        What `score_probabilities` gives for the rows that have probabilities; num_without, the rows that have none;
        temperatures, those that the rows were calibrated with; uncertainty (mean entropy and margin); `selection` by
        entropy and by margin (`score_selection`); intervals (`bootstrap_probabilities`); uncalibrated, the scores
        before the temperature, where there is one; answer_perplexity, of the true answers as whole texts.
    """
    labels = scoring.options
    probabilities_NK, positions = scoring.read_probabilities(labels)
    if not positions:
        return None
    kept = scoring.select(positions)
    truth_N, answer_N = index_answers(kept.truth, kept.answers, labels)
    temperature_N = [row.get("temperature") for row in kept.rows]
    entropy_N, margin_N = measure_entropy(probabilities_NK), measure_margin(probabilities_NK)
    scores = score_probabilities(probabilities_NK, truth_N, labels) | {
        "num_without": len(scoring.rows) - len(kept.rows),
        "temperatures": sorted({value for value in temperature_N if value is not None}),
        "uncertainty": measure_uncertainty(kept),
        "selection": {
            "entropy": score_selection(-entropy_N, truth_N, answer_N, len(labels)),
            "margin": score_selection(margin_N, truth_N, answer_N, len(labels)),
        },
    }
    if num_resamples:
        subjects, unit = find_subjects(kept.rows)
        scores["intervals"] = bootstrap_probabilities(
            probabilities_NK, truth_N, subjects=subjects, resampling=Resampling(num_resamples, seed, unit=unit)
        )
    if scores["temperatures"]:
        before_NK = unscale(probabilities_NK, np.array([[value or 1.0] for value in temperature_N]))
        scores["uncalibrated"] = score_probabilities(before_NK, truth_N, labels)
    if all(row.get("log_likelihoods") for row in kept.rows):
        scores["answer_perplexity"] = measure_perplexity(
            [
                row["log_likelihoods"][row["options"].index(truth)]
                for row, truth in zip(kept.rows, kept.truth, strict=True)
            ]
        )
    return scores


def measure_uncertainty(scoring: Scoring) -> dict[str, float] | None:
    """Mean entropy and margin of the rows that have probabilities; None if no row has any."""
    probabilities_NK, positions = scoring.read_probabilities(scoring.options)
    if not positions:
        return None
    entropy_N, margin_N = measure_entropy(probabilities_NK), measure_margin(probabilities_NK)
    return {"mean_entropy": float(entropy_N.mean()), "mean_margin": float(margin_N.mean())}


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
    gaps_NB = scipy.sparse.csr_matrix(
        (is_right_N - confidence_N, _find_bins(confidence_N), np.arange(num_samples + 1)), shape=(num_samples, NUM_BINS)
    )
    counted = scipy.sparse.hstack([np.ones((num_samples, 1)), losses_N2, gaps_NB], format="csr")
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
    rank_sum = scipy.stats.rankdata(scores_N)[is_class_N].sum()
    return float((rank_sum - num_in * (num_in + 1) / 2) / (num_in * num_out))


def measure_reliability(confidence_N: np.ndarray, is_right_N: np.ndarray) -> dict[str, list[Any]]:
    """Reliability curve: mean confidence and share of right answers per bin.

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


def measure_entropy(probabilities_NK: np.ndarray) -> np.ndarray:
    """Entropy of each sample's probabilities over log(num_classes), (num_samples,): 0 certain, 1 uniform."""
    num_classes = probabilities_NK.shape[1]
    if num_classes == 1:
        return np.zeros(len(probabilities_NK))
    return scipy.special.entr(np.clip(probabilities_NK, 0.0, 1.0)).sum(axis=1) / np.log(num_classes)


def measure_margin(probabilities_NK: np.ndarray) -> np.ndarray:
    """Difference of the two highest probabilities, (num_samples,): 1 certain, 0 undecided."""
    if probabilities_NK.shape[1] == 1:
        return np.ones(len(probabilities_NK))
    ordered_NK = np.sort(probabilities_NK, axis=1)
    return ordered_NK[:, -1] - ordered_NK[:, -2]


def score_selection(
    certainty_N: np.ndarray, truth_N: np.ndarray, answer_N: np.ndarray, num_labels: int
) -> dict[str, Any]:
    """Score the epochs that are kept when the least certain ones are left to a human.

    Epochs of equal certainty are taken in part, as if in any order, so the order of the samples does not matter.

    Args:
        certainty_N: the larger, the longer an epoch is kept, (num_samples,).
        truth_N: true class, (num_samples,) int.
        answer_N: class answered, (num_samples,) int; num_labels for an answer that did not parse.
        num_labels: number of classes.

    Returns:
        share_left: shares of the epochs left to a human (0, .05, ... .95); accuracy and cohen_kappa of those kept, one
        a share (None where kappa is undefined); risk_coverage_area: mean error over all numbers of epochs kept (AURC,
        Geifman & El-Yaniv 2017); least_area: the same if all errors were the least certain epochs.
    """
    num_samples, num_cells = len(truth_N), num_labels * (num_labels + 1)
    _, group_N = np.unique(-certainty_N, return_inverse=True)
    cell_N = truth_N * (num_labels + 1) + answer_N
    num_groups = int(group_N.max()) + 1
    count_GC = np.bincount(group_N * num_cells + cell_N, minlength=num_groups * num_cells).reshape(
        num_groups, num_cells
    )
    kept_GC = np.concatenate([np.zeros((1, num_cells)), count_GC.cumsum(axis=0)])
    num_kept_G = kept_GC.sum(axis=1)
    wanted = num_samples * (1 - _SHARES_LEFT)
    confusions = np.stack([np.interp(wanted, num_kept_G, kept_G) for kept_G in kept_GC.T], axis=1)
    agreement_S3, _ = measure_agreement(confusions.reshape(-1, num_labels, num_labels + 1))
    is_right_cell = np.arange(num_cells) % (num_labels + 1) == np.arange(num_cells) // (num_labels + 1)
    kept = np.arange(1, num_samples + 1)
    wrong = np.interp(kept, num_kept_G, kept_GC[:, ~is_right_cell].sum(axis=1))
    scores = {
        "share_left": _SHARES_LEFT,
        "accuracy": agreement_S3[:, 0],
        "cohen_kappa": agreement_S3[:, 2],
        "risk_coverage_area": np.mean(wrong / kept),
        "least_area": np.mean(np.maximum(0, kept - (num_samples - wrong[-1])) / kept),
    }
    return dict(to_plain(scores))


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
