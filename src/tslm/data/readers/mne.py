"""Recordings as MNE-Python knows them: files of any format it reads, and Raw objects for tools that want them."""

import configparser
import os
import struct
import zlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from tslm.data.readers.raw import Annotation, ChannelInfo, RawRecording, SignalFile

if TYPE_CHECKING:
    from mne.io import BaseRaw, RawArray

_VOLT_PER_UV = 1e-6
_ANONYMISED = datetime(2000, 1, 1)  # what `Raw.anonymize` writes
_VOLTAGES = ("eeg", "eog", "emg", "ecg", "seeg", "ecog", "dbs", "bio")  # MNE's types that it gives in volt
# What its readers raise for a file that is damaged or no such file.
_READ_ERRORS = (
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError, OSError, EOFError),
    *(ArithmeticError, MemoryError, configparser.Error, struct.error, zlib.error),
)


def open_mne(path: Path) -> SignalFile:
    """A file of any format that `mne.io.read_raw` knows (BrainVision, FIF, EEGLAB, GDF, ...).

    Its annotations may be the hypnogram. Stretches that MNE marks as BAD_ACQ_SKIP are NaN.

    Raises:
        FileNotFoundError: The file is missing.
        ImportError: MNE is not installed.
        ValueError: MNE cannot read it, or a header takes its samples from elsewhere than its folder.
    """
    mne = _import_mne(f"{path} is read by MNE")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        raw = mne.io.read_raw(path, preload=False, verbose="error")
    except (*_READ_ERRORS, scipy.io.matlab.MatReadError) as error:
        why = " ".join(str(error).split())[:200] or "it knows no such format"
        raise ValueError(
            f"{path} cannot be read by MNE ({why}), and by its name it is no EDF, BDF, CSV, TSV or .mat file"
        ) from error
    for name in filter(None, raw.filenames):
        taken = Path(os.path.abspath(name))  # noqa: PTH100 - links are not followed: annexed data sets are links
        if not any(taken.is_relative_to(each.parent) for each in (path.absolute(), path.resolve())):
            raise ValueError(f"{path} takes its samples from {name}, outside its folder; put both into one")
    return hold_mne_raw(raw, path)


def hold_mne_raw(raw: "BaseRaw", path: Path) -> SignalFile:
    """A Raw object of MNE as an open file of that path; its filters and crops are kept."""
    fs_hz = float(raw.info["sfreq"])
    kinds = raw.get_channel_types()
    date = raw.info["meas_date"]
    date = date.replace(tzinfo=None) if date else None
    person = raw.info["subject_info"] or {}

    def read_values(idx: int) -> np.ndarray:
        values = raw.get_data([idx], reject_by_annotation=None, verbose="error")[0]
        values = values / _VOLT_PER_UV if kinds[idx] in _VOLTAGES else values
        for note in _read_annotations(raw):
            if note.text.upper().startswith("BAD_ACQ_SKIP"):
                start, stop = (round(at_s * fs_hz) for at_s in (note.onset_s, note.onset_s + note.duration_s))
                values[max(0, start) : max(0, stop)] = np.nan
        return values.astype(np.float32)

    return SignalFile(
        path=path,
        channels=tuple(
            ChannelInfo(name, "uV" if kind in _VOLTAGES else kind, fs_hz)
            for name, kind in zip(raw.ch_names, kinds, strict=True)
        ),
        duration_s=raw.n_times / fs_hz,
        read_values=read_values,
        annotation_reader=lambda: _read_annotations(raw),
        start=date + timedelta(seconds=raw.first_time) if date and date != _ANONYMISED else None,
        subject=str(person.get("his_id") or ""),
        sex={1: "M", 2: "F"}.get(person.get("sex", 0), ""),
    )


def build_mne_raw(recording: RawRecording) -> "RawArray":
    """All channels of a recording, cut to the shortest, as an MNE RawArray in volt; hypnogram and start are left out.

    A channel is of MNE's type eog or emg where its name says so, and eeg otherwise.

    Raises:
        ImportError: MNE is not installed.
        ValueError: The channels differ in rate or start, or there is none.
    """
    mne = _import_mne("MNE is not installed")
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


def _import_mne(why: str) -> Any:
    try:
        import mne
    except ImportError as error:
        raise ImportError(f"{why}; install tslm-sleep[mne]") from error
    return mne


def _read_annotations(raw: Any) -> list[Annotation]:
    """Annotations from the first sample on; MNE keeps them from `first_time` before it, with and without a date."""
    notes = raw.annotations
    return [
        Annotation(float(onset_s - raw.first_time), float(duration_s), str(text))
        for onset_s, duration_s, text in zip(notes.onset, notes.duration, notes.description, strict=True)
    ]
