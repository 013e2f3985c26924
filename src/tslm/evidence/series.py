"""Measurements of any one-dimensional series (trend, cycle, jump, spikes, spread, extremes) and the words for them.

Questions, captions and their checkers use these measurements, never the settings by which a series was simulated. A
word is None where the measured value is too near its threshold.
"""

from dataclasses import dataclass

import numpy as np
import scipy

MIN_SAMPLES = 32
SPIKE_DEVIATIONS = 6.0  # robust standard deviations from the running median
CYCLE_STRENGTH = 0.4  # autocorrelation from which a cycle is called one
QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")
LONGEST_PERIOD_SAMPLES = 300  # of 1,000: at least three cycles are seen
SHORTEST_PERIOD_SAMPLES = 20


class UnmeasurableError(ValueError):
    """The signal holds nothing to measure; the message is the reason in a few words."""


@dataclass(frozen=True)
class SeriesFacts:
    """Measured figures of one series of n samples; positions are sample indices."""

    mean: float
    std: float
    minimum: float
    maximum: float
    argmin: int
    argmax: int
    start_level: float  # mean of the first tenth
    end_level: float  # mean of the last tenth
    trend_change: float  # rise of the fitted line from end to end, in the series' unit
    trend_share: float  # variance that the line explains, 0 to 1
    shift_change: float  # mean after minus mean before the best split
    shift_share: float  # variance that the split explains, 0 to 1
    shift_step: float  # size of the jump across the split itself over the spread around it
    shift_idx: int  # first sample after the split
    period_samples: int  # lag of the cycle, 0 where there is none
    period_strength: float  # autocorrelation at that lag after the line is taken out
    num_spikes: int
    largest_spike_idx: int  # -1 where there is none
    spread_ratio: float  # typical size of changes in the second half over the first half
    smoothness: float  # autocorrelation at one sample


