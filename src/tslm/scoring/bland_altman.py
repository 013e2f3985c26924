"""Agreement of two methods on one quantity: bias, limits of agreement and their intervals (Bland & Altman).

Bland & Altman 1986, Lancet 327:307-310; the standard error of the limits is that of Bland & Altman 1999, Stat Methods
Med Res 8:135-160, section 2.3. Differences are taken as independent and roughly normal: nights of one person count
as if they were of several, which makes the intervals somewhat too narrow.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

MIN_NIGHTS = 2  # for a standard deviation, and so for limits
_REACH = 1.96  # standard deviations to either side that hold 95 % of normal differences
_LEVEL = 0.95


def score_agreement(truth: Sequence[float | None], predicted: Sequence[float | None]) -> dict[str, Any]:
    """Score the agreement of `predicted` with `truth` over nights, as plain numbers for JSON.

    Args:
        truth: one value a night, None where the night does not define it.
        predicted: the same nights by the other method.

    Returns:
        `num_nights` with both values and `num_undefined` without; `expert_mean`, `predicted_mean`; `bias`, the mean of
        predicted less truth, `mean_absolute_error`, `sd` (n - 1) of the differences; `limits`, bias -/+ 1.96 sd; and
        95 % intervals by Student's t: `bias_interval`, `lower_limit_interval`, `upper_limit_interval`. What needs more
        nights than there are is None.

    Raises:
        ValueError: not as many values on both sides.
    """
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} values and {len(predicted)}: give one of each a night")
    pairs = [(a, b) for a, b in zip(truth, predicted, strict=True) if a is not None and b is not None]
    result: dict[str, Any] = {"num_nights": len(pairs), "num_undefined": len(truth) - len(pairs)}
    names = ("expert_mean", "predicted_mean", "bias", "mean_absolute_error", "sd", "bias_interval", "limits")
    result |= dict.fromkeys((*names, "lower_limit_interval", "upper_limit_interval"))
    if not pairs:
        return result
    truth_N, predicted_N = np.array(pairs, dtype=np.float64).T
    differences_N = predicted_N - truth_N
    bias = float(differences_N.mean())
    result |= {"expert_mean": float(truth_N.mean()), "predicted_mean": float(predicted_N.mean()), "bias": bias}
    result["mean_absolute_error"] = float(np.abs(differences_N).mean())
    if len(pairs) < MIN_NIGHTS:
        return result
    sd = float(differences_N.std(ddof=1))
    lower, upper = bias - _REACH * sd, bias + _REACH * sd
    t = float(scipy.special.stdtrit(len(pairs) - 1, (1 + _LEVEL) / 2))
    of_bias = t * sd / np.sqrt(len(pairs))
    of_limit = t * sd * np.sqrt(1 / len(pairs) + _REACH**2 / (2 * (len(pairs) - 1)))
    return result | {
        "sd": sd,
        "limits": [lower, upper],
        "bias_interval": _spread(bias, of_bias),
        "lower_limit_interval": _spread(lower, of_limit),
        "upper_limit_interval": _spread(upper, of_limit),
    }


def _spread(centre: float, reach: float) -> list[float]:
    return [float(centre - reach), float(centre + reach)]
