"""Muscle tone as a series that a model can read beside an EEG: ranks within the night on a carrier wave.

Laboratories store the chin's EMG in two ways: as it is, or rectified and smoothed to a value a second
(the Sleep-EDF cassettes, cut off at the top of the converter's range). The envelope of the first is the
second. Its microvolts say more of skin and electrodes than of sleep, and removing an epoch's mean, as
other series need it, would take the tone away. So each second is ranked among all seconds of its own
recording, which no gain and no cut-off changes, and the rank sets the size of a sine: a model that reads
log energies then reads the rank.

Shape letters: E epochs, L samples of an epoch, S seconds of an epoch, Q quantiles.
"""

import numpy as np

from tslm.batch import ToneScale
from tslm.evidence.muscle import EMG_BAND_HZ, ENVELOPE_BELOW_HZ, is_envelope
from tslm.evidence.waveforms import filter_bands

_NUM_QUANTILES = 401
_LOG_FLOOR = 1e-3  # microvolt; a dead electrode has a tone too, the lowest
_LOG_RANGE = 3.0  # ln amplitude of the carrier from the lowest rank to the highest
_CARRIER = 0.25  # cycles a sample


def measure_tone_scale(epochs_EL: np.ndarray, fs_hz: float) -> ToneScale:
    """The tones of a recording, to rank its epochs by: from its own signal alone, no labels are looked at.

    Args:
        epochs_EL: (num_epochs, samples) microvolt, finite; all epochs of the recording.
        fs_hz: Sampling rate.
    """
    window_samples = max(1, round(fs_hz))
    band_ES = _envelope(epochs_EL, window_samples, fs_hz < ENVELOPE_BELOW_HZ)
    stored = fs_hz < ENVELOPE_BELOW_HZ or is_envelope(epochs_EL, np.sqrt(np.mean(np.square(band_ES), axis=1)))
    log_envelope_ES = np.log((_envelope(epochs_EL, window_samples, True) if stored else band_ES) + _LOG_FLOOR)
    return ToneScale(np.quantile(log_envelope_ES, np.linspace(0, 1, _NUM_QUANTILES)), window_samples, stored)


def carry_tone(values: np.ndarray, scale: ToneScale) -> np.ndarray:
    """The tone of each second by its rank (0 to 1, ties in their middle) as the ln amplitude of a sine.

    Args:
        values: (..., L) microvolt, finite.
        scale: of the recording that the values are from.

    Returns:
        (..., L) float32; the amplitude is 1 at the median and linear in ln between seconds.
    """
    log_envelope = np.log(_envelope(values, scale.window_samples, scale.is_envelope) + _LOG_FLOOR)
    below, up_to = (np.searchsorted(scale.log_envelope_Q, log_envelope, side) for side in ("left", "right"))
    rank = (below + up_to) / (2 * len(scale.log_envelope_Q))
    num_samples, num_seconds = values.shape[-1], rank.shape[-1]
    centres = (np.arange(num_seconds) + 0.5) * num_samples / num_seconds
    at_samples_SL = np.stack([np.interp(np.arange(num_samples), centres, row) for row in np.eye(num_seconds)])
    carrier_L = np.sqrt(2) * np.sin(2 * np.pi * _CARRIER * np.arange(num_samples))
    return (np.exp(_LOG_RANGE * (rank - 0.5) @ at_samples_SL) * carrier_L).astype(np.float32)


def _envelope(values: np.ndarray, window_samples: int, stored: bool) -> np.ndarray:
    """(..., L) -> (..., S): mean of the values where they are an envelope already, else RMS above 10 Hz."""
    num_samples = values.shape[-1]
    if not stored:
        centred = values - values.mean(axis=-1, keepdims=True)
        muscle_EL = filter_bands(centred.reshape(-1, num_samples), window_samples, {"emg": (*EMG_BAND_HZ, 1.0, 1.0)})
        values = np.square(muscle_EL["emg"]).reshape(values.shape)
    starts = np.arange(max(1, num_samples // window_samples)) * window_samples
    lengths = np.diff(np.append(starts, num_samples))
    mean = np.add.reduceat(np.abs(values), starts, axis=-1, dtype=np.float64) / lengths
    return mean if stored else np.sqrt(mean)
