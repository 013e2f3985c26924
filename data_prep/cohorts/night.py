"""One raw night to one prepared recording: epochs around sleep, with evidence beside the labels.

1. cut epochs from `wake_margin_min` before the first sleep to as long after the last (tslm.data.epochs)
2. measure the evidence of each epoch on the first channel, and muscle tone on the EMG channel if there is one;
   say whether the lights were on

Rationales are written afterwards, from the evidence: `data_prep.rationales.compose.add_rationales`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tslm.data.cohorts.subject_table import find_lit_epochs
from tslm.data.epochs import cut_epochs, resample_recording, view_epochs
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.raw import RawRecording
from tslm.evidence.measure import measure_evidence
from tslm.evidence.muscle import ENVELOPE_BELOW_HZ, find_emg_channel, measure_emg
from tslm.hypnogram import SLEEP
from tslm.labels import SleepStage

WAKE_MARGIN_MIN = 30.0


def prepare_night(raw: RawRecording, wake_margin_min: float = WAKE_MARGIN_MIN, fs_hz: float = 0.0) -> Recording:
    """Cut a night into epochs and add what can be measured in each.

    Movement and unscored epochs inside the kept span stay, with labels MOVE and UNSCORED, so that time runs on
    without gaps; training and scoring leave them out by their label.

    Args:
        raw: Signals in microvolt and one sleep stage per epoch, both from the start of the recording.
        wake_margin_min: Minutes kept before the first and after the last epoch of sleep.
        fs_hz: Rate of all channels; 0: the highest rate of the channels.

    Returns:
        The recording, not yet rounded to the stored steps, with evidence columns, a bool column `<kind>_flag` for
        each of ARTIFACT_KINDS, and a column `light` (1 on, 0 off) where the times of light are known.

    Raises:
        ValueError: A night without sleep, or as `tslm.data.epochs.cut_epochs`.
    """
    recorded_hz = {name: signal.fs_hz for name, signal in raw.signals.items()}
    raw = resample_recording(raw, fs_hz)
    num_epochs = len(next(iter(view_epochs(raw).values())))
    span = find_sleep_span(raw.sleep_stages[:num_epochs], round(wake_margin_min * 60 / raw.epoch_s))
    if not span:
        raise ValueError(
            f"{raw.recording} holds no epoch of sleep within its signal; leave it out or check its hypnogram"
        )
    night = cut_epochs(raw, span=span, as_stored=False)
    evidence = measure_evidence(next(iter(night.channels.values())), night.fs_hz, raw.species)
    emg_name = find_emg_channel(night.channels)
    if emg_name is not None:
        evidence |= _measure_emg(night.channels[emg_name], night.fs_hz, recorded_hz[emg_name])
    columns: dict[str, np.ndarray | list[str]] = {**evidence, **night.columns}
    is_lit_E = find_lit_epochs(raw.start, raw.lights_on, raw.lights_off, night.onset_s, raw.epoch_s)
    if is_lit_E is not None:
        columns["light"] = is_lit_E.astype(np.int8)
    return replace(night, columns=columns)


def find_sleep_span(sleep_stages: Sequence[SleepStage], margin_epochs: int) -> range:
    """Epochs from `margin_epochs` before the first sleep to as many after the last; empty without sleep."""
    asleep = [idx for idx, sleep_stage in enumerate(sleep_stages) if sleep_stage in SLEEP]
    if not asleep:
        return range(0)
    return range(max(0, asleep[0] - margin_epochs), min(len(sleep_stages), asleep[-1] + margin_epochs + 1))


def _measure_emg(epochs_EL: np.ndarray, fs_hz: float, recorded_hz: float) -> dict[str, np.ndarray]:
    """Muscle tone; a channel that was recorded as a slow envelope is measured as one."""
    if recorded_hz >= ENVELOPE_BELOW_HZ:
        return measure_emg(epochs_EL, fs_hz)
    return measure_emg(epochs_EL[:, :: max(1, round(fs_hz / recorded_hz))], recorded_hz)
