"""Recordings as MNE-Python knows them, for tools that work on its Raw objects."""

from typing import TYPE_CHECKING

import numpy as np

from tslm.data.raw import RawRecording

if TYPE_CHECKING:
    from mne.io import RawArray

_VOLT_PER_UV = 1e-6


def build_mne_raw(recording: RawRecording) -> "RawArray":
    """All channels of a recording, cut to the shortest, as an MNE RawArray in volt; hypnogram and start are left out.

    A channel is of MNE's type eog or emg where its name says so, and eeg otherwise.

    Raises:
        ImportError: MNE is not installed.
        ValueError: The channels differ in rate or start, or there is none.
    """
    try:
        import mne
    except ImportError as error:
        raise ImportError("MNE is not installed; install tslm-sleep[mne]") from error
    rates_hz = {signal.fs_hz for signal in recording.signals.values()}
    starts_s = {signal.start_s for signal in recording.signals.values()}
    if len(rates_hz) != 1 or len(starts_s) != 1:
        raise ValueError(
            f"{recording.recording} has channels of {len(rates_hz)} rates and {len(starts_s)} starts; MNE takes one "
            "of each: choose channels that share them"
        )
    num_samples = min(len(signal.values) for signal in recording.signals.values())
    volts_CN = np.stack(
        [signal.values[:num_samples].astype(np.float64) * _VOLT_PER_UV for signal in recording.signals.values()]
    )
    kinds = [next((kind for kind in ("eog", "emg") if kind in name.lower()), "eeg") for name in recording.signals]
    info = mne.create_info(list(recording.signals), rates_hz.pop(), kinds, verbose="error")
    return mne.io.RawArray(volts_CN, info, verbose="error")
