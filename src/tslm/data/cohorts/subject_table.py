"""Tables of subjects beside the recordings: species, strain, age, sex, start, and the times of light and dark."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np

from tslm.data.readers.raw import RawRecording
from tslm.files import read_table
from tslm.labels import species_group

# Known columns; the names are those of RawRecording.
_FIELDS = ("subject", "species", "strain", "age", "sex", "start", "lights_on", "lights_off")
_START_UTC = "start_utc"  # a start in UTC unless it has an offset
_DAY_S = 24 * 3600
_KEYS = ("recording", "animal_id", "animal", "subject_id", "subject", "id")
Row = Mapping[str, str]


def read_subject_table(path: Path, key: str = "") -> dict[str, Row]:
    """Rows of a CSV or TSV table by recording or subject; unknown columns are ignored.

    Args:
        path: Table with a header; tab-separated where the name ends in .tsv.
        key: Column with the name of the recording or subject; empty: the first existing one of `recording`,
            `animal_id`, `animal`, `subject_id`, `subject` and `id`.

    Returns:
        Name to the fields of RawRecording `species`, `strain`, `age`, `sex`, `start`, `lights_on`, `lights_off`,
        `subject`; `start_utc` becomes a `start` with its offset.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no such column, two rows of one name, or an impossible value.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}; set subjects.table='' where there is none")
    written, cells = read_table(path, "\t" if path.suffix.lower() == ".tsv" else ",")
    rows = [{name.strip().casefold(): text.strip() for name, text in row.items()} for row in cells]
    names = [name.strip().casefold() for name in written]
    wanted = [key.casefold()] if key else [name for name in _KEYS if name in names]
    if not wanted or wanted[0] not in names:
        raise ValueError(f"{path} has no column {key or ' or '.join(_KEYS)}; it has: {', '.join(names)}")
    table: dict[str, Row] = {}
    for row in rows:
        name = row[wanted[0]]
        if name in table:
            raise ValueError(f"{path} has two rows of {name}")
        table[name] = _read_row(path, name, row)
    return table


def find_row(table: Mapping[str, Row], recording: str, subject: str, path: Path) -> Row:
    """The row of a recording, or else of its subject; ValueError where there is neither."""
    found = table.get(recording, table.get(subject))
    if found is None:
        names = recording if subject in ("", recording) else f"{recording} or {subject}"
        raise ValueError(f"{path} has no row of {names}; it has: {', '.join(list(table)[:8])}")
    return found


def describe_subject(raw: RawRecording, row: Row) -> RawRecording:
    """The recording with the fields of its row; fields that are empty in the row stay."""
    return replace(raw, **{name: text for name, text in row.items() if text})  # type: ignore[arg-type]


def find_lit_epochs(
    start: str, lights_on: str, lights_off: str, onset_s: np.ndarray, epoch_s: float
) -> np.ndarray | None:
    """Whether the lights were on in the middle of each epoch, (num_epochs,) bool; None where a time is unknown.

    Args:
        start: Start of the recording, ISO 8601.
        lights_on: Time of day on the clock of `start`, HH:MM or HH:MM:SS.
        lights_off: The same; before `lights_on` where the light lasts over midnight.
        onset_s: (num_epochs,) seconds from the start of the recording.
        epoch_s: Length of an epoch.

    Raises:
        ValueError: A text is no time, or the lights go on and off at once.
    """
    if not (start and lights_on and lights_off):
        return None
    try:
        begin = datetime.fromisoformat(start)
    except ValueError as error:
        raise ValueError(f"start {start!r} is no time; wanted ISO 8601 such as 2024-05-01T07:00:00+00:00") from error
    on_s, off_s = _read_time_s("lights_on", lights_on), _read_time_s("lights_off", lights_off)
    if on_s == off_s:
        raise ValueError(f"lights_on and lights_off are both {lights_on}; leave both empty for constant light")
    start_s = timedelta(hours=begin.hour, minutes=begin.minute, seconds=begin.second).total_seconds()
    since_on_s = (start_s + begin.microsecond / 1e6 + np.asarray(onset_s) + epoch_s / 2 - on_s) % _DAY_S
    return since_on_s < (off_s - on_s) % _DAY_S


def _read_row(path: Path, name: str, row: Row) -> Row:
    read = {field: row[field] for field in _FIELDS if row.get(field)}
    try:
        if row.get(_START_UTC):
            start = datetime.fromisoformat(row[_START_UTC])
            read["start"] = (start if start.tzinfo else start.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
        if "species" in read:
            species_group(read["species"])
        find_lit_epochs(read.get("start", ""), read.get("lights_on", ""), read.get("lights_off", ""), np.zeros(1), 1.0)
    except ValueError as error:
        raise ValueError(f"{path}, row of {name}: {error}") from error
    return read


def _read_time_s(name: str, text: str) -> float:
    try:
        of_day = time.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{name} {text!r} is no time of day; wanted one such as 07:00") from error
    return timedelta(hours=of_day.hour, minutes=of_day.minute, seconds=of_day.second).total_seconds()
