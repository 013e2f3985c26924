"""Augmentation of training windows: gain, spectrum, time shift, noise, notches and lost electrodes.

Pure functions of a window and of random numbers drawn by the caller. A window is consecutive epochs
of one channel, (epochs, samples); all of it is changed alike, because sleep stages differ
from one another within a night. Size is jittered by `jitter_spectrum` (its gain).
"""

import numpy as np

from tslm.signals.filters import notch

# Cycles a sample: .2, .7, 2.2, 5.7, 10, 19 and 40 Hz at 100 Hz, evenly apart in pitch.
_KNOTS = np.array([0.002, 0.007, 0.022, 0.057, 0.10, 0.19, 0.40])
NUM_DRAWS = 1 + len(_KNOTS)
# Cycles per sample: 3 to 45 Hz at 100 Hz; a slower notch would remove all waves of a sleep stage.
_NOTCH_RANGE = (0.03, 0.45)
_NARROWEST_NOTCH = 0.001  # cycles a sample


def jitter_spectrum(values_WL: np.ndarray, log_gains: np.ndarray) -> np.ndarray:
    """Change gain and spectral slope of a window as a whole, smoothly over frequency.

    Sleep stages differ from one another within a night. The absolute level of a band depends as much on skull,
    electrode and amplifier as on sleep, so a scorer should not rely on it.

    Args:
        values_WL: (epochs, samples) signal.
        log_gains: as for `interpolate_gain`.

    Returns:
        (epochs, samples) float32.
    """
    num_samples = values_WL.shape[-1]
    frequency = np.maximum(np.fft.rfftfreq(num_samples), 1e-4)
    gain_F = np.exp(interpolate_gain(frequency, log_gains)).astype(np.float32)
    spectrum = np.fft.rfft(values_WL.astype(np.float32)) * gain_F
    return np.fft.irfft(spectrum, n=num_samples).astype(np.float32)


def interpolate_gain(frequency: np.ndarray, log_gains: np.ndarray) -> np.ndarray:
    """Ln gain at each frequency, in cycles a sample, above 0.

    Args:
        frequency: of any shape.
        log_gains: (NUM_DRAWS,) ln gain of all frequencies together, and at each knot; between knots it is interpolated.
    """
    return log_gains[0] + np.interp(np.log(frequency), np.log(_KNOTS), log_gains[1:])


def shift_time(values_WL: np.ndarray, max_shift_samples: int, draw: float) -> np.ndarray:
    """Let the epochs begin up to `max_shift_samples` earlier or later, as another scorer's clock would.

    What moves out of one epoch moves into its neighbour; the window's ends are mirrored.

    Args:
        values_WL: (epochs, samples) consecutive epochs.
        max_shift_samples: largest shift to either side, less than the window.
        draw: uniform in [0, 1).
    """
    shift = int(np.floor(draw * (2 * max_shift_samples + 1))) - max_shift_samples
    padded = np.pad(values_WL.reshape(-1), abs(shift), mode="reflect")
    start = abs(shift) - shift
    return padded[start : start + values_WL.size].reshape(values_WL.shape)


def add_noise(values_WL: np.ndarray, max_noise: float, draw: float, normal_WL: np.ndarray) -> np.ndarray:
    """Add Gaussian noise of up to `max_noise` times each epoch's RMS; 0.1 keeps the signal 20 dB above it or more.

    Args:
        values_WL: (epochs, samples) signal.
        max_noise: largest RMS of the noise over that of the epoch without its mean.
        draw: uniform in [0, 1); the share of `max_noise` that this window gets.
        normal_WL: (epochs, samples) standard normal numbers.
    """
    noise_W1 = max_noise * draw * values_WL.std(axis=1, keepdims=True)
    return (values_WL + noise_W1 * normal_WL).astype(np.float32)


def cut_notch(values_WL: np.ndarray, max_width: float, draws: np.ndarray) -> np.ndarray:
    """Take out a band of random width at a random frequency, as a notch against mains or stimulation does.

    Args:
        values_WL: (epochs, samples) signal.
        max_width: widest notch (between its half-amplitude points), cycles a sample.
        draws: (2,) uniform in [0, 1): where between 0.03 and 0.45 cycles a sample, and how wide.
    """
    low, high = _NOTCH_RANGE
    width = max(max_width * float(draws[1]), _NARROWEST_NOTCH)
    return notch(values_WL, 1.0, low + (high - low) * float(draws[0]), min(width, low))


def drop_electrode(values_WL: np.ndarray, probability: float, draws: np.ndarray) -> np.ndarray:
    """With the given probability, lose the electrode for a stretch of the window, which is zero there.

    For an EMG lead that comes off, and for any channel that a scorer must do without at times.

    Args:
        values_WL: (epochs, samples) signal.
        probability: of losing it at all.
        draws: (3,) uniform in [0, 1): whether, and two places in the window between which it is lost.
    """
    if draws[0] >= probability:
        return values_WL
    start, stop = np.sort(np.rint(np.asarray(draws[1:]) * values_WL.size)).astype(int)
    lost = values_WL.reshape(-1).copy()
    lost[start:stop] = 0.0
    return lost.reshape(values_WL.shape)
