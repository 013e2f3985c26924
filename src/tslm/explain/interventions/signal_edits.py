"""Edits of one EEG epoch whose effect the detectors can confirm: spindles, slow waves, alpha.

Whether an edit had its effect is measured afterwards (`edits.py`), never assumed. L samples of an epoch.
"""

import numpy as np
import scipy

from tslm.evidence.waveforms import filter_bands

_SPINDLE_HZ = (11.0, 16.0, 1.0, 1.0)  # band-stop; edges as in `tslm.evidence.waveforms.filter_bands`
_SLOW_HZ = (0.3, 2.0, 0.2, 1.0)
_RIVALS_HZ = (4.0, 30.0, 1.0, 2.0)  # theta to beta, which alpha must exceed to count
_BROAD_HZ = (1.0, 30.0, 0.5, 2.0)
_ENVELOPE_S, _TAPER_S = 0.3, 0.2
_NUM_SPINDLES, _BURST_S, _BURST_HZ = 3, (0.8, 1.2), 13.0
_SPACE_S = 2.0  # between the centres of bursts, and from the ends of the epoch
_BURST_UV = (15.0, 40.0)  # amplitude; a spindle is rarely larger
_ALPHA_HZ, _ALPHA_UV = (9.0, 10.0), (15.0, 50.0)
_ALPHA_WANDER_HZ, _WANDER_S = 1.0, 0.5  # of its frequency: a rhythm of one frequency looks like sawtooth waves
ALPHA_SHARE = 0.65  # of the epoch: the detector's windows of 2 s lose a little at both ends


def remove_spindles(values_L: np.ndarray, fs_hz: float) -> np.ndarray:
    """Lower every burst of 11-16 Hz to the epoch's typical amplitude there.

    Where the envelope is no larger than its median nothing changes, so the stop band opens and closes smoothly.
    """
    sigma_L = _filter(values_L, fs_hz, _SPINDLE_HZ)
    envelope_L = _measure_envelope(sigma_L, fs_hz)
    gain_L = np.minimum(1.0, np.median(envelope_L) / np.maximum(envelope_L, 1e-9))
    gain_L = scipy.ndimage.uniform_filter1d(gain_L, max(1, round(_TAPER_S * fs_hz)), mode="nearest")
    return values_L + (gain_L - 1.0) * sigma_L


def add_spindles(values_L: np.ndarray, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Add bursts of 13 Hz, 0.8-1.2 s long, where the epoch is quiet and holds no sigma burst.

    The amplitude follows the background at the place, as a spindle must stand out of it to be counted.
    """
    sigma_L, broad_L = _filter(values_L, fs_hz, _SPINDLE_HZ), _filter(values_L, fs_hz, _BROAD_HZ)
    background_L = np.sqrt(scipy.ndimage.uniform_filter1d(np.square(broad_L), round(fs_hz), mode="nearest"))
    sigma_rms_L = np.sqrt(scipy.ndimage.uniform_filter1d(np.square(sigma_L), round(fs_hz), mode="nearest"))
    cost_L = background_L + 4.0 * sigma_rms_L
    edited_L, time_s = values_L.astype(np.float64), np.arange(len(values_L)) / fs_hz
    is_free_L = (time_s >= _SPACE_S) & (time_s <= time_s[-1] - _SPACE_S)
    for _ in range(_NUM_SPINDLES):
        free = np.flatnonzero(is_free_L)
        if not len(free):
            break
        quiet = free[cost_L[free] <= np.quantile(cost_L[free], 0.1)]
        centre = int(rng.choice(quiet))
        amplitude_uv = float(np.clip(2.5 * background_L[centre], *_BURST_UV))
        edited_L += _draw_burst(time_s - time_s[centre], amplitude_uv, rng)
        is_free_L &= np.abs(time_s - time_s[centre]) >= _SPACE_S
    return edited_L


def scale_slow_waves(values_L: np.ndarray, fs_hz: float, factor: float) -> np.ndarray:
    """Multiply what lies in 0.3-2 Hz."""
    return values_L + (factor - 1.0) * _filter(values_L, fs_hz, _SLOW_HZ)


def add_alpha(values_L: np.ndarray, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Add a rhythm of 9-10 Hz that waxes and wanes over more than half of the epoch."""
    num_samples = len(values_L)
    length = round(ALPHA_SHARE * num_samples)
    time_s = np.arange(length) / fs_hz
    amplitude_uv = float(np.clip(2.5 * _filter(values_L, fs_hz, _RIVALS_HZ).std(), *_ALPHA_UV))
    envelope = 0.8 + 0.2 * np.sin(2 * np.pi * 0.3 * time_s + rng.uniform(0, 2 * np.pi))
    edge = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) / 0.5)
    wander_L = scipy.ndimage.uniform_filter1d(rng.normal(size=length), max(1, round(_WANDER_S * fs_hz)), mode="wrap")
    freq_hz = rng.uniform(*_ALPHA_HZ) + _ALPHA_WANDER_HZ * wander_L / wander_L.std()
    phase = 2 * np.pi * np.cumsum(freq_hz) / fs_hz + rng.uniform(0, 2 * np.pi)
    start = int(rng.integers(num_samples - length + 1))
    edited_L = values_L.astype(np.float64)
    edited_L[start : start + length] += amplitude_uv * envelope * edge * np.sin(phase)
    return edited_L


def _draw_burst(from_centre_s: np.ndarray, amplitude_uv: float, rng: np.random.Generator) -> np.ndarray:
    half_s = rng.uniform(*_BURST_S) / 2
    window_L = np.where(np.abs(from_centre_s) < half_s, 0.5 + 0.5 * np.cos(np.pi * from_centre_s / half_s), 0.0)
    return amplitude_uv * window_L * np.sin(2 * np.pi * _BURST_HZ * from_centre_s + rng.uniform(0, 2 * np.pi))


def _measure_envelope(values_L: np.ndarray, fs_hz: float) -> np.ndarray:
    power_L = scipy.ndimage.uniform_filter1d(np.square(values_L), max(1, round(_ENVELOPE_S * fs_hz)), mode="nearest")
    return np.sqrt(np.maximum(power_L, 0.0))


def _filter(values_L: np.ndarray, fs_hz: float, band: tuple[float, float, float, float]) -> np.ndarray:
    centred_L = values_L - values_L.mean(dtype=np.float64)
    return filter_bands(centred_L[None], fs_hz, {"band": band})["band"][0]
