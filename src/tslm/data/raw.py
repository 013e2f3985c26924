"""A continuous recording with its hypnogram: what file readers and the simulator both return."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tslm.labels import SleepStage


@dataclass(frozen=True)
class RawSignal:
    """One channel as recorded."""

    values: np.ndarray  # (num_samples,) float32 in `unit`; NaN where nothing was recorded
    fs_hz: float
    unit: str = "uV"  # microvolt for every voltage; g for an accelerometer
    start_s: float = 0.0  # of the first sample, from the start of the recording


@dataclass(frozen=True)
class RawRecording:
    """Signals from the start of the recording and one label per scoring epoch from the same start.

    The hypnogram may be shorter or longer than the signals; preparation decides what to do.
    """

    recording: str
    subject: str
    signals: Mapping[str, RawSignal]
    sleep_stages: tuple[SleepStage, ...]
    epoch_s: float
    species: str = "human"
    start: str = ""  # ISO 8601
    age: str = ""
    sex: str = ""
    strain: str = ""
    lights_on: str = ""  # time of day on the clock of `start`, e.g. 07:00
    lights_off: str = ""
    source: str = ""
