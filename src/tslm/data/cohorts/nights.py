"""One night from raw files: as a recording of a cohort, or yet to be scored, from a signal file alone.

A night of a cohort (`read_scored_night`) has a hypnogram as a rule, which is checked against the signals:

1. open the signals, read the labels (from the same file or another)
2. check that every label is known and that the two files are of one night
3. cut or fill the sleep stages to the length of the signals; without any scored epoch the night has no labels
4. choose the channels and convert them to microvolt

A night to be scored (`read_single_night`) is resampled to the model's rate and cut into epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import scipy

from tslm.data.cohorts.cohort import ChannelConfig, CohortConfig, DerivationConfig, RecordingFiles
from tslm.data.cohorts.montage import MIN_EEG_FS_HZ, read_montage
from tslm.data.cohorts.subject_table import describe_subject
from tslm.data.epochs import cut_epochs, resample_recording, view_epochs
from tslm.data.prepared.recordings import NO_LABELS, Recording
from tslm.data.readers.hypnograms.config import HypnogramFile, NightSpan
from tslm.data.readers.hypnograms.digits import ask_for_digits, count_digits, is_digit
from tslm.data.readers.hypnograms.grid import (
    build_sleep_stages,
    check_one_label,
    complete_durations,
    find_grid,
    pick_labels,
)
from tslm.data.readers.hypnograms.match import check_length, find_offset, place_listed, shift_labels
from tslm.data.readers.hypnograms.read import find_format, find_unknown_labels, read_hypnogram_file
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import Annotation, RawRecording, SignalFile
from tslm.hypnogram import SCORED
from tslm.labels import SleepStage, species_group
from tslm.signals.filters import bridge_gaps
from tslm.signals.spectrum import FEATURE_BANDS_HZ, measure_psd, sum_band

UNDERSTOOD = "labels read as"  # begins the note on which column of a table is what
_MAX_NAMED = 5  # labels in a note
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
    digit_counts: Mapping[str, int] = field(default_factory=dict)  # of bare digits among them


def survey_recording(config: CohortConfig, files: RecordingFiles) -> Survey:
    """Subject and unknown labels of a recording, without reading its signals.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `read_scored_night`.
    """
    is_needed = files.hypnogram_path is None or not files.subject
    file = open_signals(files.signal_path, config.signals) if is_needed else None
    hypnogram = _read_labels(config, files, file)
    unknown = find_unknown_labels(
        hypnogram.labels, config.label_map, config.hypnogram, _holds_only_sleep_stages(config, files)
    )
    digits = count_digits(note.text for note in hypnogram.labels if note.text in unknown)
    return Survey(_subject(files, file), tuple(unknown), digits)


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
    signals, channel_notes = read_montage(file, config.channels)
    longest_s = max((len(signal.values) / signal.fs_hz for signal in signals.values()), default=file.duration_s)
    if longest_s < file.duration_s - config.epoch_s / 2:  # the file holds another, longer vector
        file = replace(file, duration_s=longest_s)
    sleep_stages, grid_s, hypnogram_notes = read_sleep_stages(config, files, file)
    if grid_s:
        hypnogram_notes.append(f"epochs are cut from {grid_s:g} s on, where they were scored")
    raw = RawRecording(
        recording=files.recording,
        subject=_subject(files, file),
        signals=signals,
        sleep_stages=sleep_stages,
        epoch_s=config.epoch_s,
        species=config.species,
        grid_s=grid_s,
        start=file.start.isoformat() if file.start else "",
        age=file.age,
        sex=file.sex,
        source=config.source,
        notes=(*file.notes, *hypnogram_notes, *channel_notes),
    )
    return describe_subject(raw, files.about)


def read_sleep_stages(
    config: CohortConfig, files: RecordingFiles, file: SignalFile
) -> tuple[tuple[SleepStage, ...], float, list[str]]:
    """The hypnogram of a recording, checked against its signals.

    Returns:
        One sleep stage for each whole epoch of the signals, none where no epoch is scored; the second of the recording
        at which the first of them begins, less than an epoch; and notes.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `read_scored_night`.
    """
    hypnogram = _read_labels(config, files, file)
    where = files.hypnogram_path or files.signal_path
    only_sleep_stages = _holds_only_sleep_stages(config, files)
    if unknown := find_unknown_labels(hypnogram.labels, config.label_map, config.hypnogram, only_sleep_stages):
        if any(map(is_digit, unknown)):
            digits = count_digits(note.text for note in hypnogram.labels if note.text in unknown)
            raise ValueError(f"{where}: {ask_for_digits(digits, config.species)}")
        known = ", ".join(config.label_map)
        raise ValueError(
            f"{where} holds the unknown label(s) {', '.join(map(repr, unknown))}; name each (labels.NAME=N2) or "
            f"leave it out (hypnogram.ignore=NAME); known are: {known}"
        )
    lack = f"{NO_LABELS}: {_describe_lack(files, hypnogram.labels)}"
    labels = pick_labels(hypnogram.labels, config.label_map, config.hypnogram)
    if not any(config.label_map[label.text] in SCORED for label in labels):
        if config.missing_labels == "error":
            raise ValueError(f"{files.signal_path} has {lack}; missing_labels=unscored would let it be")
        return (), 0.0, [lack]
    try:
        labelled, grid_s, notes = _place_labels(config, file, replace(hypnogram, labels=tuple(labels)))
    except ValueError as error:
        raise ValueError(f"{where.name} does not match {files.signal_path.name}: {error}") from error
    sleep_stages, fitting = _fit_to_signals(config, files, labelled, file.duration_s - grid_s)
    return sleep_stages, grid_s, [*notes, *fitting]


def _subject(files: RecordingFiles, file: SignalFile | None) -> str:
    return files.subject or (file.subject if file else "") or files.recording


def _holds_only_sleep_stages(config: CohortConfig, files: RecordingFiles) -> bool:
    """Whether each label of the file must be a sleep stage; annotations and BIDS events may describe other events."""
    path = files.hypnogram_path
    return path is not None and find_format(path, config.hypnogram) != "annotations" and path.suffix.lower() != ".tsv"


def _read_labels(config: CohortConfig, files: RecordingFiles, file: SignalFile | None) -> HypnogramFile:
    """Labels, on the clock of the file that holds them."""
    path = files.hypnogram_path
    if files.missing:
        return HypnogramFile(())
    if path is None:
        assert file is not None
        return HypnogramFile(tuple(file.read_annotations()) if file.annotation_reader else ())
    if find_format(path, config.hypnogram) != "annotations":
        span = NightSpan()
        if file is not None:
            rates_hz = {channel.fs_hz for channel in file.channels if channel.fs_hz >= MIN_EEG_FS_HZ}
            span = NightSpan(file.start, file.duration_s, rates_hz.pop() if len(rates_hz) == 1 else 0.0)
        return read_hypnogram_file(path, config.hypnogram, config.epoch_s, config.label_map, span)
    scored = open_signals(path, config.signals)
    return HypnogramFile(tuple(scored.read_annotations()), start=scored.start)


def _place_labels(
    config: CohortConfig, file: SignalFile, hypnogram: HypnogramFile
) -> tuple[tuple[SleepStage | None, ...], float, list[str]]:
    """Sleep stages of the epochs from the first whole one on, its start in the recording, and notes."""
    settings, stages, epoch_s = config.hypnogram, config.label_map, config.epoch_s
    labels = place_listed(hypnogram, settings, epoch_s, file.duration_s)
    hypnogram = replace(hypnogram, labels=tuple(labels))
    offset_s, notes = find_offset(hypnogram, file.start, file.duration_s, settings, epoch_s)
    labels = shift_labels(labels, offset_s)
    labels, phrases = complete_durations(labels, settings, epoch_s, file.duration_s)
    labels = check_one_label(labels, stages, settings, epoch_s)
    grid = find_grid(labels, settings, epoch_s)
    check_length(labels, stages, hypnogram, settings, epoch_s, file.duration_s, config.signals.allow_truncated)
    done = replace(settings, until_next=False)
    labelled = build_sleep_stages(labels, stages, done, epoch_s, grid.origin_s)
    understood = [hypnogram.understood] if hypnogram.understood else []
    if settings.digits and any(is_digit(label.text) for label in labels):
        understood.append(f"digits: {settings.digits}")
    read_as = [f"{UNDERSTOOD} {', '.join(understood).replace(';', ',')}"] if understood else []
    return labelled, grid.origin_s, [*read_as, *notes, *phrases, *grid.notes]


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
