"""Cohorts of nights: from raw recordings to a folder of prepared ones, with splits made once, by subject."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from data_prep.cohorts.night import WAKE_MARGIN_MIN, prepare_night
from data_prep.cohorts.sleep_edf_subjects import SubjectNight, apply_table, read_subject_tables
from data_prep.rationales.compose import add_rationales
from data_prep.simulators.human.night import NightExtras, name_subject, simulate_human_night
from tslm.data.cohorts.cohort import CohortConfig, RecordingFiles, find_recordings, parse_cohort
from tslm.data.cohorts.nights import Survey, read_scored_night, survey_recording
from tslm.data.prepared.recordings import (
    EPOCH_SPLIT_COLUMN,
    PARTICIPANTS_FILE,
    Participant,
    check_subject_splits,
    read_participants,
    write_participants,
    write_recording,
)
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording
from tslm.data.splits.folds import draw_epoch_splits
from tslm.data.splits.rules import DEFAULT_SPLIT, assign_splits, check_split, count_strata, needs_strata
from tslm.data.splits.split import BY_EPOCH, Split
from tslm.prompts import STYLES, check_style

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NightOptions:
    """Options of every cohort of nights."""

    wake_margin_min: float = WAKE_MARGIN_MIN
    split: str = DEFAULT_SPLIT  # a rule of tslm.data.splits.rules
    rationale: str = STYLES[0]  # full, or brief: for a small model that learns from few samples
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split)
        check_style(self.rationale)


@dataclass(frozen=True)
class CohortOptions(NightOptions):
    """Options of a cohort of files; the cohort's YAML holds the other settings."""

    raw_dir: Path | None = None


@dataclass(frozen=True)
class SimHumanOptions(NightOptions):
    """Options of the simulated cohort.

    `edf` also writes the nights as EDF+ and prepares them from those files; `edf_only` writes the files and stops.
    """

    num_subjects: int = 20
    eog: bool = False  # also a horizontal EOG
    emg: bool = False  # also a chin EMG
    movement_epochs: float = 0.0  # epochs a night labelled as movement, on average
    edf: bool = False
    edf_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_subjects < 1:
            raise ValueError(f"num_subjects={self.num_subjects}: wanted 1 or more")
        if not 0 <= self.movement_epochs <= 100:
            raise ValueError(f"movement_epochs={self.movement_epochs:g}: wanted 0 to 100 epochs a night")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: wanted 0 or more")

    @property
    def extras(self) -> NightExtras:
        """Channels and events of a night beside its EEG."""
        return NightExtras(self.eog, self.emg, self.movement_epochs)


@dataclass(frozen=True)
class Night:
    """One recording to be read, and its subject, which the split needs before."""

    subject: str
    read: Callable[[], RawRecording]
    fs_hz: float = 0.0  # rate of all prepared channels; 0: the highest of them


def prepare_cohort(config: CohortConfig, options: CohortOptions, out_dir: Path, workers: int = 1) -> list[Participant]:
    """Prepare every recording of a cohort below `raw_dir`; the bytes do not depend on the number of workers.

    Tables of subjects of Sleep-EDF beside the recordings take precedence over the headers.

    Raises:
        FileNotFoundError: `raw_dir` is not given, missing, or holds no recording.
        ValueError: A recording lacks its hypnogram, a label is unknown (all of them are listed), or a file is damaged.
        ImportError: A file's reader needs an extra that is not installed.
    """
    found = find_recordings(config, options.raw_dir)
    surveys = Parallel(n_jobs=workers)(delayed(survey_recording)(config, files) for files in found)
    _check_labels(config, found, surveys)
    table = read_subject_tables(options.raw_dir) if options.raw_dir else {}
    nights = [
        Night(survey.subject, partial(_read_night, config, files, table), config.fs_hz)
        for survey, files in zip(surveys, found, strict=True)
    ]
    return prepare_nights(nights, out_dir, options, workers)


def prepare_sim_human(
    options: SimHumanOptions, out_dir: Path, workers: int = 1
) -> Sequence[Participant] | Sequence[Path]:
    """Simulate a cohort and prepare it (or only write it as EDF+, and return these files).

    The same options give the same bytes for any number of workers.
    """
    if options.edf_only:
        return _write_simulated(options, out_dir / "edf", workers)
    edf_dir = out_dir / "edf" if options.edf else None
    nights = [
        Night(
            name_subject(options.seed, subject_idx),
            partial(_read_simulated, options.seed, subject_idx, options.extras, edf_dir),
        )
        for subject_idx in range(options.num_subjects)
    ]
    return prepare_nights(nights, out_dir, options, workers)


