"""One night from raw files: as a recording of a cohort, or yet to be scored, from a signal file alone.

A night of a cohort (`read_scored_night`) has a hypnogram as a rule, which is checked against the signals:

1. open the signals, read the labels (from the same file or another)
2. check that every label is known and that the two files are of one night
3. cut or fill the sleep stages to the length of the signals; without any scored epoch the night has no labels
4. choose the channels and convert them to microvolt

A night to be scored (`read_single_night`) is resampled to the model's rate and cut into epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import scipy

from tslm.data.cohorts.cohort import ChannelConfig, CohortConfig, DerivationConfig, RecordingFiles
from tslm.data.cohorts.montage import read_montage
from tslm.data.cohorts.subject_table import describe_subject
from tslm.data.epochs import cut_epochs, resample_recording, view_epochs
from tslm.data.prepared.recordings import NO_LABELS, Recording
from tslm.data.readers.hypnograms import build_sleep_stages, find_format, find_unknown_labels, read_hypnogram_file
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import Annotation, RawRecording, SignalFile
from tslm.hypnogram import SCORED, SLEEP
from tslm.labels import SleepStage, species_group
from tslm.signals.filters import bridge_gaps
from tslm.signals.spectrum import FEATURE_BANDS_HZ, measure_psd, sum_band

_MAX_START_DIFFERENCE_S = 1.0
_MAX_NAMED = 5  # labels in a note
_MAX_SLEEP_BEYOND = 0.05  # of the night's length (and two epochs at least); more sleep after its end is another night's
LONGEST_NIGHT_S = 12 * 3600.0  # a shorter recording is taken for a night as a whole
MARGIN_S = 1800.0  # kept before and after, as for the nights in training
_BETWEEN, _AMONG = " - ", " + "  # as DerivationConfig.name writes it: "C4 - M1", "Fpz - M1 + M2"
_MUSCLE_HZ = FEATURE_BANDS_HZ["human"]["gamma"]
_SMOOTHED_S = 930.0  # a median over a quarter of an hour, so that a visit to the bathroom ends no night
_QUIET_AND_BUSY = (5, 95)  # percentiles; the border lies half-way between them


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

    Without a hypnogram, or with one that scores no epoch, it has no sleep stages, and a note says why.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not what it should be, a label is unknown, or the hypnogram is another night's. Under
            missing_labels=error also where no epoch is scored.
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
        labelled = build_sleep_stages(annotations, config.label_map, config.hypnogram, config.epoch_s)
    except ValueError as error:
        raise ValueError(f"{where} is not a hypnogram: {error}") from error
    sleep_stages: tuple[SleepStage, ...] = ()
    hypnogram_notes = [f"{NO_LABELS}: {_describe_lack(files, annotations)}"]
    if any(sleep_stage in SCORED for sleep_stage in labelled):
        _check_match(config, files, file, hypnogram_start, labelled)
        sleep_stages, hypnogram_notes = _fit_to_signals(config, files, labelled, file.duration_s)
    elif config.missing_labels == "error":
        raise ValueError(f"{files.signal_path} has {hypnogram_notes[0]}; missing_labels=unscored would let it be")
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
    if files.missing:
        return [], None
    if path is None:
        assert file is not None
        return file.read_annotations() if file.annotation_reader else [], file.start
    if find_format(path, config.hypnogram) != "annotations":
        return read_hypnogram_file(path, config.hypnogram, config.epoch_s), None
    scored = open_signals(path, config.signals)
    return scored.read_annotations(), scored.start


def _describe_lack(files: RecordingFiles, annotations: Sequence[Annotation]) -> str:
    """Why a recording has no scored epoch."""
    if files.missing:
        return f"no hypnogram beside it, wanted {files.missing}"
    path = files.hypnogram_path or files.signal_path
    found = sorted({note.text for note in annotations})
    if not found:
        return f"{path.name} holds no annotation"
    rest = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
    return f"{path.name} scores no epoch, its annotations are {', '.join(found[:_MAX_NAMED])}{rest}"


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


@dataclass(frozen=True)
class SingleNight:
    """A night to be scored."""

    recording: Recording  # unscored; see `tslm.data.epochs.cut_epochs`
    span: range  # epochs of the file, counted from its start, that the night covers; some may be left out


def read_single_night(
    file: SignalFile, channels: Mapping[str, str], fs_hz: float, epoch_s: float, species: str, whole: bool = False
) -> SingleNight:
    """Read channels, resample them and cut them into epochs from the file's start on.

    Of a person's recording of more than 12 hours only the night is kept (`find_night`), as models are trained on nights
    and normalise a recording by itself; the recording's `notes` say where it was found.

    Args:
        file: An open signal file.
        channels: Name by which the model knows a channel to the file's channel: a name, or a difference to one or the
            mean of several ("C4 - M1", "C4 - M1 + M2"). The night and artefacts are found in the first, an EEG.
        fs_hz: Sampling rate of the epochs.
        epoch_s: Length of an epoch.
        species: Species of the sleeper; the level of saturation depends on it.
        whole: Keep the day, too.

    Raises:
        ValueError: A channel is missing (the message lists those there are), shows nothing or is too slow; or as
            `tslm.data.epochs.cut_epochs`.
    """
    signals, notes = read_montage(file, {name: _parse_channel(source) for name, source in channels.items()})
    raw = RawRecording(
        recording=file.path.stem,
        subject=file.subject,
        signals=signals,
        sleep_stages=(),
        epoch_s=epoch_s,
        species=species,
        start=file.start.isoformat() if file.start else "",
        notes=(*file.notes, *notes),
    )
    raw = resample_recording(raw, fs_hz)
    first_EL = next(iter(view_epochs(raw).values()))
    is_kept_whole = whole or species_group(species) != "human"
    span = range(len(first_EL)) if is_kept_whole else find_night(bridge_gaps(first_EL), fs_hz, epoch_s)
    recording = cut_epochs(raw, span=span)
    if len(span) < len(first_EL):
        note = describe_night(raw, span, len(first_EL))
        recording = replace(recording, notes=(*recording.notes, note))
    return SingleNight(recording, span)


def find_night(epochs_EL: np.ndarray, fs_hz: float, epoch_s: float) -> range:
    """Find the night in a recording of a whole day, from one EEG channel alone.

    By day muscles are at work, and what they add at 30 to 45 Hz does not go away for long until a person lies down to
    sleep. The night is the run of epochs whose muscle activity, in log power below a border half-way between quiet and
    busy epochs, adds up to the most; `MARGIN_S` are kept before and after it. On 18 recordings of 10 to 24 h of
    Sleep-EDF this alone told the hours from first to last sleep from the rest of the day (docs/experiments).

    Args:
        epochs_EL: (num_epochs, samples), finite.
        fs_hz: Sampling rate.
        epoch_s: Length of an epoch.

    Returns:
        Epochs of the night; all epochs where the recording is no longer than a night, where the rate is too low to
        see muscles (under 90 Hz), or where nothing changes.
    """
    everything = range(len(epochs_EL))
    if len(epochs_EL) * epoch_s <= LONGEST_NIGHT_S or fs_hz < 2 * _MUSCLE_HZ[1]:
        return everything
    freqs_hz, psd_EF = measure_psd(epochs_EL, fs_hz)
    muscle_E = np.log(np.maximum(sum_band(psd_EF, freqs_hz, *_MUSCLE_HZ), 1e-12))
    smoothed_E = scipy.ndimage.median_filter(muscle_E, size=round(_SMOOTHED_S / epoch_s), mode="nearest")
    quiet_E = np.mean(np.percentile(smoothed_E, _QUIET_AND_BUSY)) - smoothed_E
    total = np.concatenate([[0.0], np.cumsum(quiet_E)])
    stop = int(np.argmax(total - np.minimum.accumulate(total)))
    start = int(np.argmin(total[: stop + 1]))
    if start == stop:
        return everything
    margin = round(MARGIN_S / epoch_s)
    return range(max(0, start - margin), min(len(epochs_EL), stop + margin))


def _parse_channel(name: str) -> ChannelConfig:
    """A recorded channel of that name; where there is none, the difference that the name spells."""
    plus, between, minus = name.partition(_BETWEEN)
    derivations = [DerivationConfig(name)]
    if between:
        derivations.append(DerivationConfig(plus.strip(), tuple(part.strip() for part in minus.split(_AMONG))))
    return ChannelConfig(tuple(derivations))


def describe_night(raw: RawRecording, span: range, num_epochs: int) -> str:
    """Where `find_night` found the night among the `num_epochs` epochs of a recording."""
    start, stop = (timedelta(seconds=idx * raw.epoch_s) for idx in (span.start, span.stop))
    when = f"{start} to {stop} after its start"
    if raw.start:
        began = datetime.fromisoformat(raw.start)
        when = f"{began + start:%H:%M} to {began + stop:%H:%M}"
    hours = num_epochs * raw.epoch_s / 3600
    return f"{hours:.1f} h were recorded; the night was found from {when} by its quiet muscles"
