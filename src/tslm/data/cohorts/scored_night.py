"""One recording of a cohort: its signals and its hypnogram, checked against each other.

1. open the signals, read the labels (from the same file or another)
2. every label must be known, and the two files must be of one night
3. sleep stages are cut or filled up to the length of the signals
4. channels are chosen and converted to microvolt
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tslm.data.cohorts.cohort import CohortConfig, RecordingFiles
from tslm.data.cohorts.montage import read_montage
from tslm.data.cohorts.subject_table import describe_subject
from tslm.data.readers.hypnograms import build_sleep_stages, find_format, find_unknown_labels, read_hypnogram_file
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import Annotation, RawRecording, SignalFile
from tslm.hypnogram import SCORED, SLEEP
from tslm.labels import SleepStage

_MAX_START_DIFFERENCE_S = 1.0
_MAX_SLEEP_BEYOND = 0.05  # of the night's length (and two epochs at least); more sleep after its end is another night's


@dataclass(frozen=True)
class Survey:
    """What is read of each recording before the first one is prepared."""

    subject: str
    unknown_labels: tuple[str, ...]


def survey_recording(config: CohortConfig, files: RecordingFiles) -> Survey:
    """Subject and unknown labels of a recording, without reading its signals.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `read_scored_night`.
    """
    is_needed = files.hypnogram_path is None or not files.subject
    file = open_signals(files.signal_path, config.signals) if is_needed else None
    annotations, _ = _read_labels(config, files, file)
    unknown = find_unknown_labels(
        annotations, config.label_map, config.hypnogram, _holds_only_sleep_stages(config, files)
    )
    return Survey(_subject(files, file), tuple(unknown))


def read_scored_night(config: CohortConfig, files: RecordingFiles) -> RawRecording:
    """Signals and hypnogram of a recording; one sleep stage for each whole epoch of the signals.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not what it should be, a label is unknown, or the hypnogram is another night's.
        ImportError: A reader needs an extra that is not installed.
    """
    file = open_signals(files.signal_path, config.signals)
    annotations, hypnogram_start = _read_labels(config, files, file)
    where = files.hypnogram_path or files.signal_path
    only_sleep_stages = _holds_only_sleep_stages(config, files)
    if unknown := find_unknown_labels(annotations, config.label_map, config.hypnogram, only_sleep_stages):
        known = ", ".join(config.label_map)
        raise ValueError(f"{where} holds the unknown label(s) {', '.join(map(repr, unknown))}; known are: {known}")
    try:
        sleep_stages = build_sleep_stages(annotations, config.label_map, config.hypnogram, config.epoch_s)
    except ValueError as error:
        raise ValueError(f"{where} is not a hypnogram: {error}") from error
    _check_match(config, files, file, hypnogram_start, sleep_stages)
    sleep_stages, hypnogram_notes = _fit_to_signals(config, files, sleep_stages, file.duration_s)
    signals, channel_notes = read_montage(file, config.channels)
    raw = RawRecording(
        recording=files.recording,
        subject=_subject(files, file),
        signals=signals,
        sleep_stages=sleep_stages,
        epoch_s=config.epoch_s,
        species=config.species,
        start=file.start.isoformat() if file.start else "",
        age=file.age,
        sex=file.sex,
        source=config.source,
        notes=(*file.notes, *hypnogram_notes, *channel_notes),
    )
    return describe_subject(raw, files.about)


def _subject(files: RecordingFiles, file: SignalFile | None) -> str:
    return files.subject or (file.subject if file else "") or files.recording


def _holds_only_sleep_stages(config: CohortConfig, files: RecordingFiles) -> bool:
    """Whether each label of the file must be a sleep stage; annotations and BIDS events may describe other events."""
    path = files.hypnogram_path
    return path is not None and find_format(path, config.hypnogram) != "annotations" and path.suffix.lower() != ".tsv"


def _read_labels(
    config: CohortConfig, files: RecordingFiles, file: SignalFile | None
) -> tuple[list[Annotation], datetime | None]:
    """Labels, and the start of the file that holds them, if known."""
    path = files.hypnogram_path
    if path is None:
        assert file is not None
        return file.read_annotations(), file.start
    if find_format(path, config.hypnogram) != "annotations":
        return read_hypnogram_file(path, config.hypnogram, config.epoch_s), None
    scored = open_signals(path, config.signals)
    return scored.read_annotations(), scored.start


def _check_match(
    config: CohortConfig,
    files: RecordingFiles,
    file: SignalFile,
    hypnogram_start: datetime | None,
    sleep_stages: Sequence[SleepStage | None],
) -> None:
    path = files.hypnogram_path or files.signal_path
    names = f"{path.name} does not match {files.signal_path.name}"
    if hypnogram_start and file.start:
        offset_s = (hypnogram_start - file.start).total_seconds()
        if abs(offset_s) > _MAX_START_DIFFERENCE_S:
            starts = f"it starts at {hypnogram_start.isoformat()}, the night at {file.start.isoformat()}"
            raise ValueError(f"{names}: {starts}")
    asleep = [idx for idx, sleep_stage in enumerate(sleep_stages) if sleep_stage in SLEEP]
    asleep_s = (max(asleep, default=-1) + 1) * config.epoch_s
    annotated_s = len(sleep_stages) * config.epoch_s
    allowed_s = max(2 * config.epoch_s, _MAX_SLEEP_BEYOND * file.duration_s)
    if asleep_s >= file.duration_s + allowed_s and not config.signals.allow_truncated:
        raise ValueError(f"{names}: it scores sleep up to {asleep_s:g} s, the night ends at {file.duration_s:g} s")
    if annotated_s < file.duration_s * config.hypnogram.min_coverage:
        raise ValueError(
            f"{names}: its labels end at {annotated_s:g} s, the night at {file.duration_s:g} s; "
            "if they belong together, set hypnogram.min_coverage=0"
        )


def _fit_to_signals(
    config: CohortConfig, files: RecordingFiles, labelled: Sequence[SleepStage | None], duration_s: float
) -> tuple[tuple[SleepStage, ...], list[str]]:
    """One sleep stage for each epoch of the signals, and notes on what was cut or filled."""
    num_epochs = int(duration_s / config.epoch_s + 1e-6)
    notes = []
    num_beyond = sum(sleep_stage in SCORED for sleep_stage in labelled[num_epochs:])
    if num_beyond:
        notes.append(f"hypnogram goes on after the signals: {num_beyond} scored epochs left out")
    num_short = max(0, num_epochs - len(labelled))
    if num_short:
        early = _render_duration(num_short * config.epoch_s)
        notes.append(f"hypnogram ends {early} early: {num_short} epochs unscored")
    without = [idx for idx, sleep_stage in enumerate(labelled[:num_epochs]) if sleep_stage is None]
    if without:
        notes.append(f"hypnogram has gaps: {len(without)} epochs unscored")
    if config.missing_labels == "error" and (without or num_short):
        idx = without[0] if without else len(labelled)
        raise ValueError(
            f"{files.recording}: epoch {idx} (at {idx * config.epoch_s:g} s) has no label; "
            "missing_labels=unscored would let it be"
        )
    fitted = (*labelled[:num_epochs], *[None] * num_short)
    return tuple(sleep_stage or SleepStage.UNSCORED for sleep_stage in fitted), notes


def _render_duration(duration_s: float) -> str:
    if duration_s >= 3600:
        return f"{duration_s / 3600:.3g} h"
    return f"{duration_s / 60:.3g} min" if duration_s >= 60 else f"{duration_s:g} s"