def _check_labels(config: CohortConfig, found: Sequence[RecordingFiles], surveys: Sequence[Survey]) -> None:
    first_of: dict[str, RecordingFiles] = {}
    for survey, files in zip(surveys, found, strict=True):
        for label in survey.unknown_labels:
            first_of.setdefault(label, files)
    if first_of:
        listed = ", ".join(f"{label!r} ({first_of[label].recording})" for label in sorted(first_of))
        raise ValueError(
            f"unknown labels: {listed}; give each a stage in labels or name it in hypnogram.ignore. "
            f"Known are: {', '.join(map(repr, config.label_map))}"
        )


def prepare_nights(nights: Sequence[Night], out_dir: Path, options: NightOptions, workers: int) -> list[Participant]:
    """Read, prepare and write nights one by one; participants.tsv appears when all are there."""
    split = options.split
    # Strata need the hypnograms; until they are read, folds without strata check whether there are enough subjects.
    first_split = split.replace("skfold", "kfold") if needs_strata(split) else split
    place_of = assign_splits((night.subject for night in nights), first_split, options.seed)
    left_out = sorted({night.subject for night in nights} - set(place_of))
    if left_out:
        logger.warning("split=%s does not know %d subjects, left out: %s", split, len(left_out), ", ".join(left_out))
    nights = [night for night in nights if night.subject in place_of]
    before = read_participants(out_dir) if (out_dir / PARTICIPANTS_FILE).is_file() else []
    (out_dir / PARTICIPANTS_FILE).unlink(missing_ok=True)  # an interrupted run must not look like a whole cohort
    tasks = (delayed(_prepare_one)(night, out_dir, place_of[night.subject], options) for night in nights)
    done = Parallel(n_jobs=workers, return_as="generator")(tasks)
    participants = []
    for participant in tqdm(done, total=len(nights), desc="prepare", unit="night"):
        participants.append(participant)
        if participant.notes:
            logger.warning("%s: %s", participant.recording, participant.notes)
    if needs_strata(split):
        strata = count_strata(participants, out_dir)
        place_of = assign_splits(strata, split, options.seed, strata)
        places = [place_of[row.subject] for row in participants]
        participants = [replace(row, split=place) for row, place in zip(participants, places, strict=True)]
    check_subject_splits(participants)
    write_participants(participants, out_dir)
    for stale in {row.recording for row in before} - {row.recording for row in participants}:
        (out_dir / f"{stale}.parquet").unlink(missing_ok=True)
    return participants


def _prepare_one(night: Night, out_dir: Path, place: Split, options: NightOptions) -> Participant:
    with threadpool_limits(1):  # sums in another order would change the last bit
        raw = night.read()
        recording = prepare_night(raw, options.wake_margin_min, night.fs_hz)
        recording = add_rationales(recording, options.seed, options.rationale)
        if place.rule == BY_EPOCH:
            splits = draw_epoch_splits(recording.sleep_stages, recording.recording, options.seed)
            recording = replace(recording, columns={**recording.columns, EPOCH_SPLIT_COLUMN: splits})
        return write_recording(recording, out_dir, place)


def _read_night(config: CohortConfig, files: RecordingFiles, table: Mapping[str, SubjectNight]) -> RawRecording:
    return apply_table(read_scored_night(config, files), table)


def _write_simulated(options: SimHumanOptions, edf_dir: Path, workers: int) -> list[Path]:
    tasks = (delayed(_write_night)(options.seed, idx, options.extras, edf_dir) for idx in range(options.num_subjects))
    done = Parallel(n_jobs=workers, return_as="generator")(tasks)
    paths = [path for pair in tqdm(done, total=options.num_subjects, desc="simulate", unit="night") for path in pair]
    for stale in set(edf_dir.glob("SIM*.edf")) - set(paths):
        stale.unlink()
    return paths


def _write_night(seed: int, subject_idx: int, extras: NightExtras, edf_dir: Path) -> tuple[Path, Path]:
    with threadpool_limits(1):
        night = simulate_human_night(seed, subject_idx, extras)
    return _write_edf(night, edf_dir)


def _write_edf(night: RawRecording, edf_dir: Path) -> tuple[Path, Path]:
    psg_path, hypnogram_path = (edf_dir / f"{night.recording}-{kind}.edf" for kind in ("PSG", "Hypnogram"))
    write_edf(night, psg_path, hypnogram_path)
    return psg_path, hypnogram_path


def _read_simulated(seed: int, subject_idx: int, extras: NightExtras, edf_dir: Path | None) -> RawRecording:
    night = simulate_human_night(seed, subject_idx, extras)
    if edf_dir is None:
        return night
    psg_path, hypnogram_path = _write_edf(night, edf_dir)
    config = parse_cohort({"channels": list(night.signals), "source": night.source})
    return read_scored_night(config, RecordingFiles(night.recording, night.subject, psg_path, hypnogram_path))
