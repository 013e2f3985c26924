"""Evidence of a recording: prepared columns where they are of the staged channel, else measured.

Shape letters: E epochs.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tslm.data.prepared.recordings import Recording
from tslm.evidence.measure import EVIDENCE_COLUMNS, RECENT_COLUMN, count_recent_waves, measure_evidence
from tslm.evidence.muscle import EMG_COLUMNS, find_emg_channel, measure_emg

MEASURED_COLUMNS = (*EVIDENCE_COLUMNS, RECENT_COLUMN, *EMG_COLUMNS)


def add_evidence(recording: Recording) -> Recording:
    """The recording with evidence of its first channel, and of its EMG where it has one, as columns."""
    columns = {**measure_recording(recording), **recording.columns}
    return replace(recording, columns=columns, measured_channel=next(iter(recording.channels)))


def read_evidence(recording: Recording, channel: str) -> dict[str, np.ndarray]:
    """Evidence of a channel by column, (E,) each: as prepared, or measured where the columns are of another channel.

    Args:
        recording: has the channel; muscle tone is that of its prepared columns, or of an EMG channel that it holds.
        channel: name of the EEG channel.

    Raises:
        ValueError: rate or length of the epochs are not those that the detectors take.
    """
    prepared = find_prepared_evidence(recording, channel)
    if all(name in prepared for name in EVIDENCE_COLUMNS):
        return prepared
    try:
        return prepared | measure_recording(recording, channel)
    except ValueError as error:
        raise ValueError(f"{recording.recording}: {error}, or prompts without facts (stage.facts=none)") from error


def find_prepared_evidence(recording: Recording, channel: str) -> dict[str, np.ndarray]:
    """Evidence that a prepared recording has of a channel, and of its EMG, by column; empty where it has none."""
    is_measured = recording.measured_channel == channel
    wanted = MEASURED_COLUMNS if is_measured else EMG_COLUMNS
    found = {name: np.asarray(recording.columns[name]) for name in wanted if name in recording.columns}
    if is_measured and RECENT_COLUMN not in found and all(name in found for name in EVIDENCE_COLUMNS):
        found |= _count_recent(recording, found)
    return found


def measure_recording(recording: Recording, channel: str = "") -> dict[str, np.ndarray]:
    """Evidence of a channel (empty: the first) and of the EMG, measured from the samples of the recording."""
    epochs_EL = recording.channels[channel or next(iter(recording.channels))]
    evidence = measure_evidence(epochs_EL, recording.fs_hz, recording.species)
    emg_name = find_emg_channel(recording.channels)
    if emg_name is not None:
        evidence |= measure_emg(recording.channels[emg_name], recording.fs_hz)
    return evidence | _count_recent(recording, evidence)


def _count_recent(recording: Recording, evidence: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {RECENT_COLUMN: count_recent_waves(evidence, recording.onset_s, recording.epoch_s)}
