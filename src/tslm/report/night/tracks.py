"""Tracks of a night beside its hypnograms: spectrogram, EMG envelope, artefact flags.

Shape letters: E epochs of the recording, L samples of an epoch, F frequencies, W windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tslm.data.prepared.recordings import Recording
from tslm.evidence.muscle import find_emg_channel, measure_emg
from tslm.signals.spectrum import measure_psd

SPECTROGRAM_TOP_HZ = 30.0
_STEP_HZ = 0.5
_MAX_COLUMNS = 1500
_NUM_COLOURS = 254  # byte 0 is reserved for "no signal here"
_COLOUR_PERCENTILES = (2.0, 98.0)
_ENVELOPE_S = 5.0
_FLAG_SUFFIX = "_flag"


@dataclass(frozen=True)
class Spectrogram:
    """Power of one channel over the night."""

    codes: bytes  # (num_columns, num_freqs) uint8, column by column; 0 is missing, 1 to 255 from low_db to high_db
    num_columns: int
    num_freqs: int
    epochs_per_column: int
    step_hz: float  # of a row; row k is centred on k * step_hz + first_hz
    first_hz: float
    low_db: float
    high_db: float


def measure_spectrogram(epochs_EL: np.ndarray, fs_hz: float, positions: np.ndarray) -> Spectrogram:
    """Power in dB (of 1 uV^2/Hz) from 0.5 to 30 Hz, a column an epoch, or several where a night is long.

    Args:
        epochs_EL: (num_epochs, samples) microvolt.
        fs_hz: sampling rate.
        positions: (num_epochs,) place of each epoch on the time axis, in epochs from its start, ascending.
    """
    freqs_hz, psd_EF = measure_psd(epochs_EL, fs_hz)
    bins_F = np.round(freqs_hz / _STEP_HZ).astype(int)
    top = int(min(SPECTROGRAM_TOP_HZ, freqs_hz[-1]) / _STEP_HZ)
    power_EF = np.stack([psd_EF[:, bins_F == row].mean(axis=1) for row in range(1, top + 1)], axis=1)
    together = int(np.ceil((positions[-1] + 1) / _MAX_COLUMNS))
    num_columns = int(positions[-1] // together + 1)
    summed_WF = np.zeros((num_columns, top))
    counts_W = np.bincount(positions // together, minlength=num_columns)
    np.add.at(summed_WF, positions // together, power_EF)
    db_EF = 10 * np.log10(np.maximum(summed_WF[counts_W > 0] / counts_W[counts_W > 0, None], 1e-6))
    low_db, high_db = (float(value) for value in np.percentile(db_EF, _COLOUR_PERCENTILES))
    high_db = max(high_db, low_db + 1.0)
    codes_WF = np.zeros((num_columns, top), dtype=np.uint8)
    codes_WF[counts_W > 0] = 1 + np.rint(np.clip((db_EF - low_db) / (high_db - low_db), 0, 1) * _NUM_COLOURS)
    return Spectrogram(codes_WF.tobytes(), num_columns, top, together, _STEP_HZ, _STEP_HZ, low_db, high_db)


def measure_envelope(epochs_EL: np.ndarray, fs_hz: float) -> np.ndarray:
    """RMS of the muscles' activity in windows of about 5 s, (num_epochs, windows) microvolt."""
    num_epochs, num_samples = epochs_EL.shape
    wanted = max(round(num_samples / fs_hz / _ENVELOPE_S), 1)
    num_windows = next(count for count in range(wanted, 0, -1) if num_samples % count == 0)
    windows_WL = epochs_EL.reshape(num_epochs * num_windows, -1)
    return measure_emg(windows_WL, fs_hz)["emg_rms_uv"].reshape(num_epochs, num_windows)


def find_flags(recording: Recording, epoch_idx: np.ndarray) -> dict[str, list[int]]:
    """Positions (in `epoch_idx`) of the epochs with each artefact flag; kinds that are nowhere set are left out."""
    flags = {
        name.removesuffix(_FLAG_SUFFIX).replace("_", " "): np.flatnonzero(np.asarray(values)[epoch_idx]).tolist()
        for name, values in recording.columns.items()
        if name.endswith(_FLAG_SUFFIX)
    }
    return {name: positions for name, positions in flags.items() if positions}


def has_flags(recording: Recording) -> bool:
    """Whether artefacts were looked for at all."""
    return any(name.endswith(_FLAG_SUFFIX) for name in recording.columns)


def describe_envelope(recording: Recording, epoch_idx: np.ndarray) -> dict[str, Any] | None:
    """Name, unit and values of the EMG's envelope over the epochs shown; None without an EMG channel."""
    name = find_emg_channel(recording.channels)
    if name is None:
        return None
    envelope_EW = measure_envelope(recording.channels[name][epoch_idx], recording.fs_hz)
    return {
        "channel": name,
        "unit": unit_of(recording.units, name),
        "num_windows": envelope_EW.shape[1],
        "values": [float(f"{value:.3g}") for value in envelope_EW.ravel()],
    }


def unit_of(units: Mapping[str, str], channel: str) -> str:
    """Unit of a channel as it is shown."""
    unit = units.get(channel, "uV")
    return "µV" if unit == "uV" else unit
