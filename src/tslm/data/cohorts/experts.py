"""The expert's hypnogram of a night that a model stages: found among files, read, and put beside the staged epochs.

Labels are read as those of a cohort (`tslm.data.cohorts.nights`). Sleep stages in plain words and the standard texts of
EDF+ are known; other labels are named in `labels`, digits in `hypnogram.digits`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tslm.config.compose import list_group
from tslm.data.cohorts.cohort import COHORT_GROUP, CohortConfig, RecordingFiles, find_hypnograms, load_cohort
from tslm.data.cohorts.nights import read_sleep_stages, survey_recording
from tslm.data.readers.raw import SignalFile
from tslm.labels import AASM_ANNOTATIONS, RK_ANNOTATIONS, SleepStage, parse_sleep_stage

_KNOWN = {**RK_ANNOTATIONS, **AASM_ANNOTATIONS, "?": SleepStage.UNSCORED}
_MAX_NAMED = 5


@dataclass(frozen=True)
class Expert:
    """Sleep stages of an expert, one an epoch from `grid_s` on, in seconds from the start of the recording."""

    path: Path
    sleep_stages: tuple[SleepStage, ...]
    epoch_s: float
    grid_s: float = 0.0
    notes: tuple[str, ...] = ()

    def stage_at(self, onset_s: np.ndarray) -> tuple[SleepStage, ...]:
        """Sleep stage of the expert's epoch that covers most of each epoch that begins at (num_epochs,) seconds."""
        positions = np.rint((onset_s - self.grid_s) / self.epoch_s).astype(int).tolist()
        num = len(self.sleep_stages)
        return tuple(self.sleep_stages[idx] if 0 <= idx < num else SleepStage.UNSCORED for idx in positions)


def find_expert(night: Path, given: Path, config: CohortConfig) -> Path | None:
    """The expert's hypnogram of a night.

    Args:
        night: the file of the signals.
        given: the hypnogram, or a folder that holds those of several nights. In a folder it is found by its name, by
            `config.hypnogram.files`, or else by the rules of the cohorts in configs/cohort.
        config: how to read single files.

    Returns:
        Its path; None where the folder holds none of this night.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: several files of the folder fit.
    """
    if not given.exists():
        raise FileNotFoundError(f"there is no hypnogram {given}")
    if not given.is_dir():
        return given
    rules = [config] if config.hypnogram.files else [load_cohort(name) for name in list_group(COHORT_GROUP)]
    found = sorted({path for rule in rules for path in find_hypnograms(rule, night, given)})
    if len(found) > 1:
        names = ", ".join(map(str, found[:_MAX_NAMED]))
        raise ValueError(
            f"{len(found)} hypnograms below {given} fit {night.name}: {names}; say hypnogram.files=PATTERN"
        )
    return found[0] if found else None


def read_expert(file: SignalFile, path: Path, config: CohortConfig) -> Expert:
    """Read the hypnogram of an open recording and check that the two belong together.

    Args:
        file: the signals.
        path: the hypnogram.
        config: how to read it; its epoch length is that of the staged epochs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no epoch is scored, a label is unknown, or the hypnogram is another night's.
        ImportError: a reader needs an extra that is not installed.
    """
    files = RecordingFiles(file.path.stem, file.path.stem, file.path, path)
    known = _KNOWN | {text: SleepStage(code) for text, code in config.labels.items()}
    config = replace(config, labels={text: stage.value for text, stage in known.items()})
    spoken = {text: parse_sleep_stage(text) for text in survey_recording(config, files).unknown_labels}
    named = {text: stage.value for text, stage in spoken.items() if stage is not None}
    config = replace(config, labels={**config.labels, **named})
    sleep_stages, grid_s, notes = read_sleep_stages(config, files, file)
    if not sleep_stages:
        raise ValueError(f"{path} is no expert's hypnogram: {notes[0]}")
    if grid_s:
        notes.append(f"the expert's epochs begin {grid_s:g} s later; each counts for the epoch that it covers most of")
    return Expert(path, sleep_stages, config.epoch_s, grid_s, tuple(f"expert: {note}" for note in notes))
