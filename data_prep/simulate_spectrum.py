"""Overlapping frames of the simulator: 4 s long, every 2 s, sine window on both sides.

Squared sine windows half a frame apart sum to one, so splitting and joining is the identity and
independent noise frames join to noise of constant variance.

Shape letters: F frames (15 an epoch and one more; frame i is centred on second 2 i), B frequency
bins, N samples.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft
from scipy.signal import lfilter

FS_HZ = 100
EPOCH_S = 30
FRAME_SAMPLES = 400
HOP_SAMPLES = 200
FRAMES_PER_EPOCH = 15
FREQS_HZ = np.fft.rfftfreq(FRAME_SAMPLES, 1 / FS_HZ)
_WINDOW = np.sin(np.pi * (np.arange(FRAME_SAMPLES) + 0.5) / FRAME_SAMPLES).astype(np.float32)
_PSD_SCALE = 2 / (FS_HZ * float((_WINDOW**2).sum()))  # |X|^2 of a windowed frame to one-sided uV^2/Hz


def frame_second(num_epochs: int) -> np.ndarray:
    """Centres of all frames of a night, (F,) seconds."""
    return np.arange(num_epochs * FRAMES_PER_EPOCH + 1) * (HOP_SAMPLES / FS_HZ)


def split_frames(signal_N: np.ndarray) -> np.ndarray:
    """Spectra of the windowed frames of a signal, (F, B) complex64."""
    padded = np.pad(signal_N.astype(np.float32, copy=False), HOP_SAMPLES, mode="reflect")
    frames = sliding_window_view(padded, FRAME_SAMPLES)[::HOP_SAMPLES] * _WINDOW
    return fft.rfft(frames, axis=1)


def join_frames(spectra_FB: np.ndarray) -> np.ndarray:
    """Signal of spectra by windowed overlap-add, (N,) float32; the inverse of `split_frames`."""
    frames = fft.irfft(spectra_FB, n=FRAME_SAMPLES, axis=1) * _WINDOW
    return (frames[:-1, HOP_SAMPLES:] + frames[1:, :HOP_SAMPLES]).reshape(-1)


def read_psd(spectra_FB: np.ndarray) -> np.ndarray:
    """One-sided power spectral density of the frames, (F, B) microvolt^2 / Hz."""
    return (spectra_FB.real**2 + spectra_FB.imag**2) * np.float32(_PSD_SCALE)


def draw_noise(rng: np.random.Generator, log_psd_FB: np.ndarray) -> np.ndarray:
    """Gaussian noise with the given ln power spectral density in every frame, (N,) float32.

    Args:
        rng: Source of all randomness.
        log_psd_FB: (F, B) ln of the one-sided density in microvolt^2 / Hz.
    """
    normal = rng.standard_normal((*log_psd_FB.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    # E|X|^2 = S fs n / 2, half of it in each of the real and imaginary parts.
    normal *= np.exp(0.5 * log_psd_FB) * np.float32(np.sqrt(FS_HZ * FRAME_SAMPLES / 4))
    return join_frames(normal)


def draw_wander(rng: np.random.Generator, num_frames: int, num_series: int, time_constant_s: float) -> np.ndarray:
    """Independent first-order autoregressive series of unit variance, (F, num_series) float32."""
    rho = float(np.exp(-HOP_SAMPLES / FS_HZ / time_constant_s))
    steps = rng.standard_normal((num_frames, num_series)) * np.sqrt(1 - rho**2)
    steps[0] /= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], steps, axis=0).astype(np.float32)


def build_hat_basis(knots_hz: np.ndarray) -> np.ndarray:
    """Piecewise linear interpolation in ln frequency, flat outside the knots, (num_knots, B) float32."""
    log_freqs = np.log(np.maximum(FREQS_HZ, 1e-3))
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
