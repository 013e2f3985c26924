"""EDF and EDF+ in and out: signals in microvolt, hypnograms from annotations.

Sizes and labels are read from the header itself (Kemp et al. 1992; EDF+: Kemp & Olivan 2003) so that
a damaged file is named in one sentence; samples and annotations are left to pyedflib.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import numpy as np
import pyedflib

from tslm.data.raw import RawRecording, RawSignal
from tslm.files import write_beside
from tslm.hypnogram import SLEEP, Hypnogram
from tslm.labels import RK_ANNOTATIONS, SleepStage

UV_PER_UNIT: dict[str, float] = {"nv": 1e-3, "uv": 1.0, "mv": 1e3, "v": 1e6}
SLEEP_EDF_CHANNELS = ("EEG Fpz-Cz",)
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_EEG_SITE = r"(?:Fp|AF|FC|FT|CP|TP|PO|F|C|T|P|O|A|M)(?:z|\d{1,2})"
_EEG_LABEL = re.compile(rf"EEG.*|{_EEG_SITE}(?:[-:/ ].*)?", re.IGNORECASE)
_MAX_START_DIFFERENCE_S = 1.0
_NO_START = datetime(1985, 1, 1)  # the first day an EDF header can express


@dataclass(frozen=True)
class EdfChannel:
    """One signal of an EDF file as its header states it."""

    name: str
    unit: str
    fs_hz: float


@dataclass(frozen=True)
class EdfHeader:
    """What an EDF file says about itself."""

    start: datetime
    duration_s: float
    channels: tuple[EdfChannel, ...]  # without annotation channels, in file order
    patient_code: str  # EDF+ only; empty when the file does not tell, as age and sex
    age: str
    sex: str  # F or M

    @property
    def eeg_channels(self) -> tuple[str, ...]:
        """Names of the channels that are labelled as EEG (by the word or by a 10-20 site)."""
        return tuple(channel.name for channel in self.channels if _EEG_LABEL.fullmatch(channel.name))


def read_edf_header(path: Path) -> EdfHeader:
    """Header of an EDF, EDF+ or BDF file.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is no EDF file, is truncated or longer than its header says, or is discontinuous (EDF+D).
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        fixed = file.read(256)
        is_bdf = fixed[:8] == b"\xffBIOSEMI"
        if len(fixed) < 256 or not (is_bdf or fixed[:8].strip() == b"0"):
            raise ValueError(f"{path} is not an EDF file: its first bytes are not an EDF header")
        try:
            num_signals, num_records, header_bytes = int(fixed[252:256]), int(fixed[236:244]), int(fixed[184:192])
            record_s = float(fixed[244:252])
            start = _parse_start(fixed[168:184].decode("latin-1"))
            table = file.read(num_signals * 256).decode("latin-1")
            names, units = _column(table, num_signals, 0, 16), _column(table, num_signals, 96, 8)
            num_samples = [int(field) for field in _column(table, num_signals, 216, 8)]
        except ValueError as error:
            raise ValueError(f"{path} is not a valid EDF file: its header cannot be read ({error})") from error
    if fixed[192:197] == b"EDF+D":
        raise ValueError(f"{path} is a discontinuous EDF+ file (EDF+D); export it as one continuous recording (EDF+C)")
    wanted_bytes = header_bytes + num_records * sum(num_samples) * (3 if is_bdf else 2)
    found_bytes = path.stat().st_size
    if num_records < 0:
        raise ValueError(f"{path} was never closed by its recorder: its header does not tell how long it is")
    if found_bytes != wanted_bytes:
        state = "truncated" if found_bytes < wanted_bytes else "longer than its header says"
        raise ValueError(f"{path} is {state}: {found_bytes} bytes, wanted {wanted_bytes}; copy or download it again")
    patient = fixed[8:88].decode("latin-1").strip()
    return EdfHeader(
        start=start,
        duration_s=num_records * record_s,
        channels=tuple(
            EdfChannel(name, unit, count / record_s if record_s else 0.0)
            for name, unit, count in zip(names, units, num_samples, strict=True)
            if name not in _ANNOTATIONS
        ),
        patient_code=_patient_code(patient) if fixed[192:196] == b"EDF+" else "",
        age=_patient_age(patient, start),
        sex=_patient_sex(patient),
    )


