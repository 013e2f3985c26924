"""Synthesis of simulated signals: states of the brain in frames, noise in overlapping frames, and single waves.

A frame is two hops long and starts every hop, with a sine window for analysis and synthesis. Squared sine windows half
a frame apart sum to one, so `join_frames` inverts `split_frames`, and independent noise frames give noise of constant
variance. The default grid (100 Hz, hop of 2 s) is for people; rodents have a hop of 1 s and any sampling rate.

Shape letters: F frames (one per hop and one more; frame i is centred at i * hop_s), S states of the brain, K curves,
B frequency bins, N samples, n events, L samples of an event.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

_FRAMES_AT_ONCE = 2048  # keeps the spectra of a whole day out of memory
_WAVES_AT_ONCE = 256


@dataclass(frozen=True)
class FrameGrid:
    """Sampling rate and frames of a simulation.

    Raises:
        ValueError: A hop is not a whole number of samples.
    """

    fs_hz: int
    hop_s: float

    def __post_init__(self) -> None:
        if self.fs_hz * self.hop_s != round(self.fs_hz * self.hop_s) or self.fs_hz <= 0:
            raise ValueError(f"fs_hz={self.fs_hz}: {self.hop_s:g} s must be a whole number of samples")

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.fs_hz * self.hop_s)

    @property
    def frame_samples(self) -> int:
        """Samples of a frame."""
        return 2 * self.hop_samples

    @cached_property
    def freqs_hz(self) -> np.ndarray:
        """Frequency bins of a frame's spectrum, (B,)."""
        return np.fft.rfftfreq(self.frame_samples, 1 / self.fs_hz)

    @cached_property
    def window(self) -> np.ndarray:
        """Sine window, (frame_samples,) float32."""
        return np.sin(np.pi * (np.arange(self.frame_samples) + 0.5) / self.frame_samples).astype(np.float32)

    @cached_property
    def psd_scale(self) -> float:
        """From |X|^2 of a windowed frame to one-sided uV^2/Hz."""
        return 2 / (self.fs_hz * float((self.window**2).sum()))


FS_HZ = 100
EPOCH_S = 30
HUMAN_GRID = FrameGrid(FS_HZ, 2.0)
FRAMES_PER_EPOCH = 15
FREQS_HZ = HUMAN_GRID.freqs_hz


Intrusion = tuple[int, int, float, int, int]  # (in state, becomes state, per minute, min and max frames)


def add_intrusions(
    rng: np.random.Generator, state_F: np.ndarray, intrusions: Sequence[Intrusion], grid: FrameGrid = HUMAN_GRID
) -> np.ndarray:
    """The states with short moments of other states in them."""
    intruded_F = state_F.copy()
    for inside, becomes, per_minute, shortest, longest in intrusions:
        rate = per_minute * rng.lognormal(0, 0.4) / (60 / grid.hop_s)
        for start in np.flatnonzero((rng.random(state_F.size) < rate) & (state_F == inside)):
            moment = slice(start, start + int(rng.integers(shortest, longest + 1)))
            intruded_F[moment] = np.where(state_F[moment] == inside, becomes, intruded_F[moment])
    return intruded_F


def jitter_boundaries(
    rng: np.random.Generator, codes: np.ndarray, reach: Callable[[np.ndarray], np.ndarray], frames_per_code: int = 1
) -> np.ndarray:
    """Repeat each code over its frames, with the boundaries between bouts moved at random.

    Args:
        rng: Source of all randomness.
        codes: One code per epoch or per frame.
        reach: Largest move in frames of each boundary, by the length of the shorter of the bouts beside it.
        frames_per_code: Frames of each code; several per code give one frame more at the end.
    """
    changes = np.flatnonzero(np.diff(codes)) + 1
    edges = np.concatenate([[0], changes, [codes.size]])
    bouts = np.diff(edges)
    moves = np.rint(rng.uniform(-1, 1, changes.size) * reach(np.minimum(bouts[:-1], bouts[1:]))).astype(int)
    num_frames = codes.size * frames_per_code + (frames_per_code > 1)
    starts = np.concatenate([[0], changes * frames_per_code + moves, [num_frames]])
    return np.repeat(codes[edges[:-1]], np.diff(starts))


def soften_weights(weights_FS: np.ndarray, share: float) -> np.ndarray:
    """Weights of states, of which each neighbouring frame gets `share`; rows sum to one."""
    softened = (1 - 2 * share) * weights_FS
    softened[1:] += share * weights_FS[:-1]
    softened[:-1] += share * weights_FS[1:]
    return softened / softened.sum(axis=1, keepdims=True)


