"""Prepare a cohort: raw recordings become a folder of prepared recordings, with splits made once, by subject.

1. read a raw recording with one sleep stage per epoch
2. cut epochs from `wake_margin_min` before the first sleep to as long after the last (`prepare_night`); of a recording
   without labels all of it, or the night alone (`night_only`)
3. measure the evidence of each epoch on the first channel, and muscle tone on the EMG channel
4. write rationales from the evidence (`data_prep.rationales.compose`)
5. assign splits and write the recording, at last participants.tsv
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from data_prep.cohorts.kept import KeptNights, describe_source, make_key
from data_prep.cohorts.sleep_edf_subjects import SubjectNight, apply_table, read_subject_tables
from data_prep.rationales.compose import add_rationales
from data_prep.simulators.human.night import SIMULATED
from tslm.data.cohorts.cohort import CohortConfig, RecordingFiles, find_recordings
from tslm.data.cohorts.nights import (
    LONGEST_NIGHT_S,
    UNDERSTOOD,
    Survey,
    describe_night,
    find_night,
    read_scored_night,
    survey_recording,
)
from tslm.data.cohorts.subject_table import find_lit_epochs
from tslm.data.epochs import cut_epochs, resample_recording, view_epochs
from tslm.data.evidence import add_evidence
from tslm.data.prepared.recordings import (
    EPOCH_SPLIT_COLUMN,
    PARTICIPANTS_FILE,
    Participant,
    Recording,
    check_subject_splits,
    read_participants,
    write_participants,
    write_recording,
)
from tslm.data.readers.hypnograms.digits import ask_for_digits
from tslm.data.readers.raw import RawRecording
from tslm.data.splits.folds import draw_epoch_splits
from tslm.data.splits.rules import DEFAULT_SPLIT, assign_splits, check_split, count_strata, needs_strata
from tslm.data.splits.split import BY_EPOCH, Split
from tslm.hypnogram import SLEEP
from tslm.labels import SleepStage, species_group
from tslm.parallel import ONE_WORKER, Workers, list_failures, map_nights
from tslm.progress_bar import progress_bar
from tslm.prompts import RATIONALE_STYLES, check_style
from tslm.signals.filters import bridge_gaps

WAKE_MARGIN_MIN = 30.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NightOptions:
    """Options of every cohort of nights."""

    wake_margin_min: float = WAKE_MARGIN_MIN
    split: str = DEFAULT_SPLIT  # a rule of tslm.data.splits.rules
    rationale: str = RATIONALE_STYLES[0]  # full, or brief: for a small model that learns from few samples
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split)
        check_style(self.rationale, RATIONALE_STYLES)


@dataclass(frozen=True)
class CohortOptions(NightOptions):
    """Options of a cohort of files; the cohort's YAML holds the other settings."""

    raw_dir: Path | None = None
    night_only: bool = False  # of people's recordings without labels keep the night alone, as `tslm score` does


@dataclass(frozen=True)
class Night:
    """A recording to read, and its subject, which the split needs first."""

    name: str  # for messages
    subject: str
    read: Callable[[], RawRecording]
    fs_hz: float = 0.0  # rate of all prepared channels; 0: the highest of them
    night_only: bool = False  # see `prepare_night`
    source: str = ""  # key of what `read` depends on (data_prep.cohorts.kept); empty: not kept when a call is stopped


def prepare_cohort(
    config: CohortConfig, options: CohortOptions, out_dir: Path, workers: Workers = ONE_WORKER
) -> list[Participant]:
    """Prepare all recordings of a cohort below `raw_dir`; the bytes do not depend on the number of workers.

    Sleep-EDF's tables of subjects, if they are beside the recordings, take precedence over the headers.

    Raises:
        FileNotFoundError: `raw_dir` is not given, is missing, or holds no recording.
        ValueError: A label is unknown (all of them are listed), or a file is damaged; or a recording lacks labels under
            missing_labels=error.
        ImportError: A file's reader needs an extra that is not installed.
    """
    found = find_recordings(config, options.raw_dir)
    surveyed = list(map_nights(partial(survey_recording, config), found, workers))
    failed = [(done.item.recording, done.error) for done in surveyed if done.error]
    found = [done.item for done in surveyed if done.result]
    surveys = [done.result for done in surveyed if done.result]
    _check_labels(config, found, surveys)
    table = read_subject_tables(options.raw_dir) if options.raw_dir else {}
    nights = [
        Night(
            files.recording,
            survey.subject,
            partial(_read_night, config, files, table),
            config.fs_hz,
            options.night_only,
            describe_source(config, files, table),
        )
        for survey, files in zip(surveys, found, strict=True)
    ]
    return prepare_nights(nights, out_dir, options, workers, failed)


