"""Spectra of scoring epochs: the frequency bands, Welch's method and line noise.

Shape letters: E epochs, L samples of an epoch, F frequencies.
"""

from collections.abc import Mapping

import numpy as np
import scipy

Bands = Mapping[str, tuple[float, float]]  # name -> lowest and highest frequency in Hz
# AASM bands; sigma is where spindles live (AASM manual 2007: 11-16 Hz, mostly 12-14 Hz).
BANDS_HZ: Bands = {
    "delta": (0.5, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 12.0),
    "sigma": (12.0, 16.0),
    "beta": (16.0, 30.0),
}
# Bands of evidence: disjoint, so that one of them leads. Rodents have no alpha rhythm, only a hertz beside theta.
EVIDENCE_BANDS_HZ: dict[str, Bands] = {
    "human": BANDS_HZ,
    "rodent": {
        "delta": (0.5, 4.0),
        "theta": (6.0, 9.0),
        "alpha": (9.0, 10.0),
        "sigma": (10.0, 15.0),
        "beta": (15.0, 30.0),
    },
}
# Bands of features. The rodents' hippocampal theta and their slower spindles have their own, and overlap with alpha.
FEATURE_BANDS_HZ: dict[str, Bands] = {
    "human": {**BANDS_HZ, "gamma": (30.0, 45.0)},
    "rodent": {
        "delta": (0.5, 4.0),
        "theta": (6.0, 9.0),
        "alpha": (8.0, 12.0),
        "sigma": (10.0, 15.0),
        "beta": (15.0, 30.0),
        "gamma": (30.0, 80.0),
    },
}
WELCH_S = 4.0  # the usual window for sleep EEG (YASA, Luna): resolves 0.25 Hz
LINES_HZ = (50.0, 60.0)
_EPOCHS_AT_ONCE = 64  # keeps the working arrays in the cache
_LINE_HALF_WIDTH_HZ = 1.0
_FLANKS_HZ = (2.0, 5.0)  # distance of the neighbourhood from the line, on either side


def measure_psd(epochs_EL: np.ndarray, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Welch's power spectral density of every epoch: Hann windows of 4 s, half overlapping, averaged.

    Returns:
        (F,) frequencies in Hz and (num_epochs, F) density in the signal's unit squared per Hz.
    """
    num_window = round(WELCH_S * fs_hz)
    psd_EF = np.empty((len(epochs_EL), num_window // 2 + 1), dtype=np.result_type(epochs_EL.dtype, np.float32))
    for start in range(0, len(epochs_EL), _EPOCHS_AT_ONCE):
        chunk = slice(start, start + _EPOCHS_AT_ONCE)
        psd_EF[chunk] = scipy.signal.welch(epochs_EL[chunk], fs_hz, nperseg=num_window, axis=-1)[1]
    return np.fft.rfftfreq(num_window, 1 / fs_hz), psd_EF


def sum_band(psd: np.ndarray, freqs_hz: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Sum of a spectrum over `low_hz` <= frequency < `high_hz` along the last axis; times the bin width, power."""
    return psd[..., (freqs_hz >= low_hz) & (freqs_hz < high_hz)].sum(axis=-1)


def measure_line_noise(psd_EF: np.ndarray, freqs_hz: np.ndarray, line_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """How far the mains stand out of a spectrum, and how strong they are.

    Returns:
        (num_epochs,) mean density within 1 Hz of the line over that 2 to 5 Hz beside it (1: no line),
        and (num_epochs,) the line's power over the power in 0.5-30 Hz. Both NaN where the line is
        within 2 Hz of the Nyquist frequency or above it, and the first where the neighbourhood is silent.
    """
    if line_hz + _FLANKS_HZ[0] > freqs_hz[-1]:
        return np.full(len(psd_EF), np.nan), np.full(len(psd_EF), np.nan)
    distance_hz = np.abs(freqs_hz - line_hz)
    line_EF = psd_EF[:, distance_hz <= _LINE_HALF_WIDTH_HZ]
    flank_E = psd_EF[:, (distance_hz >= _FLANKS_HZ[0]) & (distance_hz <= _FLANKS_HZ[1])].mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        prominence_E = np.where(flank_E > 0, line_EF.mean(axis=1) / flank_E, np.nan)
        share_E = (line_EF - flank_E[:, None]).sum(axis=1) / sum_band(psd_EF, freqs_hz, 0.5, 30.0)
    return prominence_E, np.maximum(share_E, 0.0)