def split_frames(signal_N: np.ndarray, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """Spectra of the windowed frames of a signal, (F, B) complex64."""
    padded = np.pad(signal_N.astype(np.float32, copy=False), grid.hop_samples, mode="reflect")
    frames = sliding_window_view(padded, grid.frame_samples)[:: grid.hop_samples] * grid.window
    return scipy.fft.rfft(frames, axis=1)


def join_frames(spectra_FB: np.ndarray, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """Signal of spectra by windowed overlap-add, (N,) float32; the inverse of `split_frames`."""
    frames = scipy.fft.irfft(spectra_FB, n=grid.frame_samples, axis=1) * grid.window
    return (frames[:-1, grid.hop_samples :] + frames[1:, : grid.hop_samples]).reshape(-1)


def read_psd(spectra_FB: np.ndarray, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """One-sided power spectral density of the frames, (F, B) microvolt^2 / Hz."""
    return (spectra_FB.real**2 + spectra_FB.imag**2) * np.float32(grid.psd_scale)


def draw_noise(rng: np.random.Generator, log_psd_FB: np.ndarray, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """Gaussian noise with the given ln power spectral density in every frame, (N,) float32.

    Args:
        rng: Source of all randomness.
        log_psd_FB: (F, B) ln of the one-sided density in microvolt^2 / Hz.
        grid: Rate and frames.
    """
    return join_frames(_draw_spectra(rng, log_psd_FB, grid), grid)


def draw_mixed_noise(
    rng: np.random.Generator, weights_FK: np.ndarray, basis_KB: np.ndarray, grid: FrameGrid
) -> np.ndarray:
    """Noise as `draw_noise` of `combine(weights_FK, basis_KB)`, drawn some frames at a time, (N,) float32."""
    signal_N = np.empty((len(weights_FK) - 1) * grid.hop_samples, dtype=np.float32)
    last_1B = _draw_spectra(rng, combine(weights_FK[:1], basis_KB), grid)
    for start in range(1, len(weights_FK), _FRAMES_AT_ONCE):
        fresh = slice(start, start + _FRAMES_AT_ONCE)
        spectra_FB = _draw_spectra(rng, combine(weights_FK[fresh], basis_KB), grid)
        part = join_frames(np.concatenate([last_1B, spectra_FB]), grid)
        first = (start - 1) * grid.hop_samples
        signal_N[first : first + part.size] = part
        last_1B = spectra_FB[-1:]
    return signal_N


def draw_wander(
    rng: np.random.Generator,
    num_frames: int,
    num_series: int,
    time_constant_s: float,
    grid: FrameGrid = HUMAN_GRID,
) -> np.ndarray:
    """Independent first-order autoregressive series of unit variance, (F, num_series) float32."""
    rho = float(np.exp(-grid.hop_s / time_constant_s))
    steps = rng.standard_normal((num_frames, num_series)) * np.sqrt(1 - rho**2)
    steps[0] /= np.sqrt(1 - rho**2)
    return scipy.signal.lfilter([1.0], [1.0, -rho], steps, axis=0).astype(np.float32)


def build_hat_basis(knots_hz: np.ndarray, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """Piecewise linear interpolation in ln frequency, flat outside the knots, (num_knots, B) float32."""
    log_freqs = np.log(np.maximum(grid.freqs_hz, 1e-3))
    return np.stack([np.interp(log_freqs, np.log(knots_hz), row) for row in np.eye(len(knots_hz))]).astype(np.float32)


def smooth_rows(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean over each row and `reach` rows on either side, edges repeated, shape as given."""
    padded = np.pad(values, ((reach + 1, reach), (0, 0)), mode="edge")
    sums = np.cumsum(padded, axis=0, dtype=np.float64)
    return (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)


def combine(weights_FK: np.ndarray, basis_KB: np.ndarray) -> np.ndarray:
    """Weighted sum of basis curves in every frame, (F, B) float32.

    Plain einsum rather than BLAS: its result does not depend on the number of threads.
    """
    return np.einsum("fk,kb->fb", weights_FK.astype(np.float32), basis_KB.astype(np.float32))


def ramp(centre_hz: float, width_hz: float, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """Curve over frequency that rises from 0 to 1 around `centre_hz`, (B,)."""
    return 1 / (1 + np.exp(-(grid.freqs_hz - centre_hz) / width_hz))


def bump(centre_hz: float, width_hz: float, grid: FrameGrid = HUMAN_GRID) -> np.ndarray:
    """Bell curve over frequency of height 1 and standard deviation `width_hz`, (B,)."""
    return np.exp(-0.5 * ((grid.freqs_hz - centre_hz) / width_hz) ** 2)


def _draw_spectra(rng: np.random.Generator, log_psd_FB: np.ndarray, grid: FrameGrid) -> np.ndarray:
    normal = rng.standard_normal((*log_psd_FB.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    # E|X|^2 = S fs n / 2, half of it in each of the real and imaginary parts.
    normal *= np.exp(0.5 * log_psd_FB) * np.float32(np.sqrt(grid.fs_hz * grid.frame_samples / 4))
    return normal


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
    spectrum = scipy.fft.rfft(rng.standard_normal((num, num_samples)), axis=1) * gain
    noise = scipy.fft.irfft(spectrum, n=num_samples, axis=1)
    return noise / np.sqrt(2 * (gain**2).sum() / num_samples)
