"""A continuous recording with its hypnogram: what file readers and the simulator both return."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tslm.labels import SleepStage


@dataclass(frozen=True)
class RawSignal:
    """One channel as recorded."""

    values_uv: np.ndarray  # (num_samples,) float32, microvolt
    fs_hz: float


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
    source: str = ""
