"""The table of what a classifier reads of an epoch beside its signal (`model.inputs`).

The signal itself is read by a front end (`model.encoder.front_end`: raw, or as a log spectrogram). A row of INPUTS adds
numbers of each epoch; the epoch reader adds a linear map of them to the pooled signal, which is what a linear layer
behind their concatenation does.

1. `measure_inputs` measures all rows of a recording once, from what a prepared and a raw recording both have.
2. `normalize_inputs` relates what depends on electrode and amplifier to the recording, or to a part of it.

What a recording does not state is an error, never a zero.

Shape letters: E epochs, F numbers of an epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from tslm.config.files import suggest
from tslm.config.schema import RunConfig
from tslm.data.cohorts.subject_table import find_lit_epochs
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.hypnograms.match import is_unknown
from tslm.evidence.muscle import find_emg_channel
from tslm.signals.artifacts import ARTIFACT_KINDS
from tslm.signals.features import FEATURE_COLUMNS, measure_features

_IQR_OF_NORMAL = 1.349  # interquartile range of a normal distribution of standard deviation 1
_MAX_DEVIATION = 5.0  # standard deviations; what lies beyond is an artefact
_DAY_S = 86400.0


@dataclass(frozen=True)
class Input:
    """One row of the table."""

    columns: tuple[str, ...]  # names of its numbers
    measure: Callable[[Recording, RunConfig], np.ndarray]  # (E, F); ValueError where the recording lacks it
    by_recording: bool = False  # normalised by its median and interquartile range over the recording


def measure_inputs(recording: Recording, config: RunConfig) -> np.ndarray | None:
    """All numbers of `model.inputs`, (E, F) float32, NaN where one cannot be measured; None where there are no inputs.

    Raises:
        ValueError: the recording does not state what an input needs, such as the times of light; the message names it.
    """
    rows = find_inputs(config.model.inputs)
    if not rows:
        return None
    return np.concatenate([row.measure(recording, config) for row in rows], axis=1).astype(np.float32)


def normalize_inputs(measured_EF: np.ndarray, names: Sequence[str], part: slice = slice(None)) -> np.ndarray:
    """(E, F) float32 as a model reads them: columns `by_recording` in standard deviations from the recording's median.

    Args:
        measured_EF: `measure_inputs` of a whole recording.
        names: `model.inputs`.
        part: epochs that are taken for the recording.

    Returns:
        Of all epochs. 0 stands for the recording's median, and for a number that the recording never has (gamma at a
        low sampling rate, the EMG's level without an EMG), as it was in training.
    """
    values_EF = measured_EF.astype(np.float64)
    by_recording_F = np.concatenate([[row.by_recording] * len(row.columns) for row in find_inputs(names)])
    for column in np.flatnonzero(by_recording_F):
        known_E = values_EF[part, column]
        known_E = known_E[np.isfinite(known_E)]
        if len(known_E):
            low, median, high = np.percentile(known_E, (25, 50, 75))
            spread = max((high - low) / _IQR_OF_NORMAL, 1e-6 * max(1.0, abs(median)))
            values_EF[:, column] = np.clip((values_EF[:, column] - median) / spread, -_MAX_DEVIATION, _MAX_DEVIATION)
    return np.nan_to_num(values_EF).astype(np.float32)


def count_inputs(names: Sequence[str]) -> int:
    """F, the numbers of an epoch that `model.inputs` adds; ValueError for a name that is no row."""
    return sum(len(row.columns) for row in find_inputs(names))


def find_inputs(names: Sequence[str]) -> list[Input]:
    """Rows of the table; ValueError for a name that is none, or that stands twice."""
    for name in names:
        if name not in INPUTS:
            raise ValueError(f"unknown input {name!r} in model.inputs; {suggest(name, list(INPUTS))}")
        if list(names).count(name) > 1:
            raise ValueError(f"model.inputs names {name} twice; name it once")
    return [INPUTS[name] for name in names]


def find_flagged(recording: Recording, kinds: Sequence[str] = ARTIFACT_KINDS) -> np.ndarray:
    """(E,) bool: epochs that hold an artefact of one of these kinds.

    Raises:
        ValueError: no such kind, or a recording without artefact flags.
    """
    for kind in kinds:
        if kind not in ARTIFACT_KINDS:
            raise ValueError(f"unknown kind of artefact {kind!r}; {suggest(kind, list(ARTIFACT_KINDS))}")
    flags = [_read_flag(recording, kind) for kind in kinds]
    return np.any(flags, axis=0) if flags else np.zeros(recording.num_epochs, dtype=bool)


def _read_flag(recording: Recording, kind: str) -> np.ndarray:
    name = f"{kind}_flag"
    if name not in recording.columns:
        raise ValueError(f"{recording.recording} has no column {name!r}; prepare the cohort again")
    return np.asarray(recording.columns[name], dtype=bool)


def _measure_features(recording: Recording, config: RunConfig) -> np.ndarray:
    """Those of the staged channel, and the level of the EMG where the model needs one."""
    needed = [name for name in config.stage.extra_channels if name not in config.optional_channels]
    emg = find_emg_channel(needed)
    try:
        values = measure_features(
            recording.channels[config.stage.channel],
            recording.fs_hz,
            recording.species,
            None if emg is None else recording.channels[emg],
        )
    except ValueError as error:
        raise ValueError(f"{recording.recording}: {error}; leave `features` out of model.inputs") from error
    return np.stack([values[name] for name in FEATURE_COLUMNS], axis=1)


def _read_flags(recording: Recording, _config: RunConfig) -> np.ndarray:
    return np.stack([_read_flag(recording, kind) for kind in ARTIFACT_KINDS], axis=1)


def _find_light(recording: Recording, _config: RunConfig) -> np.ndarray:
    is_lit_E = find_lit_epochs(
        recording.start, recording.lights_on, recording.lights_off, recording.onset_s, recording.epoch_s
    )
    if is_lit_E is None:
        lacking = "start" if not recording.start else "times of light"
        raise ValueError(
            f"{recording.recording} states no {lacking}, and the model reads whether the lights were on "
            "(model.inputs=[light]): tslm score --lights 07:00-19:00, or lights_on and lights_off in animals.csv"
        )
    return is_lit_E[:, None]


def _find_clock(recording: Recording, _config: RunConfig) -> np.ndarray:
    """Sine and cosine of the time of day in the middle of each epoch."""
    if not recording.start or is_unknown(datetime.fromisoformat(recording.start)):
        raise ValueError(
            f"{recording.recording} states no start, and the model reads the time of day (model.inputs=[clock]); "
            "take a file with a start, or a model without that input"
        )
    start = datetime.fromisoformat(recording.start)
    start_s = 3600 * start.hour + 60 * start.minute + start.second
    angle_E = 2 * np.pi * (start_s + recording.onset_s + recording.epoch_s / 2) / _DAY_S
    return np.stack([np.sin(angle_E), np.cos(angle_E)], axis=1)


INPUTS: dict[str, Input] = {
    "features": Input(FEATURE_COLUMNS, _measure_features, by_recording=True),
    "flags": Input(ARTIFACT_KINDS, _read_flags),
    "light": Input(("light",), _find_light),
    "clock": Input(("clock_sine", "clock_cosine"), _find_clock),
}
