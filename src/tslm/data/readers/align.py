"""Alignment of signals with different starts, rates and clocks on one grid of samples, by their time stamps.

A clock is a list of pairs of sample position and second, with linear interpolation between them. Two pairs define a
start and a rate, more pairs a drift. A grid sample outside a signal or in one of its gaps is NaN; no value is carried
over a gap.

Shape letters: N samples of a signal, G samples of the grid, K pairs of a clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import scipy

from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.signals.artifacts import FILL_VALUE
from tslm.signals.filters import resample_polyphase

_OVERSAMPLING = 2  # a quintic spline is exact to 1e-4 up to 0.45 of the rate it is laid through, halved by this
_SPLINE_ORDER = 5
_BLOCK_SAMPLES = 200_000  # grid samples at once, so that a day fits into memory
_MARGIN_SAMPLES = 128  # beyond what a block needs: the low-pass's and the spline's reach
_SAME_TIME_S = 1e-6
_GAP_STEPS = 1.5  # time stamps further apart than this many samples hold a gap
_MAX_SAMPLES = 1_000_000_000  # of a channel: four months at 100 Hz
_KNOT_S = 120.0  # stamps averaged to one pair of a clock: what was rounded away goes, a drift stays
_MAX_RATE_ERROR = 0.05  # a clock that runs off its nominal rate by more is taken for a mistake


@dataclass(frozen=True)
class Clock:
    """When the samples of a signal were taken.

    Raises:
        ValueError: Fewer than two pairs, or pairs that do not both rise.
    """

    positions_K: np.ndarray  # (K,) sample positions, not necessarily whole
    times_s_K: np.ndarray  # (K,) seconds from the start of the recording

    def __post_init__(self) -> None:
        if self.positions_K.shape != self.times_s_K.shape or self.positions_K.ndim != 1 or len(self.positions_K) < 2:
            raise ValueError(f"a clock needs two or more pairs of sample and second, got {len(self.positions_K)}")
        if not ((np.diff(self.positions_K) > 0).all() and (np.diff(self.times_s_K) > 0).all()):
            raise ValueError(
                "the time stamps of a clock must rise from one to the next; sort them and drop repetitions"
            )

    @property
    def fs_hz(self) -> float:
        """Mean rate."""
        return float(np.ptp(self.positions_K) / np.ptp(self.times_s_K))

    def position_at(self, times_s: np.ndarray) -> np.ndarray:
        """Sample position at given seconds; the first and last line go on beyond the clock's ends."""
        positions = np.interp(times_s, self.times_s_K, self.positions_K)
        for end, inner, beyond in ((0, 1, times_s < self.times_s_K[0]), (-1, -2, times_s > self.times_s_K[-1])):
            steps = self.positions_K[inner] - self.positions_K[end]
            rate_hz = steps / (self.times_s_K[inner] - self.times_s_K[end])
            positions[beyond] = self.positions_K[end] + (times_s[beyond] - self.times_s_K[end]) * rate_hz
        return positions

    def time_of(self, positions: np.ndarray) -> np.ndarray:
        """Second at given sample positions, the inverse of `position_at`."""
        return Clock(self.times_s_K, self.positions_K).position_at(positions)


def build_clock(signal: RawSignal) -> Clock:
    """The clock of a signal that knows its start and its rate."""
    ends = np.array([0.0, max(1, len(signal.values) - 1)])
    return Clock(ends, signal.start_s + ends / signal.fs_hz)


def fit_clock(times_s_N: np.ndarray, first_position: int = 0) -> Clock:
    """The clock behind a time stamp for every sample of a stretch without gaps, (N,) seconds, N >= 2.

    Stamps are off by what their writer rounded away, so those of two minutes are averaged to one pair.
    """
    if len(times_s_N) < 2:
        raise ValueError(f"a clock needs two or more time stamps, got {len(times_s_N)}")
    num_knots = max(2, int((times_s_N[-1] - times_s_N[0]) / _KNOT_S))
    parts = np.array_split(np.asarray(times_s_N, dtype=np.float64), num_knots)
    bounds = np.cumsum([0, *(len(part) for part in parts)])
    middles = first_position + (bounds[:-1] + bounds[1:] - 1) / 2
    return Clock(middles, np.array([part.mean() for part in parts]))