def _check_labels(config: CohortConfig, found: Sequence[RecordingFiles], surveys: Sequence[Survey]) -> None:
    digits: Counter[str] = Counter()
    for survey in surveys:
        digits.update(survey.digit_counts)
    if digits:
        raise ValueError(ask_for_digits(digits, config.species))
    first_of: dict[str, RecordingFiles] = {}
    for survey, files in zip(surveys, found, strict=True):
        for label in survey.unknown_labels:
            first_of.setdefault(label, files)
    if first_of:
        listed = ", ".join(f"{label!r} ({first_of[label].recording})" for label in sorted(first_of))
        raise ValueError(
            f"unknown labels: {listed}; give each a sleep stage in labels or add it to hypnogram.ignore. "
            f"Known labels: {', '.join(map(repr, config.label_map))}"
        )


def prepare_nights(
    nights: Sequence[Night],
    out_dir: Path,
    options: NightOptions,
    workers: Workers,
    failed: Sequence[tuple[str, str]] = (),
) -> list[Participant]:
    """Read, prepare and write nights one by one; participants.tsv is written at the end.

    Nights of the same call that was stopped are kept (data_prep.cohorts.kept).

    Args:
        nights: to prepare.
        out_dir: folder of the cohort.
        options: of the cohort.
        workers: where nights are prepared.
        failed: names and errors of recordings that could not even be surveyed.

    Raises:
        ValueError: nights failed; the others are prepared.
    """
    failed = list(failed)
    num_nights = len(nights) + len(failed)
    if not nights:
        raise ValueError(list_failures(failed, num_nights) or "there is no recording to prepare")
    split = options.split
    # Strata need the hypnograms. Until these are read, folds without strata check that there are enough subjects.
    first_split = split.replace("skfold", "kfold") if needs_strata(split) else split
    split_of = assign_splits((night.subject for night in nights), first_split, options.seed)
    left_out = sorted({night.subject for night in nights} - set(split_of))
    if left_out:
        logger.warning("split=%s has no place for %d subjects, left out: %s", split, len(left_out), ", ".join(left_out))
    nights = [night for night in nights if night.subject in split_of]
    before = read_participants(out_dir) if (out_dir / PARTICIPANTS_FILE).is_file() else []
    (out_dir / PARTICIPANTS_FILE).unlink(missing_ok=True)  # an interrupted run must not look complete
    understood: set[str] = set()
    kept = KeptNights(out_dir)
    keys = {
        night.name: make_key(night.source, options, split_of[night.subject].text) for night in nights if night.source
    }
    rows = {name: row for name, key in keys.items() if (row := kept.find(key)) is not None}
    if rows:
        logger.warning("%d nights of a call that was stopped are kept; delete %s for new ones", len(rows), kept.path)
    missing = [night for night in nights if night.name not in rows]
    done = map_nights(partial(_prepare_one, out_dir=out_dir, split_of=split_of, options=options), missing, workers)
    for one in progress_bar(done, total=len(nights), initial=len(rows), desc="prepare", unit="night"):
        if one.result is None:
            failed.append((one.item.name, one.error))
            logger.warning("%s: error: %s", one.item.name, one.error)
            continue
        rows[one.item.name] = one.result
        if one.item.name in keys:
            kept.add(keys[one.item.name], one.result)
        _report_notes(one.result, understood)
    participants = [rows[night.name] for night in nights if night.name in rows]
    if not participants:
        raise ValueError(list_failures(failed, num_nights))
    if needs_strata(split):
        strata = count_strata(participants, out_dir)
        split_of = assign_splits(strata, split, options.seed, strata)
        participants = [replace(row, split=split_of[row.subject]) for row in participants]
    check_subject_splits(participants)
    write_participants(participants, out_dir)
    kept.discard()
    for stale in {row.recording for row in before} - {row.recording for row in participants}:
        (out_dir / f"{stale}.parquet").unlink(missing_ok=True)
    if failed:
        raise ValueError(f"{list_failures(failed, num_nights)}; the others are prepared in {out_dir}")
    return participants


def _report_notes(participant: Participant, understood: set[str]) -> None:
    """Log what was changed in a night, and once a cohort how its tables were understood."""
    notes = participant.notes.split("; ") if participant.notes else []
    for note in notes:
        if note.startswith(UNDERSTOOD) and note not in understood:
            understood.add(note)
            logger.warning("%s", note)
    changed = [note for note in notes if not note.startswith(UNDERSTOOD)]
    if changed and not changed[0].startswith(SIMULATED):
        logger.warning("%s: %s", participant.recording, "; ".join(changed))