def read_psg(path: Path, channels: Sequence[str]) -> dict[str, RawSignal]:
    """Signals of an EDF file in microvolt; names match regardless of case.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is no EDF file, has no such channel (or no EEG at all), or the unit is no voltage.
    """
    header = read_edf_header(path)
    if not header.eeg_channels:
        raise ValueError(f"{path} has no EEG channel; it has: {_list_channels(header)}")
    idx_of = {channel.name.casefold(): idx for idx, channel in reversed(list(enumerate(header.channels)))}
    missing = [name for name in channels if name.casefold() not in idx_of]
    if missing:
        raise ValueError(f"{path} has no channel {missing[0]!r}; it has: {_list_channels(header)}")
    signals: dict[str, RawSignal] = {}
    with _open_edf(path) as reader:
        for name in channels:
            idx = idx_of[name.casefold()]  # pyedflib, too, counts without annotation channels
            channel = header.channels[idx]
            if channel.unit.casefold() not in UV_PER_UNIT:
                raise ValueError(
                    f"channel {channel.name!r} of {path} is in {channel.unit or 'no unit'!r}; wanted uV, mV or V"
                )
            values = reader.readSignal(idx) * UV_PER_UNIT[channel.unit.casefold()]
            signals[channel.name] = RawSignal(values.astype(np.float32), channel.fs_hz)
    return signals


def read_hypnogram(path: Path, label_map: Mapping[str, SleepStage] = RK_ANNOTATIONS, epoch_s: float = 30) -> Hypnogram:
    """Stages of consecutive epochs from the annotations of an EDF+ file.

    An epoch has the stage of the annotation that covers its middle; where none does it is unscored.
    Annotations that speak of something else than stages (lights off, apnoea) are left out.

    Args:
        path: EDF+ file with annotations; it may hold signals too.
        label_map: Annotation text to stage.
        epoch_s: Length of a scoring epoch in seconds.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is no EDF+ file, or it holds no stage or a stage that `label_map` does not know.
    """
    header = read_edf_header(path)
    with _open_edf(path) as reader:
        onsets_s, durations_s, texts = reader.readAnnotations()
    names = [str(text).strip() for text in texts]
    first_words = {name.split(" ")[0] for name in label_map if " " in name}
    unknown = sorted({name for name in names if name not in label_map and name.split(" ")[0] in first_words})
    if unknown:
        raise ValueError(f"{path} holds the unknown stage {unknown[0]!r}; known are: {', '.join(label_map)}")
    scored = [row for row in zip(onsets_s, durations_s, names, strict=True) if row[2] in label_map]
    if not scored:
        found = ", ".join(sorted(set(names))[:8]) or "none"
        raise ValueError(f"{path} is not a hypnogram: no annotation is a sleep stage (annotations: {found})")
    num_epochs = round(max(onset_s + max(duration_s, epoch_s) for onset_s, duration_s, _ in scored) / epoch_s)
    stages = [SleepStage.UNSCORED] * num_epochs
    middles_s = (np.arange(num_epochs) + 0.5) * epoch_s
    for onset_s, duration_s, name in scored:
        end_s = onset_s + (duration_s if duration_s > 0 else epoch_s)
        for idx in np.flatnonzero((middles_s >= onset_s) & (middles_s < end_s)):
            stages[idx] = label_map[name]
    return Hypnogram(tuple(stages), epoch_s, header.start.isoformat())


def read_scored_night(
    psg_path: Path,
    hypnogram_path: Path,
    channels: Sequence[str],
    label_map: Mapping[str, SleepStage] = RK_ANNOTATIONS,
) -> RawRecording:
    """A night and its hypnogram; the subject is the header's patient code, or the file name without one.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not what it should be, or the hypnogram does not belong to the night.
    """
    header = read_edf_header(psg_path)
    hypnogram = read_hypnogram(hypnogram_path, label_map)
    _check_match(psg_path, header, hypnogram_path, hypnogram)
    recording = psg_path.stem.removesuffix("-PSG")
    return RawRecording(
        recording=recording,
        subject=header.patient_code or recording,
        signals=read_psg(psg_path, channels),
        sleep_stages=hypnogram.sleep_stages,
        epoch_s=hypnogram.epoch_s,
        start=header.start.isoformat(),
        age=header.age,
        sex=header.sex,
    )