def align_signal(signal: RawSignal, fs_hz: float, num_samples: int, clock: Clock | None = None) -> RawSignal:
    """A signal on the grid whose sample k is at k / `fs_hz` seconds from the start of the recording.

    Where the rate stays and the shift is a whole number of samples, samples are moved, not changed.
    Otherwise the signal is interpolated by a quintic spline, after a low-pass at nine tenths of the
    lower Nyquist frequency; within 0.2 s of a stretch's ends it is continued by its last value.

    Args:
        signal: A signal; NaN are gaps.
        fs_hz: Rate of the grid.
        num_samples: Samples of the grid.
        clock: When its samples were taken; None follows from `signal.start_s` and `signal.fs_hz`.

    Returns:
        The signal with `num_samples` values, NaN where it says nothing, and `start_s` 0.

    Raises:
        ValueError: A rate is not positive, or the clock's rate is far from the signal's.
    """
    if not (signal.fs_hz > 0 and fs_hz > 0):
        raise ValueError(f"cannot bring a signal of {signal.fs_hz:g} Hz to {fs_hz:g} Hz; wanted positive rates")
    clock = clock or build_clock(signal)
    if abs(clock.fs_hz / signal.fs_hz - 1) > _MAX_RATE_ERROR:
        raise ValueError(
            f"the clock tells {clock.fs_hz:.6g} Hz, the signal {signal.fs_hz:.6g} Hz; check which is wrong"
        )
    aligned = np.full(num_samples, np.nan, dtype=np.float32)
    for first, last in _finite_runs(signal.values):
        _place_run(aligned, signal.values[first:last], first, clock, fs_hz)
    return replace(signal, values=aligned, fs_hz=fs_hz, start_s=0.0)


def align_stamped(values_N: np.ndarray, times_s_N: np.ndarray, fs_hz: float, num_samples: int) -> np.ndarray:
    """Values with a time stamp each, possibly with gaps, on the grid of `fs_hz`; (num_samples,) float32.

    Args:
        values_N: (N,) samples; NaN are gaps.
        times_s_N: (N,) seconds from the start of the recording, rising; a step of more than one and
            a half median steps is a gap. Each stretch between gaps has its own clock.
        fs_hz: Rate of the grid.
        num_samples: Samples of the grid.

    Raises:
        ValueError: Not one stamp a value, stamps that do not rise, or fewer than two.
    """
    times_s_N = np.asarray(times_s_N, dtype=np.float64)
    if len(values_N) != len(times_s_N) or len(times_s_N) < 2:
        raise ValueError(f"{len(values_N)} values and {len(times_s_N)} time stamps; wanted one each, two or more")
    steps_s = np.diff(times_s_N)
    if not (steps_s > 0).all():
        row = int(np.flatnonzero(~(steps_s > 0))[0])
        raise ValueError(f"time stamp {times_s_N[row + 1]:.6f} s follows {times_s_N[row]:.6f} s; wanted rising ones")
    breaks = np.flatnonzero(steps_s > _GAP_STEPS * np.median(steps_s)) + 1
    bounds = [0, *breaks.tolist(), len(times_s_N)]
    rate_hz = 1 / float(np.median(steps_s))
    aligned = np.full(num_samples, np.nan, dtype=np.float32)
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        if end - begin < 2:
            clock = Clock(np.array([begin, begin + 1.0]), times_s_N[begin] + np.array([0, 1 / rate_hz]))
        else:
            clock = fit_clock(times_s_N[begin:end], begin)
        for first, last in _finite_runs(np.asarray(values_N[begin:end], dtype=np.float32)):
            run = np.asarray(values_N[begin + first : begin + last], dtype=np.float32)
            _place_run(aligned, run, begin + first, clock, fs_hz)
    return aligned


