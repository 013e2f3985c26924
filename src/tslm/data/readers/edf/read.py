"""EDF, EDF+ and BDF reader: samples by memory map, one channel at a time, and annotations.

Data records of discontinuous files (EDF+D) are placed by their time-keeping annotations, NaN between
them; so are those of files that call themselves continuous but whose clock runs late or early. Scaling
follows the standard: physical = gain * (offset + digital), in double precision.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from tslm.data.readers.align import align_stamped
from tslm.data.readers.edf.header import EdfChannel, EdfHeader, read_edf_header
from tslm.data.readers.raw import Annotation, ChannelInfo, SignalFile, SignalsConfig

_BLOCK_SAMPLES = 1 << 20  # converted at a time
_TIMESTAMP = re.compile(r"[+-][0-9]+(\.[0-9]+)?")
_TIME_KEEPING = re.compile(rb"([+-][0-9]+(?:\.[0-9]+)?)\x14\x14")
_ONLY_TIME_KEEPING = re.compile(_TIME_KEEPING.pattern + rb"\0*")
_DURATION = re.compile(r"[0-9]+(\.[0-9]+)?")
_LEAST_RANGE, _MOST_RANGE = 1e-15, 1e15  # of physical and digital limits; NaN lies outside, too
_MIN_RECORDED_SHARE = 0.01  # of a discontinuous recording; less means that its time stamps are damaged
_STAMP_SLACK = 1e-3  # of a data record, by which its time stamp may be rounded
_MAX_DRIFT = 0.05  # of a clock; one that is further off its rate has jumped
_SMALL_SAMPLES = 20_000_000  # a channel that spans fewer is placed whatever the share: two days at 100 Hz
_LEAST_READ_HZ = 100.0  # slower channels are brought to the rate of the others


def open_edf(path: Path, config: SignalsConfig) -> SignalFile:
    """An EDF, EDF+ or BDF file.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: As `read_edf_header`; or the time stamps of a discontinuous file cannot be.
    """
    header = read_edf_header(path, config.allow_truncated)
    onsets_s = read_record_onsets(header) if _is_placed(header) else None
    span_s = header.num_records * header.record_s
    notes = list(header.notes)
    drift = _measure_drift(header, onsets_s)
    if onsets_s is not None and drift:
        span_s *= 1 + drift
        late = "late" if drift > 0 else "early"
        notes.append(f"clock runs {late} by {abs(drift):.2%}; samples interpolated by the records' time stamps")
    elif onsets_s is not None and len(onsets_s):
        missing_s = onsets_s[-1] + header.record_s - span_s
        span_s = onsets_s[-1] + header.record_s
        if missing_s >= header.record_s / 2:
            kind = "discontinuous (EDF+D)" if header.is_discontinuous else "time stamps jump"
            notes.append(f"{kind}: {missing_s:g} s of {span_s:g} s were not recorded")
    start, whole_s = header.start, int(_first_stamp(header))
    if start is not None and whole_s:
        start += timedelta(seconds=whole_s)
        notes.append(f"its first data record begins {whole_s} s after the header's start")
    return SignalFile(
        path=path,
        channels=tuple(ChannelInfo(channel.name, channel.unit, channel.fs_hz) for channel in header.channels),
        duration_s=float(span_s),
        read_values=partial(_read_placed, header, onsets_s, drift),
        annotation_reader=partial(read_edf_annotations, header) if header.annotation_channels else None,
        start=start,
        subject=header.patient_code,
        age=header.age,
        sex=header.sex,
        notes=tuple(notes),
    )


def read_edf_values(header: EdfHeader, channel: EdfChannel, first_record: int = 0) -> np.ndarray:
    """All samples of one channel from a record on, record after record, in the header's physical unit.

    Returns:
        (number of records * samples a record,) float32.

    Raises:
        ValueError: The header gives no rate or no scale for the channel.
    """
    gain, offset = _find_scale(header, channel)
    records = _map_records(header)[first_record:]
    values = np.empty(len(records) * channel.num_samples, dtype=np.float32)
    block_records = max(1, _BLOCK_SAMPLES // channel.num_samples)
    for first in range(0, len(records), block_records):
        digital = _read_digital(records[first : first + block_records], channel, header.sample_bytes)
        start = first * channel.num_samples
        values[start : start + len(digital)] = gain * (offset + digital)
    return values


def read_edf_annotations(header: EdfHeader) -> list[Annotation]:
    """Annotations of all annotation channels in file order, without the time-keeping ones.

    Raises:
        ValueError: The lists in a channel are damaged.
    """
    annotations: list[Annotation] = []
    base_s = _first_stamp(header)
    for channel in header.annotation_channels:
        for row in _list_rows(header, channel):
            if _ONLY_TIME_KEEPING.fullmatch(row):
                continue
            for onset_s, duration_s, texts in _parse_lists(row, header.path):
                annotations += [Annotation(onset_s - base_s, duration_s, text) for text in texts if text]
    return annotations


def read_record_onsets(header: EdfHeader) -> np.ndarray:
    """Onset of each data record in seconds from the start of the recording, by its time-keeping annotation.

    Raises:
        ValueError: A record has no onset, begins before the one before it ends, or the recording spans
            so much more time than it holds that the time stamps must be damaged.
    """
    if not header.annotation_channels or header.num_records * header.annotation_channels[0].num_samples == 0:
        raise ValueError(f"{header.path} is discontinuous (EDF+D) but holds no time-keeping annotations")
    onsets_s = np.empty(header.num_records)
    for idx, row in enumerate(_list_rows(header, header.annotation_channels[0])):
        stamp = _TIME_KEEPING.match(row)
        first = (float(stamp[1]),) if stamp else next(_parse_lists(row, header.path), None)
        if first is None:
            raise ValueError(f"{header.path} is discontinuous (EDF+D) but data record {idx} has no time stamp")
        onsets_s[idx] = first[0]
    onsets_s -= _first_stamp(header)
    fs_hz = max((channel.fs_hz for channel in header.channels), default=0.0)
    slack_s = max(_STAMP_SLACK * header.record_s, 1 / fs_hz if fs_hz else 0.0)  # less than a sample is no overlap
    least_s = header.record_s * min(1.0, 1 + _measure_drift(header, onsets_s)) - slack_s - 1e-9
    early = np.flatnonzero(np.diff(onsets_s) < least_s)
    if onsets_s[0] < 0 or len(early):
        idx = int(early[0]) + 1 if len(early) else 0
        raise ValueError(
            f"{header.path}: data record {idx} begins at {onsets_s[idx]:g} s, before the one before it ends"
        )
    span_s, recorded_s = onsets_s[-1] + header.record_s, header.num_records * header.record_s
    if span_s * max(fs_hz, _LEAST_READ_HZ) > _SMALL_SAMPLES and recorded_s < _MIN_RECORDED_SHARE * span_s:
        raise ValueError(f"{header.path} holds {recorded_s:g} s in {span_s:g} s by its time stamps; they are damaged")
    return onsets_s


def _measure_drift(header: EdfHeader, onsets_s: np.ndarray | None) -> float:
    """Share by which a clock without jumps runs late; 0 where it is right, or where records do not follow evenly."""
    fs_hz = max((channel.fs_hz for channel in header.channels), default=0.0)
    if onsets_s is None or len(onsets_s) < 3 or not fs_hz:
        return 0.0
    expected_s = onsets_s[0] + np.linspace(0, onsets_s[-1] - onsets_s[0], len(onsets_s))
    drift = float((onsets_s[-1] - onsets_s[0]) / (len(onsets_s) - 1) / header.record_s - 1)
    is_even = np.abs(onsets_s - expected_s).max() <= max(2 / fs_hz, _STAMP_SLACK * header.record_s)
    is_seen = abs(drift) * len(onsets_s) * header.record_s >= 1 / fs_hz
    return drift if is_even and is_seen and abs(drift) < _MAX_DRIFT else 0.0


def _read_placed(header: EdfHeader, onsets_s: np.ndarray | None, drift: float, channel_idx: int) -> np.ndarray:
    channel = header.channels[channel_idx]
    values = read_edf_values(header, channel)
    if onsets_s is None:
        return values
    if drift:
        times_s = onsets_s[0] + np.arange(len(values)) * ((1 + drift) / channel.fs_hz)
        return align_stamped(values, times_s, channel.fs_hz, int(len(values) * (1 + drift) + 1e-6))
    starts = np.rint(onsets_s * channel.fs_hz).astype(np.int64)
    placed = np.full(int(starts[-1]) + channel.num_samples, np.nan, dtype=np.float32)
    breaks = np.flatnonzero(np.diff(starts) != channel.num_samples) + 1
    for first, stop in pairwise((0, *breaks.tolist(), header.num_records)):
        run = values[first * channel.num_samples : stop * channel.num_samples]
        placed[starts[first] : starts[first] + len(run)] = run
    return placed


def _find_scale(header: EdfHeader, channel: EdfChannel) -> tuple[float, float]:
    """Gain and offset of a channel, as the reference library edflib computes them."""
    if channel.num_samples == 0 or channel.fs_hz <= 0:
        raise ValueError(f"channel {channel.name!r} of {header.path} has 0 Hz by its header; it cannot be read")
    for kind, limits in (("physical", channel.physical_range), ("digital", channel.digital_range)):
        low, high = limits
        if not (abs(high - low) > _LEAST_RANGE and max(abs(low), abs(high)) < _MOST_RANGE):
            raise ValueError(
                f"channel {channel.name!r} of {header.path} has the {kind} range {low:g} to {high:g} by its header; "
                "its samples cannot be scaled, export it again"
            )
    physical_min, physical_max = channel.physical_range
    digital_min, digital_max = channel.digital_range
    gain = (physical_max - physical_min) / (digital_max - digital_min)
    return gain, physical_max / gain - digital_max


def _map_records(header: EdfHeader) -> np.ndarray:
    """Data records as a view on the file, (num_records, bytes of a record)."""
    record_bytes = header.record_samples * header.sample_bytes
    shape = header.num_records, record_bytes
    if header.num_records == 0:
        return np.zeros(shape, dtype=np.uint8)
    return np.memmap(header.path, dtype=np.uint8, mode="r", offset=header.header_bytes, shape=shape)


def _read_digital(records: np.ndarray, channel: EdfChannel, sample_bytes: int) -> np.ndarray:
    """Digital values of one channel in some data records; little-endian, two's complement."""
    start = channel.offset_samples * sample_bytes
    content = np.ascontiguousarray(records[:, start : start + channel.num_samples * sample_bytes])
    if sample_bytes == 2:
        return content.view("<i2").reshape(-1)
    padded = np.zeros((content.size // 3, 4), dtype=np.uint8)
    padded[:, 1:] = content.reshape(-1, 3)
    return padded.view("<i4").reshape(-1) >> 8  # the sign bit is the highest of the 24


def _map_annotations(header: EdfHeader, channel: EdfChannel) -> np.ndarray:
    """Content of an annotation channel as a view on the file, (num_records, bytes)."""
    start = channel.offset_samples * header.sample_bytes
    return _map_records(header)[:, start : start + channel.num_samples * header.sample_bytes]


def _list_rows(header: EdfHeader, channel: EdfChannel) -> Iterator[bytes]:
    """Content of an annotation channel in each data record."""
    width, content = channel.num_samples * header.sample_bytes, _map_annotations(header, channel).tobytes()
    return (content[start : start + width] for start in range(0, len(content), max(1, width)))


def _parse_lists(content: bytes, path: Path) -> Iterator[tuple[float, float, list[str]]]:
    """Onset, duration (0 where there is none) and texts of each time-stamped annotation list of a data record."""
    for chunk in content.split(b"\0"):
        if not chunk:
            continue
        head, *texts = chunk.split(b"\x14")
        onset, _, duration = head.decode("latin-1").partition("\x15")
        if not texts or not _TIMESTAMP.fullmatch(onset) or (duration and not _DURATION.fullmatch(duration)):
            raise ValueError(f"{path} has damaged annotations: {chunk[:40]!r} is no time-stamped annotation list")
        yield float(onset), float(duration or 0), [_decode_text(text) for text in texts]


def _decode_text(text: bytes) -> str:
    try:
        return " ".join(text.decode("utf-8").split())
    except UnicodeDecodeError:
        return " ".join(text.decode("latin-1").split())


def _is_placed(header: EdfHeader) -> bool:
    """Whether time stamps place the data records: of a discontinuous file, or of one whose clock runs late or early.

    Files of annotations alone have no records to place, and need no stamps.
    """
    if not header.channels or header.record_s == 0:
        return False
    if header.is_discontinuous:
        return True
    if not header.annotation_channels or header.num_records < 2:
        return False
    rows = _map_annotations(header, header.annotation_channels[0])
    first, last = (_TIME_KEEPING.match(rows[idx].tobytes()) for idx in (0, -1))
    if first is None or last is None:
        return False
    late_s = float(last[1]) - float(first[1]) - (header.num_records - 1) * header.record_s
    is_early = late_s < 0 and -late_s < _MAX_DRIFT * header.num_records * header.record_s
    return late_s >= header.record_s / 2 or (is_early and -late_s >= header.record_s / 2)


def _first_stamp(header: EdfHeader) -> float:
    """Seconds after the header's start at which the first sample was taken (EDF+, 2.2.4); 0 where nothing says so.

    The first record of a discontinuous file may begin late, which its place tells: only the fraction counts.
    """
    if not header.annotation_channels or header.num_records == 0:
        return 0.0
    content = _map_annotations(header, header.annotation_channels[0])[0].tobytes()
    stamp = _TIME_KEEPING.match(content)
    if stamp is None:
        return 0.0
    onset_s = float(stamp[1])
    return onset_s if not header.is_discontinuous or 0 <= onset_s < 1 else 0.0
