"""Tests of two systems on the same epochs: McNemar's test and the paired bootstrap.

Two answers to it. McNemar's test (1947) looks at the epochs that only one of them has right, and takes epochs as
independent, which those of one night are not: it is too sure of itself. The paired bootstrap draws subjects (of one
subject: blocks of epochs) and takes the difference within each resample; that one is to be believed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from tslm.files import to_plain
from tslm.scoring.intervals import DEFAULT_RESAMPLING, Resamples, Resampling
from tslm.scoring.metrics import INTERVAL_METRICS, count_confusion, index_answers, measure_agreement, sum_confusions

_EXACT_BELOW = 25  # discordant epochs; with fewer the chi-squared approximation is poor (Agresti 2013, section 11.1)


def compare_systems(
    truth: Sequence[str],
    answers_a: Sequence[str | None],
    answers_b: Sequence[str | None],
    labels: Sequence[str],
    subjects: Sequence[str] | None = None,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> dict[str, Any]:
    """Compare two systems on the same samples: the first minus the second.

    Args:
        truth: true label per sample, in time order where there is one subject.
        answers_a: the first system's label per sample; None, where a response did not parse, is wrong.
        answers_b: the second system's, of the same samples in the same order.
        labels: the closed set of labels.
        subjects: whose each sample is; None: blocks of samples are drawn.
        resampling: number of resamples, seed, level and the like.

    Returns:
        JSON-ready: num_samples; `mcnemar` (`test_mcnemar`); `differences` by metric (accuracy, macro_f1, cohen_kappa),
        each with a, b, difference (a - b; None where one is undefined), interval [low, high] and p_value (two-sided,
        by the paired bootstrap; at least 2 / (num_resamples + 1)); and unit, num_units, level, num_resamples, seed.

    Raises:
        ValueError: no samples, unequal lengths, or a label outside `labels`.
    """
    truth_idx, a_idx = index_answers(truth, answers_a, labels)
    b_idx = index_answers(truth, answers_b, labels)[1]
    resamples = Resamples(len(truth), subjects, resampling)
    a_3, b_3 = (
        measure_agreement(count_confusion(truth, answers, labels)[None])[0][0] for answers in (answers_a, answers_b)
    )
    a_R3, b_R3 = (
        measure_agreement(sum_confusions(resamples, truth_idx, idx, len(labels)))[0] for idx in (a_idx, b_idx)
    )
    differences = {}
    for metric, name in enumerate(INTERVAL_METRICS):
        drawn_R = a_R3[:, metric] - b_R3[:, metric]
        differences[name] = {
            "a": a_3[metric],
            "b": b_3[metric],
            "difference": a_3[metric] - b_3[metric],
            "interval": resamples.find_interval(drawn_R),
            "p_value": _find_p_value(drawn_R),
        }
    compared = {
        "num_samples": len(truth),
        "mcnemar": measure_mcnemar(a_idx == truth_idx, b_idx == truth_idx),
        "differences": differences,
        **resamples.describe(),
    }
    return dict(to_plain(compared))


def measure_mcnemar(is_right_a: Sequence[bool] | np.ndarray, is_right_b: Sequence[bool] | np.ndarray) -> dict[str, Any]:
    """McNemar's test of equal accuracy; it takes the samples as independent.

    Args:
        is_right_a: whether the first system is right, (num_samples,) bool.
        is_right_b: whether the second one is, on the same samples.

    Returns:
        only_a_right, only_b_right, p_value (two-sided), and method: "exact" (binomial) where fewer than 25 samples tell
        the two apart, otherwise "chi-squared" with Edwards' continuity correction.
    """
    a, b = np.asarray(is_right_a, dtype=bool), np.asarray(is_right_b, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    num_discordant = only_a + only_b
    if num_discordant < _EXACT_BELOW:
        p_value = float(scipy.stats.binomtest(only_a, num_discordant).pvalue) if num_discordant else 1.0
    else:
        p_value = float(scipy.stats.chi2.sf(max(0, abs(only_a - only_b) - 1) ** 2 / num_discordant, df=1))
    return {
        "only_a_right": only_a,
        "only_b_right": only_b,
        "p_value": p_value,
        "method": "exact" if num_discordant < _EXACT_BELOW else "chi-squared",
    }


def _find_p_value(drawn_R: np.ndarray) -> float | None:
    """Twice the smaller share of resamples on either side of no difference (Davison & Hinkley 1997, section 4.2)."""
    drawn_R = drawn_R[np.isfinite(drawn_R)]
    if not len(drawn_R):
        return None
    smaller = min((drawn_R <= 0).sum(), (drawn_R >= 0).sum())
    return float(min(1.0, 2 * (smaller + 1) / (len(drawn_R) + 1)))