def align_recording(raw: RawRecording, fs_hz: float = 0.0) -> RawRecording:
    """All signals of a recording on one grid, from its start to the end of the longest of them.

    Args:
        raw: A recording.
        fs_hz: Rate of the grid; 0 takes the highest of the signals.

    Raises:
        ValueError: A rate is not positive.
    """
    signals = raw.signals.values()
    fs_hz = fs_hz or max((signal.fs_hz for signal in signals), default=0.0)
    ends_s = [signal.start_s + len(signal.values) / signal.fs_hz for signal in signals if signal.fs_hz > 0]
    if (longest_s := max(ends_s, default=0.0)) * fs_hz > _MAX_SAMPLES:
        raise ValueError(
            f"{raw.recording} lasts {longest_s / 86400:.3g} days by its longest channel, too long at {fs_hz:g} Hz"
        )
    num_samples = max(0, int(np.floor(longest_s * fs_hz + 1e-6)))
    aligned = {
        name: signal
        if signal.fs_hz == fs_hz and signal.start_s == 0 and len(signal.values) == num_samples
        else align_signal(signal, fs_hz, num_samples)
        for name, signal in raw.signals.items()
    }
    return replace(raw, signals=aligned)


def _place_run(aligned_G: np.ndarray, run: np.ndarray, first: int, clock: Clock, fs_hz: float) -> None:
    """Write a stretch without NaN, whose first sample has position `first`, into the grid, in place."""
    start_s, end_s = clock.time_of(np.array([first, first + len(run) - 1.0]))
    begin = max(0, int(np.ceil((start_s - _SAME_TIME_S) * fs_hz)))
    # The last sample stands for its whole period, as it does in a file that ends with it.
    stop = min(len(aligned_G), int(np.ceil((end_s + 1 / clock.fs_hz - _SAME_TIME_S) * fs_hz)))
    if stop <= begin:
        return
    grid_s = np.array([begin, stop - 1]) / fs_hz
    positions = clock.position_at(grid_s) - first
    lines = len(clock.positions_K) == 2
    shift = round(float(positions[0]))
    if lines and np.abs(positions - (shift + np.array([0, stop - 1 - begin]))).max() < _SAME_TIME_S * fs_hz:
        aligned_G[begin:stop] = run[shift : shift + stop - begin]
        return
    for block_begin in range(begin, stop, _BLOCK_SAMPLES):
        block_stop = min(stop, block_begin + _BLOCK_SAMPLES)
        times_s = np.arange(block_begin, block_stop) / fs_hz
        aligned_G[block_begin:block_stop] = _interpolate(run, clock.position_at(times_s) - first, clock.fs_hz, fs_hz)


def _interpolate(run: np.ndarray, positions: np.ndarray, fs_in_hz: float, fs_out_hz: float) -> np.ndarray:
    """Values of a stretch at fractional positions of its samples, rising."""
    step = max(1.0, fs_in_hz / fs_out_hz)
    margin = int(np.ceil(_MARGIN_SAMPLES * step))
    low, high = max(0, int(positions[0]) - margin), min(len(run), int(positions[-1]) + margin + 2)
    part = run[low:high]
    factor = 1.0
    if step > 1.001:  # what the grid cannot hold goes first, at a ratio simpler than that of a drifting clock
        ratio = Fraction(fs_out_hz / fs_in_hz).limit_denominator(100)
        part, factor = resample_polyphase(part, ratio.denominator, ratio.numerator), float(ratio)
    part, factor = resample_polyphase(part, 1.0, _OVERSAMPLING), factor * _OVERSAMPLING
    return scipy.ndimage.map_coordinates(
        part.astype(np.float64), [(positions - low) * factor], order=_SPLINE_ORDER, mode="nearest"
    ).astype(np.float32)


def _finite_runs(values_N: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of every stretch without NaN and without fill values."""
    is_real_N = np.abs(values_N) < FILL_VALUE
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_real_N, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