def _prepare_one(night: Night, out_dir: Path, split_of: Mapping[str, Split], options: NightOptions) -> Participant:
    split = split_of[night.subject]
    with threadpool_limits(1):  # another order of summation would change the last bit
        raw = night.read()
        recording = prepare_night(raw, options.wake_margin_min, night.fs_hz, night.night_only)
        recording = add_rationales(recording, options.seed, options.rationale)
        if split.rule == BY_EPOCH:
            splits = draw_epoch_splits(recording.sleep_stages, recording.recording, options.seed)
            recording = replace(recording, columns={**recording.columns, EPOCH_SPLIT_COLUMN: splits})
        return write_recording(recording, out_dir, split)


def _read_night(config: CohortConfig, files: RecordingFiles, table: Mapping[str, SubjectNight]) -> RawRecording:
    return apply_table(read_scored_night(config, files), table)


def prepare_night(
    raw: RawRecording, wake_margin_min: float = WAKE_MARGIN_MIN, fs_hz: float = 0.0, night_only: bool = False
) -> Recording:
    """Cut a night into epochs and add what can be measured in each.

    Movement and unscored epochs inside the span stay, with labels MOVE and UNSCORED, so that time has no gaps;
    training and scoring leave them out by their label. Without sleep stages all epochs stay, unscored, and a note says
    so.

    Args:
        raw: Signals in microvolt and one sleep stage per epoch, both from the start of the recording; or no stages.
        wake_margin_min: Minutes kept before the first and after the last epoch of sleep.
        fs_hz: Sampling rate of all channels; 0: the highest one of the channels.
        night_only: Without sleep stages, keep the night alone (`find_night`) of a person's recording.

    Returns:
        The recording with evidence columns, measured from the samples as they are stored, a bool column `<kind>_flag`
        for each of ARTIFACT_KINDS, and a column `light` (1 on, 0 off) where the times of light are known.

    Raises:
        ValueError: The night has no sleep, or as `tslm.data.epochs.cut_epochs`.
    """
    raw = resample_recording(raw, fs_hz)
    first_EL, notes = next(iter(view_epochs(raw).values())), list[str]()
    if raw.sleep_stages:
        span = find_sleep_span(raw.sleep_stages[: len(first_EL)], round(wake_margin_min * 60 / raw.epoch_s))
    else:
        span, notes = _choose_unlabelled_span(raw, first_EL, night_only)
    if not span:
        raise ValueError(
            f"{raw.recording} holds no epoch of sleep within its signal; leave it out or check its hypnogram"
        )
    night = add_evidence(cut_epochs(raw, span=span))
    night = replace(night, notes=(*night.notes, *notes))
    columns = {**night.columns}
    is_lit_E = find_lit_epochs(raw.start, raw.lights_on, raw.lights_off, night.onset_s, raw.epoch_s)
    if is_lit_E is not None:
        columns["light"] = is_lit_E.astype(np.int8)
    return replace(night, columns=columns)


def _choose_unlabelled_span(raw: RawRecording, first_EL: np.ndarray, night_only: bool) -> tuple[range, list[str]]:
    """Epochs to keep of a recording without sleep stages, and notes."""
    whole, hours = range(len(first_EL)), len(first_EL) * raw.epoch_s / 3600
    is_day = species_group(raw.species) == "human" and hours * 3600 > LONGEST_NIGHT_S
    if not (is_day and night_only):
        hint = ", night_only=true keeps the night alone" if is_day else ""
        return whole, [f"the whole recording is kept, {hours:.1f} h{hint}"]
    fs_hz = next(iter(raw.signals.values())).fs_hz
    span = find_night(bridge_gaps(first_EL), fs_hz, raw.epoch_s)
    if len(span) == len(whole):
        return whole, [f"the whole recording is kept, {hours:.1f} h: no night stands out by its quiet muscles"]
    return span, [describe_night(raw, span, len(whole))]


def find_sleep_span(sleep_stages: Sequence[SleepStage], margin_epochs: int) -> range:
    """Epochs from `margin_epochs` before the first sleep to as many after the last; empty without sleep."""
    asleep = [idx for idx, sleep_stage in enumerate(sleep_stages) if sleep_stage in SLEEP]
    if not asleep:
        return range(0)
    return range(max(0, asleep[0] - margin_epochs), min(len(sleep_stages), asleep[-1] + margin_epochs + 1))
