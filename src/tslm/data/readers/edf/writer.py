"""EDF+ writer: a recording as one file of signals and one of annotations, or annotations alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pyedflib

from tslm.data.readers.edf.header import NO_START, read_edf_header
from tslm.data.readers.raw import Annotation, RawRecording
from tslm.files import write_beside
from tslm.labels import RK_ANNOTATIONS, SleepStage


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
        with _open_annotations(partial_hypnogram) as writer:
            _write_identity(writer, recording)
            _write_annotations(_list_bouts(recording, text_of), writer)
        _check_written(partial_psg, psg_path)
        _check_written(partial_hypnogram, hypnogram_path)


def write_edf_annotations(
    annotations: Sequence[Annotation], path: Path, start: datetime | None, patient_code: str = ""
) -> None:
    """Write an EDF+ file of annotations alone, to be opened beside the signals; it appears whole or not at all.

    Args:
        annotations: in any order; times are kept to 0.1 ms.
        path: the file.
        start: of the recording; None: 1985-01-01 at midnight.
        patient_code: of the header; empty: unknown.
    """
    with write_beside(path) as partial:
        with _open_annotations(partial) as writer:
            writer.setStartdatetime(start or NO_START)
            writer.setPatientCode(patient_code.replace(" ", "_"))
            _write_annotations(annotations, writer)
        _check_written(partial, path)


def _check_written(partial: Path, path: Path) -> None:
    """Raise OSError for a file that is shorter than its header says: pyedflib tells nothing of a full disk."""
    try:
        read_edf_header(partial)
    except ValueError as error:
        raise OSError(f"{path} cannot be written whole; is the disk full?") from error


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


def _list_bouts(recording: RawRecording, text_of: Mapping[SleepStage, str]) -> list[Annotation]:
    annotations, epoch_idx = [], 0
    for sleep_stage, bout in groupby(recording.sleep_stages):
        num_epochs = len(list(bout))
        onset_s, duration_s = epoch_idx * recording.epoch_s, num_epochs * recording.epoch_s
        annotations.append(Annotation(onset_s, duration_s, text_of[sleep_stage]))
        epoch_idx += num_epochs
    return annotations


@contextmanager
def _open_annotations(path: Path) -> Iterator[pyedflib.EdfWriter]:
    writer = pyedflib.EdfWriter(str(path), 0, file_type=pyedflib.FILETYPE_EDFPLUS)
    try:
        yield writer
    finally:
        writer.close()


def _write_annotations(annotations: Sequence[Annotation], writer: pyedflib.EdfWriter) -> None:
    for note in annotations:
        writer.writeAnnotation(note.onset_s, note.duration_s, note.text)


def _write_identity(writer: pyedflib.EdfWriter, recording: RawRecording) -> None:
    writer.setStartdatetime(datetime.fromisoformat(recording.start) if recording.start else NO_START)
    writer.setPatientCode(recording.subject.replace(" ", "_"))
    if recording.sex in ("F", "M"):
        writer.setSex(1 if recording.sex == "M" else 0)
    if recording.age.isdigit():  # in years; an animal's "12 weeks" is no field of EDF
        writer.setPatientName(f"{recording.age}yr")
