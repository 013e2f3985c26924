"""From which measured figure on a word about a series is used; None where it is too near a border to say.

Questions and captions are written with these words, and a checker of either can read them back.
"""

import numpy as np

from tslm.evidence.series import SeriesFacts, measure_parts

QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")
LONGEST_PERIOD_SAMPLES = 300  # of 1,000: at least three cycles are seen
SHORTEST_PERIOD_SAMPLES = 20


def trend_word(facts: SeriesFacts) -> str | None:
    """Rising, falling, no clear trend: the fitted line explains 40 % of the variance, or under 5 %."""
    if facts.trend_share >= 0.4:
        return "rising" if facts.trend_change > 0 else "falling"
    return "no clear trend" if facts.trend_share < 0.05 else None


def cycle_word(facts: SeriesFacts) -> str | None:
    """Whether a pattern repeats (yes, no): autocorrelation of 0.6 at its lag, or under 0.2 at any."""
    if facts.period_strength >= 0.6 and 0 < facts.period_samples <= LONGEST_PERIOD_SAMPLES:
        return "yes"
    return "no" if facts.period_strength < 0.2 else None


def period_word(facts: SeriesFacts) -> str | None:
    """Length of the cycle, where one is clear and long enough to count samples."""
    if cycle_word(facts) != "yes" or facts.period_samples < SHORTEST_PERIOD_SAMPLES:
        return None
    return f"about {facts.period_samples} samples"


def shift_word(facts: SeriesFacts) -> str | None:
    """Jumps up, jumps down, no jump.

    A jump explains half the variance, 10 % more than a line does, and its step is 2.5 deviations of
    the samples around it; none is one that explains under 15 %.
    """
    if facts.shift_share < 0.15:
        return "no jump"
    agrees = facts.shift_step * facts.shift_change > 0 and abs(facts.shift_step) >= 2.5
    if not agrees or facts.shift_share < max(0.5, facts.trend_share + 0.1):
        return None
    return "jumps up" if facts.shift_change > 0 else "jumps down"


def spike_place_word(facts: SeriesFacts, num_samples: int) -> str | None:
    """Quarter of the largest spike, where there are one to four."""
    return QUARTERS[4 * facts.largest_spike_idx // num_samples] if 1 <= facts.num_spikes <= 4 else None


def spread_word(facts: SeriesFacts) -> str | None:
    """Half that changes more from sample to sample: by a factor of 1.6, or within a tenth."""
    ratio = facts.spread_ratio
    if 0.9 <= ratio <= 1.1:
        return "about the same"
    return "second half" if ratio >= 1.6 else "first half" if ratio <= 1 / 1.6 else None


def smoothness_word(facts: SeriesFacts) -> str | None:
    """Smooth or noisy by the autocorrelation at one sample: 0.97 and more, 0.6 and less."""
    return "smooth" if facts.smoothness >= 0.97 else "noisy" if facts.smoothness <= 0.6 else None


def highest_quarter(values_L: np.ndarray) -> str | None:
    """Quarter with the highest mean, where it leads by a fifth of the series' deviation."""
    means, _ = measure_parts(values_L, 4)
    ordered = np.sort(means)
    return QUARTERS[int(means.argmax())] if ordered[-1] - ordered[-2] >= 0.2 * np.std(values_L) else None


def lowest_quarter(values_L: np.ndarray) -> str | None:
    """Quarter with the lowest mean, by the same margin."""
    return highest_quarter(-np.asarray(values_L))


def is_steady(values_L: np.ndarray) -> bool:
    """Whether no quarter's standard deviation exceeds another's by more than a quarter."""
    _, stds = measure_parts(values_L, 4)
    return bool(stds.max() <= 1.25 * stds.min())


def strongest_quarter(values_L: np.ndarray) -> str | None:
    """Quarter with the largest standard deviation, where it leads by a quarter."""
    _, stds = measure_parts(values_L, 4)
    ordered = np.sort(stds)
    return QUARTERS[int(stds.argmax())] if ordered[-1] >= 1.25 * ordered[-2] else None