def measure_series(values_L: np.ndarray) -> SeriesFacts:
    """Facts of a series (num_samples,) of any unit.

    Raises:
        UnmeasurableError: it is too short or not finite.
        ValueError: it has another shape.
    """
    values_L = np.asarray(values_L, dtype=np.float64)
    if values_L.ndim != 1:
        raise ValueError(f"the series has shape {values_L.shape}; wanted (num_samples,)")
    if len(values_L) < MIN_SAMPLES:
        raise UnmeasurableError(f"{len(values_L)} samples long, {MIN_SAMPLES} samples are needed")
    if not np.isfinite(values_L).all():
        raise UnmeasurableError("the series holds NaN or infinite values")
    tenth = max(len(values_L) // 10, 1)
    trend_change, trend_share, detrended_L = _fit_line(values_L)
    shift_idx, shift_change, shift_share, shift_step = _fit_shift(values_L)
    period_samples, period_strength, smoothness = _find_cycle(detrended_L, values_L)
    spikes, heights = find_spikes(values_L)
    return SeriesFacts(
        mean=float(values_L.mean()),
        std=float(values_L.std()),
        minimum=float(values_L.min()),
        maximum=float(values_L.max()),
        argmin=int(values_L.argmin()),
        argmax=int(values_L.argmax()),
        start_level=float(values_L[:tenth].mean()),
        end_level=float(values_L[-tenth:].mean()),
        trend_change=trend_change,
        trend_share=trend_share,
        shift_change=shift_change,
        shift_share=shift_share,
        shift_step=shift_step,
        shift_idx=shift_idx,
        period_samples=period_samples,
        period_strength=period_strength,
        num_spikes=len(spikes),
        largest_spike_idx=int(spikes[heights.argmax()]) if len(spikes) else -1,
        spread_ratio=_spread_ratio(values_L),
        smoothness=smoothness,
    )


def find_spikes(values_L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(indices, heights) of lone samples beyond 6 robust deviations from the running median of 11.

    The deviation is 1.4826 x the median absolute difference from that median (Hampel's identifier),
    at least a tenth of the standard deviation. A spike is at most 3 samples wide at half its height;
    samples within 10 of a larger one belong to it.
    """
    residual_L = np.abs(values_L - scipy.ndimage.median_filter(values_L, 11, mode="nearest"))
    bar = max(SPIKE_DEVIATIONS * 1.4826 * float(np.median(residual_L)), 0.1 * float(values_L.std()), 1e-12)
    spikes, found = scipy.signal.find_peaks(np.pad(residual_L, 1), height=bar, distance=10, width=(None, 3))
    return spikes - 1, found["peak_heights"]


def measure_parts(values_L: np.ndarray, num_parts: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of each of `num_parts` equal parts of a series, (num_parts,) each."""
    parts = np.array_split(np.asarray(values_L, dtype=np.float64), num_parts)
    return np.array([part.mean() for part in parts]), np.array([part.std() for part in parts])


def _fit_line(values_L: np.ndarray) -> tuple[float, float, np.ndarray]:
    time_L = np.linspace(-0.5, 0.5, len(values_L))
    centred_L = values_L - values_L.mean()
    slope = float(time_L @ centred_L / (time_L @ time_L))
    detrended_L = centred_L - slope * time_L
    power = float(centred_L @ centred_L)
    return slope, (1.0 - float(detrended_L @ detrended_L) / power) if power > 0 else 0.0, detrended_L


def _fit_shift(values_L: np.ndarray) -> tuple[int, float, float, float]:
    """Best split into two means (least squares) with a tenth of the series on each side at least."""
    num_samples, centred_L = len(values_L), values_L - values_L.mean()
    power = float(centred_L @ centred_L)
    tenth = max(num_samples // 10, 2)
    split = np.arange(tenth, num_samples - tenth)
    before = np.cumsum(centred_L)[split - 1]  # the whole sums to zero, so the part after is its negative
    explained = before**2 * (1.0 / split + 1.0 / (num_samples - split))
    idx = int(split[explained.argmax()])
    change = float(centred_L[idx:].mean() - centred_L[:idx].mean())
    near = max(num_samples // 40, 3)
    left_L, right_L = centred_L[idx - near : idx], centred_L[idx : idx + near]
    around = max(float(np.median([left_L.std(), right_L.std()])), 1e-6 * float(np.ptp(values_L)), 1e-12)
    step = float(np.median(right_L) - np.median(left_L)) / around
    return idx, change, float(explained.max()) / power if power > 0 else 0.0, step


def _find_cycle(detrended_L: np.ndarray, values_L: np.ndarray) -> tuple[int, float, float]:
    """(period, its autocorrelation, autocorrelation at lag 1); the first peak within 90 % of the highest."""
    centred_L = values_L - values_L.mean()
    power = float(centred_L @ centred_L)
    smoothness = float(centred_L[:-1] @ centred_L[1:]) / power if power > 0 else 0.0
    correlation_L = _autocorrelation(detrended_L)
    dips = np.flatnonzero(correlation_L < 0)
    longest = len(values_L) // 2
    if not len(dips):
        return 0, 0.0, smoothness
    first = int(dips[0])
    peaks = scipy.signal.find_peaks(correlation_L[first : longest + 1], height=0.0)[0] + first
    if not len(peaks):
        return 0, 0.0, smoothness
    heights = correlation_L[peaks]
    best = int(np.flatnonzero(heights >= 0.9 * heights.max())[0])
    strength = float(heights[best])
    return (int(peaks[best]) if strength >= CYCLE_STRENGTH else 0), strength, smoothness


def _autocorrelation(centred_L: np.ndarray) -> np.ndarray:
    """Autocorrelation at lags 0 ... n-1, each lag over its own number of products."""
    num_samples = len(centred_L)
    num_fft = scipy.fft.next_fast_len(2 * num_samples, real=True)
    spectrum = scipy.fft.rfft(centred_L, num_fft)
    products_L = scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2, num_fft)[:num_samples]
    mean_L = products_L / np.arange(num_samples, 0, -1)
    return mean_L / mean_L[0] if mean_L[0] > 0 else np.zeros(num_samples)


def _spread_ratio(values_L: np.ndarray) -> float:
    change_L = np.abs(np.diff(values_L))
    half = len(change_L) // 2
    first, second = float(np.median(change_L[:half])), float(np.median(change_L[half:]))
    return second / first if first > 0 else 1.0 if second == 0 else float("inf")


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
