"""Augmentation of training windows: the same night as another amplifier and another scalp would give it."""

import numpy as np

# Cycles a sample: .2, .7, 2.2, 5.7, 10, 19 and 40 Hz at 100 Hz, evenly apart in pitch.
_KNOTS = np.array([0.002, 0.007, 0.022, 0.057, 0.10, 0.19, 0.40])
NUM_DRAWS = 1 + len(_KNOTS)


def jitter_spectrum(values_WL: np.ndarray, gain_sd: float, band_sd: float, draws: np.ndarray) -> np.ndarray:
    """Change gain and spectral slope of a window as a whole, smoothly over frequency.

    Stages are told apart by differences within a night; the level of a band on its own says as much
    about skull, electrode and amplifier as about sleep, so a scorer should not lean on it.

    Args:
        values_WL: (epochs, samples) signal.
        gain_sd: standard deviation of the ln gain of all frequencies together.
        band_sd: standard deviation of the ln gain at each knot; between knots it is interpolated.
        draws: (NUM_DRAWS,) standard normal numbers.

    Returns:
        (epochs, samples) float32.
    """
    num_samples = values_WL.shape[-1]
    frequency = np.maximum(np.fft.rfftfreq(num_samples), 1e-4)
    log_gain = gain_sd * draws[0] + np.interp(np.log(frequency), np.log(_KNOTS), band_sd * draws[1:])
    spectrum = np.fft.rfft(values_WL.astype(np.float32)) * np.exp(log_gain).astype(np.float32)
    return np.fft.irfft(spectrum, n=num_samples).astype(np.float32)
