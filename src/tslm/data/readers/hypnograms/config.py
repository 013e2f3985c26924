"""How the hypnogram of a recording is written, and what was read of it."""

from dataclasses import dataclass
from datetime import datetime

from tslm.data.readers.hypnograms.digits import DIGIT_PRESETS
from tslm.data.readers.raw import Annotation

FORMATS = ("annotations", "text", "table", "nsrr")
MIN_COVERAGE = 0.5


@dataclass(frozen=True)
class HypnogramConfig:
    """Where the hypnogram of each recording is and how it is written; what is empty is found out."""

    files: tuple[str, ...] = ()  # beside the signals, e.g. "{stem}.txt" or "../scores/{subject}*.csv"; none: inside
    format: str = ""  # annotations, text (a label a line), table (csv, tsv), nsrr (XML); empty: by the file's ending
    ignore: tuple[str, ...] = ()  # labels that are no sleep stages; their rows take no place
    digits: str = ""  # what bare digits mean: a name of DIGIT_PRESETS; `labels` can name them one by one
    epoch_s: float = 0.0  # length of the scorer's epochs; 0: as the cohort's, or as the labels show
    until_next: bool = False  # a label without a duration lasts to the next one
    start: str = ""  # time zero of the labels: `recording`, seconds after its first sample, or a time of day
    scorer: str = ""  # of several: name of a column, value in the scorer's column, or 1, 2 by order in the file
    delimiter: str = ""  # table
    label_column: str = ""  # table; of a table without header the number of the column, from 1
    onset_column: str = ""  # table
    duration_column: str = ""  # table
    end_column: str = ""  # table
    epoch_column: str = ""  # table: number of the epoch, from 0 or 1
    time_unit: str = ""  # table: s, ms, min, h or samples
    samples_hz: float = 0.0  # table: rate of times in samples; 0: the recording's
    min_coverage: float = MIN_COVERAGE  # share of the night that labels must cover

    def __post_init__(self) -> None:
        if self.format and self.format not in FORMATS:
            raise ValueError(f"hypnogram.format={self.format}: wanted one of: {', '.join(FORMATS)}")
        if self.digits and self.digits not in DIGIT_PRESETS:
            raise ValueError(f"hypnogram.digits={self.digits}: wanted one of: {', '.join(DIGIT_PRESETS)}")
        if self.time_unit and self.time_unit not in ("s", "ms", "min", "h", "samples"):
            raise ValueError(f"hypnogram.time_unit={self.time_unit}: wanted s, ms, min, h or samples")


@dataclass(frozen=True)
class NightSpan:
    """What the reader of a hypnogram may know of the recording."""

    start: datetime | None = None
    duration_s: float = 0.0  # 0: not known
    fs_hz: float = 0.0  # 0: not known, or channels of several rates


@dataclass(frozen=True)
class HypnogramFile:
    """Labels of a file, on its own clock."""

    labels: tuple[Annotation, ...]  # onset from `start`, or from the recording's first sample
    understood: str = ""  # which column is what, in one line
    start: datetime | None = None  # time zero of the labels
    has_date: bool = True  # otherwise only the time of day of `start` counts
    clock_at_zero: datetime | None = None  # time of day of the recording's start by a second column of times
    is_listed: bool = False  # a label an epoch, one after the other, without times
    num_ignored: int = 0  # listed: rows that took no place between labels
    blank_at: tuple[int, ...] = ()  # listed: labels before which there was a blank line
