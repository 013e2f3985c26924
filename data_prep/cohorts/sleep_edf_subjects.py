"""Tables of subjects of Sleep-EDF Expanded: age, sex and the time of lights off of every night.

Both workbooks are published beside the nights. They code sex the other way round:

- SC-subjects.xls, a row a night, one line of headings: subject, night, age, sex (F=1), LightsOff
- ST-subjects.xls, a row a subject, two lines of headings: number, age, M1/F2, then number and lights off of
  the placebo night and of the temazepam night
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import xlrd

from tslm.data.readers.raw import RawRecording

_MINUTES_A_DAY = 24 * 60
_KEY_CHARACTERS = 6  # SC4001 of SC4001E0: study, subject and night


@dataclass(frozen=True)
class SubjectNight:
    """Age, sex and lights off of one night."""

    age: str
    sex: str  # F or M
    lights_off: str  # time of day such as 22:55; empty where the table has none


@dataclass(frozen=True)
class _Sheet:
    """Columns of a table, counted from 0."""

    heading: str  # a word of its headings
    header_rows: int
    recording: str  # start of a recording's name
    age: int
    sex: int
    sex_of: Mapping[int, str]
    nights: tuple[tuple[int, int], ...]  # (column of the night's number, column of its lights off)


SHEETS: dict[str, _Sheet] = {
    "SC-subjects.xls": _Sheet("sex (F=1)", 1, "SC4{subject:02d}{night}", 2, 3, {1: "F", 2: "M"}, ((1, 4),)),
    "ST-subjects.xls": _Sheet("M1/F2", 2, "ST7{subject:02d}{night}", 1, 2, {1: "M", 2: "F"}, ((3, 4), (5, 6))),
}


def read_subject_tables(raw_dir: Path) -> dict[str, SubjectNight]:
    """Nights of the tables in, below or just above a folder, by study, subject and night ("SC4001").

    Raises:
        ValueError: A table is damaged or another one than the published.
    """
    nights: dict[str, SubjectNight] = {}
    for name, sheet in SHEETS.items():
        above = raw_dir.resolve().parent / name  # as PhysioNet has it: the tables above, a folder a study
        for path in sorted(raw_dir.rglob(name)) or [above] * above.is_file():
            try:
                nights |= _parse_rows(_read_rows(path), sheet)
            except ValueError as error:
                raise ValueError(f"{path} is not PhysioNet's table of subjects: {error}; download it again") from error
    return nights


def apply_table(raw: RawRecording, nights: Mapping[str, SubjectNight]) -> RawRecording:
    """The recording with age, sex and lights off of the table instead of its header's.

    A note names every disagreement. A recording without a row is returned unchanged.
    """
    night = nights.get(raw.recording[:_KEY_CHARACTERS])
    if night is None:
        return raw
    notes = tuple(
        f"{name} is {getattr(raw, name)} in the header, {getattr(night, name)} in the table of subjects, which is taken"
        for name in ("age", "sex")
        if getattr(raw, name) not in ("", getattr(night, name))
    )
    lights_off = night.lights_off or raw.lights_off
    return replace(raw, age=night.age, sex=night.sex, lights_off=lights_off, notes=(*raw.notes, *notes))


def _read_rows(path: Path) -> list[list[object]]:
    try:
        sheet = xlrd.open_workbook(str(path), logfile=_Silence()).sheet_by_index(0)
    except (xlrd.XLRDError, xlrd.compdoc.CompDocError, struct.error, LookupError, AssertionError, OSError) as error:
        raise ValueError(f"it cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from error
    return [sheet.row_values(row) for row in range(sheet.nrows)]


def _parse_rows(rows: Sequence[Sequence[object]], sheet: _Sheet) -> dict[str, SubjectNight]:
    headings = [str(cell).strip() for row in rows[: sheet.header_rows] for cell in row]
    if sheet.heading not in headings:
        raise ValueError(f"no column is headed {sheet.heading!r}; found {', '.join(filter(None, headings)) or 'none'}")
    nights: dict[str, SubjectNight] = {}
    for number, row in enumerate(rows[sheet.header_rows :], start=sheet.header_rows + 1):
        if not any(str(cell).strip() for cell in row):
            continue
        try:
            sex = sheet.sex_of[_whole(row[sheet.sex])]
            age = str(_whole(row[sheet.age]))
            for night_column, lights_column in sheet.nights:
                key = sheet.recording.format(subject=_whole(row[0]), night=_whole(row[night_column]))
                nights[key] = SubjectNight(age, sex, _render_time(row[lights_column]))
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"row {number} is {list(row)}") from error
    return nights


def _whole(cell: object) -> int:
    value = float(str(cell))
    if value % 1 or value < 0:
        raise ValueError(f"{cell} is no whole number")
    return int(value)


def _render_time(cell: object) -> str:
    """Time of day of a cell that holds a fraction of a day, as Excel does."""
    if not str(cell).strip():
        return ""
    minutes = round(float(str(cell)) % 1 * _MINUTES_A_DAY) % _MINUTES_A_DAY
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


class _Silence:
    """Discards the messages of xlrd."""

    def write(self, text: str) -> None:
        pass
