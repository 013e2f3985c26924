"""Continuous recordings, as file readers and simulators return them; `tslm.data.epochs` cuts them into epochs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from tslm.labels import SleepStage


@dataclass(frozen=True)
class SignalsConfig:
    """Signal files of a cohort, and how to read them."""

    files: tuple[str, ...] = ()  # patterns below raw_dir, e.g. "**/*.edf"
    # Regular expression on the path below raw_dir with groups `recording` and `subject`; other files are left out.
    name: str = ""
    allow_truncated: bool = False  # read the whole data records of an EDF file whose header states another number
    fs_hz: float = 0.0  # csv and mat: sampling rate, where the file does not hold it
    unit: str = "uV"  # csv and mat: unit of all channels
    delimiter: str = ","  # csv
    time_column: str = ""  # csv: column with the time of each row; missing rows are gaps
    time_unit: str = "s"  # csv: of the time column: s, ms or us
    variable: str = ""  # mat: matrix of all channels; empty: each vector is a channel
    fs_variable: str = ""  # mat: variable with the sampling rate
    channel_names: tuple[str, ...] = ()  # mat: names of the matrix's channels


@dataclass(frozen=True)
class RawSignal:
    """One channel as recorded."""

    values: np.ndarray  # (num_samples,) float32 in `unit`; NaN where nothing was recorded
    fs_hz: float
    unit: str = "uV"  # microvolt for every voltage; g for an accelerometer
    start_s: float = 0.0  # of the first sample, from the start of the recording


@dataclass(frozen=True)
class RawRecording:
    """Signals from the start of the recording and one label per scoring epoch, the first from `grid_s` on.

    The hypnogram may be shorter or longer than the signals; `tslm.data.epochs` keeps the epochs that both cover.
    """

    recording: str
    subject: str
    signals: Mapping[str, RawSignal]
    sleep_stages: tuple[SleepStage, ...]
    epoch_s: float
    species: str = "human"
    grid_s: float = 0.0  # start of the first epoch: epochs lie where they were scored
    start: str = ""  # ISO 8601
    age: str = ""
    sex: str = ""
    strain: str = ""
    lights_on: str = ""  # time of day on the clock of `start`, e.g. 07:00
    lights_off: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()  # what was changed on the way in, e.g. "EEG: converted from mV"


@dataclass(frozen=True)
class Annotation:
    """A text that a file attaches to a stretch of time."""

    onset_s: float  # from the start of the recording
    duration_s: float  # 0 where the file does not state it
    text: str


@dataclass(frozen=True)
class ChannelInfo:
    """One channel as a file describes it."""

    name: str
    unit: str  # as written; empty where the file does not state it
    fs_hz: float


@dataclass(frozen=True)
class SignalFile:
    """An open signal file: its channels, and functions that read them."""

    path: Path
    channels: tuple[ChannelInfo, ...]  # in file order
    duration_s: float  # from the first to the last sample, gaps included
    read_values: Callable[[int], np.ndarray]  # channel's position -> (num_samples,) float32 in its own unit
    annotation_reader: Callable[[], list[Annotation]] | None = None  # None: the format has no annotations
    start: datetime | None = None
    subject: str = ""  # empty where the file does not state it, as age and sex
    age: str = ""
    sex: str = ""  # F or M
    notes: tuple[str, ...] = ()  # what was repaired when the file was opened

    def read_annotations(self) -> list[Annotation]:
        """Annotations of the file; ValueError where its format has none."""
        if self.annotation_reader is None:
            raise ValueError(f"{self.path} holds no annotations; a hypnogram as EDF must be EDF+")
        return self.annotation_reader()
