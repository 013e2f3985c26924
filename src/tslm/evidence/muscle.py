"""Muscle tone of an EMG channel: measured per epoch, and as a series that a model reads beside an EEG.

Laboratories store the chin EMG as it is, or rectified and smoothed to one value per second (the Sleep-EDF cassettes,
cut off at the top of the converter's range), which is the envelope of the first. Its microvolts depend on skin and
electrodes more than on sleep, and removing an epoch's mean, as for other series, would remove the tone. The series of a
model is therefore the rank of each second among all seconds of the recording, which no gain and no cut-off changes. The
rank is the amplitude of a sine: a model that reads log energies reads the rank.

Shape letters: E epochs, L samples of an epoch, S seconds of an epoch, Q quantiles.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tslm.batch import ToneScale
from tslm.evidence.waveforms import filter_bands
from tslm.signals.channel_names import read_channel_name

EMG_COLUMNS: tuple[str, ...] = ("emg_rms_uv", "emg_tone")
EMG_BAND_HZ = (10.0, 100.0)  # filters of the chin EMG, AASM 2007
# Slower than this a channel cannot hold an EMG, only its envelope: the Sleep-EDF cassettes store
# the rectified and smoothed submental EMG at 1 Hz, in microvolt RMS (Kemp et al. 2000).
ENVELOPE_BELOW_HZ = 20.0
_EPOCHS_AT_ONCE = 64
_NUM_QUANTILES = 401
_LOG_FLOOR = 1e-3  # microvolt; a dead electrode has a tone too, the lowest
_LOG_RANGE = 3.0  # ln amplitude of the carrier from the lowest rank to the highest
_CARRIER = 0.25  # cycles a sample


def find_emg_channel(names: Iterable[str]) -> str | None:
    """The channel that shows muscle tone, by its name: chin before any other EMG, never a leg; None without one."""
    found = {name: said for name in names if (said := read_channel_name(name)).role == "emg"}
    return next((name for name, said in found.items() if said.is_chin), next(iter(found), None))


def measure_emg(epochs_EL: np.ndarray, fs_hz: float) -> dict[str, np.ndarray]:
    """One value an epoch for each of EMG_COLUMNS, float32.

    `emg_rms_uv` is the RMS of 10-100 Hz (as far as the rate reaches). Of an envelope it is the RMS of the
    values: that is a channel slower than 20 Hz, or one that was resampled from there, which is never
    negative and has nothing above 10 Hz. `emg_tone` is `emg_rms_uv` over its median
    over all epochs given, so 1 is typical of the recording and atonia lies below. It is the one
    measured value that needs the whole recording: electrode distance and skin set the microvolts, and
    the manual speaks of tone relative to the same sleeper. It is 0 throughout where the median is 0.

    Args:
        epochs_EL: (num_epochs, samples) microvolt, finite; all epochs of the recording.
        fs_hz: Sampling rate.

    Raises:
        ValueError: The array is not two-dimensional.
    """
    epochs_EL = np.asarray(epochs_EL, dtype=np.float32)
    if epochs_EL.ndim != 2:
        raise ValueError(f"epochs have shape {epochs_EL.shape}; wanted (num_epochs, samples): reshape the signal first")
    whole_E = np.sqrt(np.mean(np.square(epochs_EL), axis=1, dtype=np.float64))
    if fs_hz < ENVELOPE_BELOW_HZ:
        rms_E = whole_E
    else:
        chunks = (epochs_EL[start : start + _EPOCHS_AT_ONCE] for start in range(0, len(epochs_EL), _EPOCHS_AT_ONCE))
        rms_E = np.concatenate([np.zeros(0), *(_rms(chunk_EL, fs_hz) for chunk_EL in chunks)])
        if len(rms_E) and is_envelope(epochs_EL, rms_E):
            rms_E = whole_E
    typical_uv = float(np.median(rms_E)) if rms_E.size else 0.0
    tone_E = rms_E / typical_uv if typical_uv > 0 else np.zeros_like(rms_E)
    return {"emg_rms_uv": rms_E.astype(np.float32), "emg_tone": tone_E.astype(np.float32)}


def _rms(chunk_EL: np.ndarray, fs_hz: float) -> np.ndarray:
    low_hz, high_hz = EMG_BAND_HZ
    centred_EL = chunk_EL - chunk_EL.mean(axis=1, keepdims=True)
    muscle_EL = filter_bands(centred_EL, fs_hz, {"emg": (low_hz, high_hz, 1.0, 1.0)})["emg"]
    return np.sqrt(np.mean(np.square(muscle_EL, dtype=np.float64), axis=1))


def is_envelope(epochs_EL: np.ndarray, rms_E: np.ndarray) -> bool:
    """Whether nearly no value is negative and almost nothing of what varies lies above 10 Hz."""
    return bool((epochs_EL < 0).mean() < 0.02 and np.median(rms_E) < 0.01 * np.median(epochs_EL.std(axis=1)))


def measure_tone_scale(epochs_EL: np.ndarray, fs_hz: float) -> ToneScale:
    """The tones of a recording, to rank its epochs by: from its own signal alone, no labels are looked at.

    Args:
        epochs_EL: (num_epochs, samples) microvolt, finite; all epochs of the recording.
        fs_hz: Sampling rate.
    """
    return build_tone_scale(measure_tones(epochs_EL, fs_hz))


@dataclass(frozen=True)
class Tones:
    """Muscle tone of every second of a recording, of which the scales of its parts are made."""

    log_envelope_ES: np.ndarray
    window_samples: int  # as of ToneScale
    is_envelope: bool


def measure_tones(epochs_EL: np.ndarray, fs_hz: float, stored: bool | None = None) -> Tones:
    """The tone of every second; arguments as `measure_tone_scale`; `stored`: it is an envelope (None: found out)."""
    window_samples = max(1, round(fs_hz))
    band_ES = _envelope(epochs_EL, window_samples, fs_hz < ENVELOPE_BELOW_HZ)
    if stored is None:
        stored = fs_hz < ENVELOPE_BELOW_HZ or is_envelope(epochs_EL, np.sqrt(np.mean(np.square(band_ES), axis=1)))
    log_envelope_ES = np.log((_envelope(epochs_EL, window_samples, True) if stored else band_ES) + _LOG_FLOOR)
    return Tones(log_envelope_ES, window_samples, stored)


def build_tone_scale(tones: Tones, part: slice = slice(None)) -> ToneScale:
    """The tones of a part of the recording, to rank its epochs by."""
    quantiles_Q = np.quantile(tones.log_envelope_ES[part], np.linspace(0, 1, _NUM_QUANTILES))
    return ToneScale(quantiles_Q, tones.window_samples, tones.is_envelope)


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
