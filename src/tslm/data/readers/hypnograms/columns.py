"""Columns of a table of labels: what each is by its name, by its cells, and by the cohort's YAML."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.hypnograms.digits import is_digit, plain_label
from tslm.data.readers.hypnograms.times import looks_like_date, parse_moment, parse_number
from tslm.labels import SleepStage, parse_sleep_stage

NOT_GIVEN = ("", "n/a", "nan", "na", "none", "null", "-")  # BIDS writes n/a where a value is missing
LABEL, ONSET, END, DURATION, EPOCH, DATE, SCORER = "label", "onset", "end", "duration", "epoch", "date", "scorer"
# Names of columns by role, the preferred first; letters and digits only, without the unit.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    LABEL: (
        *("stage", "sleepstage", "sleepstages", "stages", "label", "labels", "trialtype", "value", "annotation"),
        *("annotations", "description", "score", "scoring", "sleepscore", "sleepscoring", "state", "sleepstate"),
        *("vigilancestate", "brainstate", "hypnogram", "hypno", "stagename", "stagelabel", "stageid", "class"),
        *("category", "event", "events", "eventtype", "eventname", "eventconcept", "type", "name", "code", "marker"),
        *("text", "stadium", "schlafstadium", "schlafphase", "stade", "estadio", "fase"),
    ),
    ONSET: (
        *("onset", "recordingonset", "onsettime", "onsetsample", "start", "starttime", "startsample", "eventstart"),
        *("epochstart", "begin", "begintime", "begins", "beginning", "from", "time", "times", "timestamp", "t"),
        *("timestamps", "datetime", "clock", "clocktime", "timeofday", "elapsed", "elapsedtime", "relativetime"),
        *("timefromstart", "recordingtime", "seconds", "sec", "sample", "samples", "startdatetime", "eventtime"),
        *("zeit", "uhrzeit", "beginn", "startzeit", "heure", "hora", "timecode", "absolutetime", "starts"),
    ),
    END: (
        *("end", "endtime", "ends", "stop", "stoptime", "offset", "offsettime", "to", "until", "finish", "epochend"),
        *("endsample", "stopsample", "enddatetime", "ende", "endzeit", "eventend", "finishtime"),
    ),
    DURATION: ("duration", "dur", "length", "len", "lasts", "epochduration", "epochlength", "eventduration", "dauer"),
    EPOCH: (
        *("epoch", "epochidx", "epochnumber", "epochno", "epochnum", "epochindex", "epochid", "epochs", "ep", "no"),
        *("nr", "num", "number", "idx", "index", "unnamed0", "row", "id", "epoche"),
    ),
    DATE: ("date", "day", "startdate", "datum", "recordingdate"),
    SCORER: ("scorer", "rater", "scoredby", "expert", "annotator", "observer", "source", "method", "reader"),
}
_ELAPSED = ("onset", "recordingonset", "elapsed", "elapsedtime", "relativetime", "timefromstart", "recordingtime")
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hour", "hours", "hr", "hrs"), "h"),
    **dict.fromkeys(("sample", "samples", "smp", "pts"), "samples"),
}
_SPLIT_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9À-ÿ]+")
_FORMS = ("hh", "mm", "ss", "hhmmss", "yyyy", "dd", "hh24", "mi", "utc", "local")  # of times, written into names
_TIMELY = re.compile(r"time|start|begin|onset|stop|\bend|clock|zeit|second", re.IGNORECASE)
_MOSTLY = 0.8


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    cells: tuple[str, ...]

    @property
    def plain(self) -> str:
        """The name in small letters and digits, without blanks, signs and unit."""
        words = _words(self.name)
        if len(words) > 1 and words[-1] in _UNITS and "".join(words) not in _ALL_NAMES:
            words = words[:-1]
        return "".join(words)

    @property
    def unit(self) -> str:
        """The unit in the name: s, ms, min, h, samples, or empty."""
        words = _words(self.name)
        return _UNITS.get(words[-1], "") if words and words[-1] not in ("t",) else ""

    @property
    def role(self) -> str:
        """What the column is by its name, or empty."""
        return next((role for role, names in SYNONYMS.items() if self.plain in names), "")

    @property
    def is_elapsed(self) -> bool:
        """Whether times count from the start of the recording by the name."""
        return self.plain in _ELAPSED

    def given(self) -> list[str]:
        """Cells that hold something."""
        return [cell for cell in self.cells if cell.casefold() not in NOT_GIVEN]

    def holds_clock(self) -> bool:
        """Whether the cells are times of day."""
        return _share(parse_moment(cell) is not None for cell in self.given()) >= _MOSTLY

    def holds_numbers(self) -> bool:
        """Whether the cells are numbers."""
        return _share(parse_number(cell) is not None for cell in self.given()) >= _MOSTLY

    def holds_dates(self) -> bool:
        """Whether the cells are dates."""
        return _share(looks_like_date(cell) for cell in self.given()) >= _MOSTLY

    def looks_like_time(self) -> bool:
        """Whether the cells are times of day, or the name speaks of a time and they are no other numbers."""
        if self.holds_clock() or not _TIMELY.search(self.name):
            return self.holds_clock()
        is_figure = _share(any(sign.isdigit() for sign in cell) for cell in self.given()) >= _MOSTLY
        return self.rises() if self.holds_numbers() else is_figure

    def rises(self) -> bool:
        """Whether the numbers rise from row to row."""
        numbers = [parse_number(cell) for cell in self.given()]
        known = [number for number in numbers if number is not None]
        return len(known) > 1 and all(late > early for early, late in zip(known, known[1:], strict=False))

    def counts(self) -> bool:
        """Whether the cells count 0, 1, 2 or 1, 2, 3 through, several rows perhaps with one number."""
        numbers = [parse_number(cell) for cell in self.given()]
        each = list(dict.fromkeys(numbers))
        return len(each) > 2 and each in (list(range(len(each))), list(range(1, len(each) + 1)))


@dataclass(frozen=True)
class Roles:
    """Which column is what; None where there is none."""

    label: Column
    onset: Column | None = None
    end: Column | None = None
    duration: Column | None = None
    epoch: Column | None = None
    date: Column | None = None
    scorer: Column | None = None


def read_stage(text: str, labels: Mapping[str, SleepStage]) -> SleepStage | None:
    """The sleep stage of a cell by the cohort's labels, or by its common name."""
    known = labels.get(text) or labels.get(plain_label(text))
    return known or parse_sleep_stage(text)


