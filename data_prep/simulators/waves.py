"""Single waves of the simulator: onsets from a rate, one row of samples an event, added to the signal.

Shape letters: F frames, N samples of the recording, n events, L samples of an event.
"""

from collections.abc import Callable

import numpy as np
from scipy import fft

from data_prep.simulators.frames import HUMAN_GRID, FrameGrid

_WAVES_AT_ONCE = 256


def draw_onsets(rng: np.random.Generator, rate_per_minute_F: np.ndarray, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """Sample positions of events with a given rate in every frame, at most one a frame, (n,) sorted."""
    frames = np.flatnonzero(rng.random(rate_per_minute_F.size) < rate_per_minute_F * (grid.hop_s / 60))
    half = grid.hop_samples // 2
    return frames * grid.hop_samples + rng.integers(-half, half, frames.size)


def add_waves(signal_N: np.ndarray, onsets_n: np.ndarray, waves_nL: np.ndarray) -> None:
    """Add one row of samples at every onset, cut at the ends of the signal, in place."""
    positions = onsets_n[:, None] + np.arange(waves_nL.shape[1])
    inside = (positions >= 0) & (positions < signal_N.size)
    signal_N += np.bincount(positions[inside], waves_nL[inside], signal_N.size).astype(np.float32)


def add_many_waves(
    signal_N: np.ndarray, onsets_n: np.ndarray, length: int, build_waves: Callable[[slice], np.ndarray]
) -> None:
    """Add events to a long signal, some at a time; `build_waves` gives the rows (events, length) of a slice of them."""
    for start in range(0, onsets_n.size, _WAVES_AT_ONCE):
        some = slice(start, start + _WAVES_AT_ONCE)
        first, last = max(0, int(onsets_n[some].min())), int(onsets_n[some].max()) + length
        add_waves(signal_N[first:last], onsets_n[some] - first, build_waves(some))


def seconds(duration_s: float, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """Time of the samples of an event, (1, L) seconds."""
    return (np.arange(round(duration_s * grid.fs_hz)) / grid.fs_hz)[None]


def draw_sizes(rng: np.random.Generator, median: float, log_sd: float, num: int) -> np.ndarray:
    """Lognormal column, (num, 1)."""
    return median * np.exp(log_sd * rng.standard_normal((num, 1)))


def draw_coloured(
    rng: np.random.Generator,
    num: int,
    num_samples: int,
    amplitude: Callable[[np.ndarray], np.ndarray],
    grid: FrameGrid = HUMAN_GRID,
) -> np.ndarray:
    """Rows of noise of unit variance with the given amplitude spectrum, (num, num_samples)."""
    gain = amplitude(np.fft.rfftfreq(num_samples, 1 / grid.fs_hz))
    spectrum = fft.rfft(rng.standard_normal((num, num_samples)), axis=1) * gain
    noise = fft.irfft(spectrum, n=num_samples, axis=1)
    return noise / np.sqrt(2 * (gain**2).sum() / num_samples)
