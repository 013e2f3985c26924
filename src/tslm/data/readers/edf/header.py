"""Headers of EDF, EDF+ and BDF files: subject, start, channels, and whether the file is complete.

Layouts: Kemp et al. 1992 (EDF), Kemp & Olivan 2003 (EDF+), BioSemi (BDF: 24 bits a sample). Numbers
of the header are compared with the size of the file before use.
"""

import math
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

NO_START = datetime(1985, 1, 1)  # the first day that the header can express; stands for an unknown date
_FIXED_BYTES = 256
_BYTES_PER_CHANNEL = 256
_LEAST_RECORD_S = 1e-4  # 0 stands for files of annotations only
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
# Start and width of a channel's fields in the table behind the fixed header.
_NAME, _UNIT, _PHYSICAL_MIN, _PHYSICAL_MAX = (0, 16), (96, 8), (104, 8), (112, 8)
_DIGITAL_MIN, _DIGITAL_MAX, _NUM_SAMPLES = (120, 8), (128, 8), (216, 8)
_NO_CODES = ("X", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "ANON", "UNKNOWN", "NONAME", "PATIENT")  # of nobody
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True)
class EdfChannel:
    """One signal of an EDF file as its header states it."""

    name: str
    unit: str
    fs_hz: float
    num_samples: int  # in one data record
    offset_samples: int  # of its first sample from the start of a data record
    physical_range: tuple[float, float]  # NaN where the header holds no number
    digital_range: tuple[float, float]


@dataclass(frozen=True)
class EdfHeader:
    """Header of an EDF file, checked against the size of the file."""

    path: Path
    start: datetime | None  # None: the header holds no date
    num_records: int  # whole data records in the file
    record_s: float
    header_bytes: int
    sample_bytes: int  # 2, or 3 in BDF
    is_discontinuous: bool  # EDF+D: gaps between data records
    channels: tuple[EdfChannel, ...]  # without annotation channels, in file order
    annotation_channels: tuple[EdfChannel, ...]
    patient_code: str  # EDF+ only; empty when the file does not tell, as age and sex
    age: str
    sex: str  # F or M
    notes: tuple[str, ...]  # repairs of a header that does not conform

    @property
    def record_samples(self) -> int:
        """Samples of all channels in one data record."""
        return sum(channel.num_samples for channel in (*self.channels, *self.annotation_channels))