def read_sleep_edf(psg_path: Path, hypnogram_path: Path, channels: Sequence[str] = SLEEP_EDF_CHANNELS) -> RawRecording:
    """One night of Sleep-EDF Expanded; its subject is the first five characters of the file name.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: As `read_scored_night`.
    """
    night = read_scored_night(psg_path, hypnogram_path, channels)
    return replace(night, subject=psg_path.name[:5], source="sleep_edf")


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
        ValueError: A stage has no annotation text, or a sampling rate is not a whole number of hertz.
    """
    text_of = {stage: text for text, stage in reversed(list(label_map.items()))}
    unnamed = sorted({stage for stage in recording.sleep_stages if stage not in text_of})
    if unnamed:
        raise ValueError(f"stage {unnamed[0].value} of {recording.recording} has no annotation text")
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
            limit_uv = int(np.ceil(np.abs(signal.values).max(initial=1.0)))
            writer.setSignalHeader(
                idx,
                {
                    "label": name,
                    "dimension": "uV",
                    "sample_frequency": int(signal.fs_hz),
                    "physical_min": -limit_uv,
                    "physical_max": limit_uv,
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
        for stage, bout in groupby(recording.sleep_stages):
            num_epochs = len(list(bout))
            writer.writeAnnotation(epoch_idx * recording.epoch_s, num_epochs * recording.epoch_s, text_of[stage])
            epoch_idx += num_epochs
    finally:
        writer.close()


def _write_identity(writer: pyedflib.EdfWriter, recording: RawRecording) -> None:
    writer.setStartdatetime(datetime.fromisoformat(recording.start) if recording.start else _NO_START)
    writer.setPatientCode(recording.subject.replace(" ", "_"))
    if recording.sex in ("F", "M"):
        writer.setSex(1 if recording.sex == "M" else 0)
    if recording.age:
        writer.setPatientName(f"{recording.age}yr")


def _open_edf(path: Path) -> pyedflib.EdfReader:
    try:
        return pyedflib.EdfReader(str(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read as EDF: {str(error).removeprefix(f'{path}: ')}") from error


def _check_match(psg_path: Path, header: EdfHeader, hypnogram_path: Path, hypnogram: Hypnogram) -> None:
    offset_s = (datetime.fromisoformat(hypnogram.start) - header.start).total_seconds()
    names = f"{hypnogram_path.name} does not match {psg_path.name}"
    if abs(offset_s) > _MAX_START_DIFFERENCE_S:
        raise ValueError(f"{names}: it starts at {hypnogram.start}, the night at {header.start.isoformat()}")
    asleep = [idx for idx, stage in enumerate(hypnogram.sleep_stages) if stage in SLEEP]
    asleep_s = (max(asleep, default=-1) + 1) * hypnogram.epoch_s
    annotated_s = hypnogram.num_epochs * hypnogram.epoch_s
    if asleep_s >= header.duration_s + 2 * hypnogram.epoch_s:
        raise ValueError(f"{names}: it scores sleep up to {asleep_s:g} s, the night ends at {header.duration_s:g} s")
    if annotated_s < header.duration_s / 2:
        raise ValueError(f"{names}: its annotations end at {annotated_s:g} s, the night at {header.duration_s:g} s")


def _column(table: str, num_signals: int, start: int, width: int) -> list[str]:
    fields = table[start * num_signals : (start + width) * num_signals]
    if len(fields) < num_signals * width:
        raise ValueError("it ends inside the header")
    return [fields[idx * width : (idx + 1) * width].strip() for idx in range(num_signals)]


def _parse_start(text: str) -> datetime:
    day, month, year = (int(part) for part in text[:8].split("."))
    hour, minute, second = (int(part) for part in text[8:].split("."))
    return datetime(year + (1900 if year >= 85 else 2000), month, day, hour, minute, second)


def _patient_code(patient: str) -> str:
    code = patient.split(" ")[0]
    return "" if code.upper() == "X" else code


def _patient_sex(patient: str) -> str:
    fields = patient.upper().split(" ")
    return fields[1] if len(fields) > 1 and fields[1] in ("F", "M") else ""


def _patient_age(patient: str, start: datetime) -> str:
    """Age in whole years, as written ("33yr") or from the date of birth (EDF+ patient field)."""
    written = re.search(r"(\d{1,3}) ?yr", patient)
    if written:
        return written.group(1)
    born = re.search(r"\b(\d{2}-[A-Z]{3}-\d{4})\b", patient.upper())
    if not born:
        return ""
    birthday = datetime.strptime(born.group(1).title(), "%d-%b-%Y")
    return str(int((start - birthday) / timedelta(days=365.2425)))


def _list_channels(header: EdfHeader) -> str:
    return ", ".join(channel.name for channel in header.channels) or "none"
