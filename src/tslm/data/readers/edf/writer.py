"""EDF+ writer: a recording as one file of signals and one of annotations."""

from collections.abc import Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pyedflib

from tslm.data.readers.raw import RawRecording
from tslm.files import write_beside
from tslm.labels import RK_ANNOTATIONS, SleepStage

_NO_START = datetime(1985, 1, 1)  # the first day an EDF header can express


def write_edf(
    recording: RawRecording,
    psg_path: Path,
    hypnogram_path: Path,
    label_map: Mapping[str, SleepStage] = RK_ANNOTATIONS,
) -> None:
    """Write a recording as an EDF+ file of signals and an EDF+ file of annotations.

    Samples take 16 bits over each channel's own range. A last second that is not full is filled with
    zeros, as EDF stores whole data records. Both files appear whole or not at all.

    Raises:
        ValueError: A sleep stage has no annotation text, or a sampling rate is not a whole number of hertz.
    """
    text_of = {sleep_stage: text for text, sleep_stage in reversed(list(label_map.items()))}
    unnamed = sorted(set(recording.sleep_stages) - set(text_of))
    if unnamed:
        raise ValueError(f"sleep stage {unnamed[0].value} of {recording.recording} has no annotation text")
    fractional = [name for name, signal in recording.signals.items() if signal.fs_hz % 1]
    if fractional:
        raise ValueError(
            f"channel {fractional[0]!r} has {recording.signals[fractional[0]].fs_hz} Hz; EDF needs whole Hz"
        )
    with write_beside(psg_path) as partial_psg, write_beside(hypnogram_path) as partial_hypnogram:
        _write_signals(recording, partial_psg)
        _write_annotations(recording, partial_hypnogram, text_of)


def _write_signals(recording: RawRecording, path: Path) -> None:
    writer = pyedflib.EdfWriter(str(path), len(recording.signals), file_type=pyedflib.FILETYPE_EDFPLUS)
    try:
        _write_identity(writer, recording)
        for idx, (name, signal) in enumerate(recording.signals.items()):
            limit = int(np.ceil(np.abs(signal.values).max(initial=1.0)))
            writer.setSignalHeader(
                idx,
                {
                    "label": name,
                    "dimension": signal.unit,
                    "sample_frequency": int(signal.fs_hz),
                    "physical_min": -limit,
                    "physical_max": limit,
                    "digital_min": -32768,
                    "digital_max": 32767,
                    "transducer": "",
                    "prefilter": "",
                },
            )
        writer.writeSamples([signal.values.astype(np.float64) for signal in recording.signals.values()])
    finally:
        writer.close()


def _write_annotations(recording: RawRecording, path: Path, text_of: Mapping[SleepStage, str]) -> None:
    writer = pyedflib.EdfWriter(str(path), 0, file_type=pyedflib.FILETYPE_EDFPLUS)
    try:
        _write_identity(writer, recording)
        epoch_idx = 0
        for sleep_stage, bout in groupby(recording.sleep_stages):
            num_epochs = len(list(bout))
            writer.writeAnnotation(epoch_idx * recording.epoch_s, num_epochs * recording.epoch_s, text_of[sleep_stage])
            epoch_idx += num_epochs
    finally:
        writer.close()


def _write_identity(writer: pyedflib.EdfWriter, recording: RawRecording) -> None:
    writer.setStartdatetime(datetime.fromisoformat(recording.start) if recording.start else _NO_START)
    writer.setPatientCode(recording.subject.replace(" ", "_"))
    if recording.sex in ("F", "M"):
        writer.setSex(1 if recording.sex == "M" else 0)
    if recording.age.isdigit():  # in years; an animal's "12 weeks" is no field of EDF
        writer.setPatientName(f"{recording.age}yr")