def label_share(column: Column, labels: Mapping[str, SleepStage]) -> float:
    """Share of the cells that are names of sleep stages; bare digits are none."""
    return _share(not is_digit(plain_label(cell)) and read_stage(cell, labels) is not None for cell in column.given())


def find_named(columns: Sequence[Column], wanted: str, key: str, where: str) -> Column | None:
    """The column that a key of the cohort names, by name regardless of case and blanks; None where it names none."""
    if not wanted:
        return None
    same = [column for column in columns if _fold(column.name) == _fold(wanted)]
    if len(same) != 1:
        has = ", ".join(describe_cells(column) for column in columns)
        count = "no column" if not same else f"{len(same)} columns named"
        bare = " and no header" if all(column.name.isdigit() for column in columns) else ""
        raise ValueError(f"{where} has {count} {wanted!r} (hypnogram.{key}){bare}; it has: {has}")
    return same[0]


def describe_cells(column: Column) -> str:
    """Name of a column; of one that only has a number also its first cells."""
    if not column.name.isdigit():
        return column.name
    some = list(dict.fromkeys(column.given()))[:3]
    return f"{column.name} ({', '.join(some)}, ...)"


def configured_names(config: HypnogramConfig) -> set[str]:
    """Names of columns in the cohort's YAML, folded."""
    named = (config.label_column, config.onset_column, config.duration_column, config.end_column, config.epoch_column)
    return {_fold(name) for name in named if name}


def is_name(cell: str) -> bool:
    """Whether a cell is a usual name of a column."""
    return bool(Column(cell, ()).role)


def _fold(name: str) -> str:
    return " ".join(name.split()).casefold()


def _words(name: str) -> list[str]:
    words = [word.casefold() for word in _SPLIT_NAME.split(name.strip().replace("#", "number")) if word]
    return [word for word in words if word not in _FORMS] if len(words) > 1 else words


def _share(hits: object) -> float:
    found = list(hits)  # type: ignore[call-overload]
    return sum(found) / len(found) if found else 0.0


_ALL_NAMES = frozenset(name for names in SYNONYMS.values() for name in names)