def read_edf_header(path: Path, allow_truncated: bool = False) -> EdfHeader:
    """Header of an EDF, EDF+ or BDF file.

    Args:
        path: The file.
        allow_truncated: Where the file is shorter or longer than its header says, take the whole data records
            that are there.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is no EDF file, a field of its header cannot be read, or its size is another than the
            header says.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        fixed = file.read(_FIXED_BYTES)
        found_bytes = os.fstat(file.fileno()).st_size
        is_bdf = fixed[:8] == b"\xffBIOSEMI"
        if len(fixed) < _FIXED_BYTES or not (is_bdf or fixed[:8].strip(b" \0") == b"0"):
            raise ValueError(f"{path} is not an EDF file: its first bytes are not an EDF header")
        try:
            num_signals = _parse_count(fixed[252:256], "the number of signals", 1)
            record_s = _parse_number(fixed[244:252], "the duration of a data record")
            if record_s != 0 and record_s < _LEAST_RECORD_S:
                raise ValueError(f"the duration of a data record is {record_s:g} s")
            channels = _parse_channels(file.read(num_signals * _BYTES_PER_CHANNEL), num_signals, record_s)
            num_stated = _parse_count(fixed[236:244], "the number of data records", -1)
            header_bytes = _FIXED_BYTES + num_signals * _BYTES_PER_CHANNEL
            if _parse_count(fixed[184:192], "the length of the header", 0) != header_bytes:
                raise ValueError(f"{num_signals} signals need a header of {header_bytes} bytes, it states another")
        except ValueError as error:
            raise ValueError(f"{path} is not a valid EDF file: its header cannot be read ({error})") from error
    kind = fixed[192:197].decode("latin-1")
    is_plus = kind[:4] in ("EDF+", "BDF+")
    sample_bytes = 3 if is_bdf else 2
    record_bytes = sum(channel.num_samples for channel in channels) * sample_bytes
    num_records, notes = _count_records(path, found_bytes - header_bytes, record_bytes, num_stated, allow_truncated)
    start = _parse_start(_decode(fixed[168:184]))
    if start is None:
        notes.append(f"the header's start {_decode(fixed[168:184])!r} is no date; taken as unknown")
    patient = _decode(fixed[8:88])
    return EdfHeader(
        path=path,
        start=start,
        num_records=num_records,
        record_s=record_s,
        header_bytes=header_bytes,
        sample_bytes=sample_bytes,
        is_discontinuous=kind in ("EDF+D", "BDF+D"),
        channels=tuple(channel for channel in channels if channel.name not in _ANNOTATIONS),
        annotation_channels=tuple(channel for channel in channels if channel.name in _ANNOTATIONS),
        patient_code=_patient_code(patient) if is_plus else "",
        age=_patient_age(patient, start),
        sex=_patient_sex(patient),
        notes=tuple(notes),
    )


def _count_records(
    path: Path, data_bytes: int, record_bytes: int, num_stated: int, allow_truncated: bool
) -> tuple[int, list[str]]:
    """Data records to read, by the header's count and the file's size, and what is to be said of it."""
    num_whole, rest_bytes = divmod(data_bytes, record_bytes)
    if num_stated == -1:
        return num_whole, [f"never closed by its recorder; {num_whole} whole data records by the size of the file"]
    if num_whole == num_stated:
        return num_whole, [f"{rest_bytes} bytes behind the last data record left out"] if rest_bytes else []
    has = f"it holds {num_whole} whole data records, its header says {num_stated}"
    if allow_truncated:
        return num_whole, [f"{has}; the {num_whole} were read"]
    state = "truncated" if num_whole < num_stated else "longer than its header says"
    raise ValueError(
        f"{path} is {state}: {has}; copy or download it again, or read what is there with signals.allow_truncated=true"
    )


def _parse_channels(table: bytes, num_signals: int, record_s: float) -> list[EdfChannel]:
    if len(table) < num_signals * _BYTES_PER_CHANNEL:
        raise ValueError("it ends inside the header")

    def column(field: tuple[int, int]) -> list[bytes]:
        start, width = field[0] * num_signals, field[1]
        return [table[start + idx * width : start + (idx + 1) * width] for idx in range(num_signals)]

    channels: list[EdfChannel] = []
    offset_samples = 0
    fields = (_NAME, _UNIT, _NUM_SAMPLES, _PHYSICAL_MIN, _PHYSICAL_MAX, _DIGITAL_MIN, _DIGITAL_MAX)
    for name, unit, num_field, *ranges in zip(*map(column, fields), strict=True):
        num_samples = _parse_count(num_field, f"the number of samples of {_decode(name)!r}", 0)
        limits = [_parse_or_nan(limit) for limit in ranges]
        channels.append(
            EdfChannel(
                name=_decode(name),
                unit=_decode(unit),
                fs_hz=num_samples / record_s if record_s else 0.0,
                num_samples=num_samples,
                offset_samples=offset_samples,
                physical_range=(limits[0], limits[1]),
                digital_range=(limits[2], limits[3]),
            )
        )
        offset_samples += num_samples
    if offset_samples == 0:
        raise ValueError("no signal has a sample")
    return channels


def _decode(field: bytes) -> str:
    """Text of a field: ASCII by the standard, in practice UTF-8 or Latin-1 too."""
    try:
        text = field.decode("utf-8")
    except UnicodeDecodeError:
        text = field.decode("latin-1")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _parse_count(field: bytes, what: str, least: int) -> int:
    text = _decode(field)
    if not re.fullmatch(r"[+-]?[0-9]+", text) or int(text) < least:
        raise ValueError(f"{what} is {text!r}")
    return int(text)


def _parse_number(field: bytes, what: str) -> float:
    number = _parse_or_nan(field)
    if not math.isfinite(number):
        raise ValueError(f"{what} is {_decode(field)!r}")
    return number


def _parse_or_nan(field: bytes) -> float:
    text = _decode(field).replace(",", ".")  # some writers follow their country's decimal sign
    is_number = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text)
    return float(text) if is_number and math.isfinite(float(text)) else math.nan


def _parse_start(text: str) -> datetime | None:
    numbers = re.fullmatch(
        r"(\d{1,2})[.:/-](\d{1,2})[.:/-](\d{2}) ?(\d{1,2})[.:](\d{1,2})[.:](\d{1,2})", text, re.ASCII
    )
    if not numbers:
        return None
    day, month, year, hour, minute, second = map(int, numbers.groups())
    try:
        return datetime(year + (1900 if year >= 85 else 2000), month, day, hour, minute, second)
    except ValueError:
        return None


def _patient_code(patient: str) -> str:
    code = patient.split(" ")[0]
    return "" if code.upper() in _NO_CODES else code


def _patient_sex(patient: str) -> str:
    fields = patient.upper().split(" ")
    return fields[1] if len(fields) > 1 and fields[1] in ("F", "M") else ""


def _patient_age(patient: str, start: datetime | None) -> str:
    """Age in whole years, as written ("33yr") or from the date of birth (EDF+ patient field)."""
    written = re.search(r"([0-9]{1,3}) ?yr", patient)
    if written:
        return written.group(1)
    born = re.search(r"\b([0-9]{2})-([A-Z]{3})-([0-9]{4})\b", patient.upper())
    if not born or start is None or born.group(2) not in _MONTHS:
        return ""
    try:
        birthday = datetime(int(born.group(3)), _MONTHS.index(born.group(2)) + 1, int(born.group(1)))
    except ValueError:
        return ""
    return str(int((start - birthday) / timedelta(days=365.2425))) if birthday < start else ""
