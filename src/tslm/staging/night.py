"""One recording staged: the classifier scores the whole night, the language model explains the epochs asked for.

1. choose the recording's channels for those of the models          (tslm.data.cohorts.channel_choice)
2. resample, find the night, cut it into epochs                     (tslm.data.cohorts.nights)
3. score all epochs, smooth                                         (tslm.predictions)
4. let the language model answer and explain the epochs asked for, check every claim, strike what is false
                                                                    (tslm.explain.verify)
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tslm.config.schema import ModelConfig
from tslm.data.cohorts.channel_choice import choose_channels
from tslm.data.cohorts.cohort import CohortConfig
from tslm.data.cohorts.experts import read_expert
from tslm.data.cohorts.nights import SingleNight, read_single_night
from tslm.data.cohorts.suitability import check_rate, check_species, find_other_species
from tslm.data.events import has_events, recording_events
from tslm.data.novelty import ChannelNovelty, find_novel_channels, load_novelty
from tslm.data.readers.raw import SignalFile
from tslm.data.samples.references import SHORTEST_EXCERPT
from tslm.export.night import NightResult
from tslm.labels import LABEL_SETS
from tslm.predictions.rows import CLASSIFIER, LANGUAGE_MODEL, PredictionRow, pick_likeliest
from tslm.predictions.smoothing import Smoothing, smooth_stages
from tslm.pretrained.table import describe_folder
from tslm.staging.models import StagingModels, find_models
from tslm.staging.sources import open_source

if TYPE_CHECKING:
    from tslm.predictions.epoch_writer import EpochWriter
    from tslm.predictions.night_scorer import NightScorer
    from tslm.staging.onnx_scorer import OnnxScorer

UNCERTAIN_SHARE = 0.2  # of the epochs, those that `explain="uncertain"` takes
# Below, a model that normalises by the recording alone agrees less: SC4001 .79 whole, .73 in pieces of 140 min, .65 of
# 60, .45 of 30; with `model.prior_epochs` .82, .79, .77 and .78.
SHORT_RECORDING_H = 2.5
_LIGHTS = re.compile(r"\d{1,2}:\d\d-\d{1,2}:\d\d")
_SPAN = re.compile(r"(\d+)(?:-(\d+))?")
_MAX_DIGITS = 6  # of an epoch's number: a million epochs of 30 s are a year


@dataclass(frozen=True)
class StagingOptions:
    """What is done with a night.

    Attributes:
        explain: epochs that the language model explains: uncertain (the least certain fifth by the classifier), all,
            none, or numbers from the start of the file ("12,40-60").
        given: pairs of the models' channel and the recording's, where the caller chose it.
        smoothing: none, median, hmm or posterior.
        whole: stage the day, too, where a recording is longer than 12 h.
        each_alone: score each epoch without its neighbours.
        with_events: look for spindles, slow waves and the like in every epoch.
        runtime: what runs the classifier: torch or onnx.
        species: of the sleeper: human, mouse, rat; empty: taken for that of the model.
        lights: times of day between which the lights were on ("07:00-19:00"); empty: not known.
    """

    explain: str = "uncertain"
    given: tuple[tuple[str, str], ...] = ()
    smoothing: str = "none"
    whole: bool = False
    each_alone: bool = False
    with_events: bool = True
    runtime: str = "torch"
    species: str = ""
    lights: str = ""

    def __post_init__(self) -> None:
        if self.lights and not _LIGHTS.fullmatch(self.lights):
            raise ValueError(f"lights={self.lights!r}; wanted when they go on and off, such as 07:00-19:00")


class NightStager:
    """Stages recordings by the same models, which are loaded once.

    Args:
        models: the checkpoints.
        options: what is done with each night.
        device: cpu, cuda ...; empty: a GPU if there is one.
    """

    def __init__(self, models: StagingModels, options: StagingOptions, device: str = "") -> None:
        self.models, self.options, self.device = models, options, device
        self.smoothing = Smoothing(options.smoothing)
        self.transitions = self.smoothing.load_transitions(models.classifier_dir)
        self.novelty = load_novelty(models.classifier_dir)

    @cached_property
    def scorer(self) -> "NightScorer | OnnxScorer":
        """The classifier."""
        return RUNTIMES[self.options.runtime](self.models.classifier_dir, self.device, self.options.each_alone)

    @cached_property
    def writer(self) -> "EpochWriter":
        """The language model."""
        from tslm.predictions.stager import choose_device, open_stager

        assert self.models.writer_dir is not None
        return open_stager(self.models.writer_dir, choose_device(self.device))  # type: ignore[return-value]

    def stage(self, file: SignalFile, show_progress: bool = False) -> NightResult:
        """Stage one recording.

        Args:
            file: an open recording.
            show_progress: whether the language model shows a progress bar.

        Raises:
            ValueError: another species than the model's, no EEG, a channel that is missing, flat or given twice, a
                recording shorter than an epoch, epochs to be explained that it does not have, or as `pick_likeliest`.
        """
        model = self.models.classifier.model
        label_set = LABEL_SETS[model.label_set]
        choice = choose_channels(file, self.models.channels, dict(self.options.given))
        if self.models.needed_channels.intersection(choice.missing):
            raise ValueError(choice.complaint)
        species = self.options.species or label_set.species
        check_species(file.path.name, species, model)
        told = [] if self.options.species else find_other_species(file, model)
        told += [*choice.warnings, *check_rate(file, next(iter(choice.channels.values())), model)]
        night = read_single_night(file, choice.channels, model.fs_hz, model.epoch_s, species, self.options.whole)
        missing = [f"no channel to read as {name!r}: staged without it" for name in choice.missing]
        notes = (*choice.notes, *missing, *night.recording.notes)
        lights_on, _, lights_off = self.options.lights.partition("-")
        lit = replace(night.recording, lights_on=lights_on, lights_off=lights_off, notes=notes)
        night = replace(night, recording=lit)
        recording = night.recording
        if self.options.explain not in ("all", "uncertain", "none"):
            list_numbered_epochs(self.options.explain, night)  # before the work begins
        probabilities_EK = self.scorer.score(recording)
        stages = tuple(label_set.sleep_stages[idx] for idx in pick_likeliest(probabilities_EK))
        unsmoothed = None
        if self.smoothing.method != "none":
            smoothed_E = smooth_stages(
                probabilities_EK, recording.onset_s, recording.epoch_s, self.smoothing, self.transitions
            )
            stages, unsmoothed = tuple(label_set.sleep_stages[idx] for idx in smoothed_E), stages
        rows = None if self.models.writer is None else self._explain(night, probabilities_EK, show_progress)
        return NightResult(
            recording,
            night.span,
            label_set,
            stages,
            probabilities_EK,
            file.path,
            choice.channels,
            describe_checkpoints(self.models),
            unsmoothed=unsmoothed,
            smoothing=self.options.smoothing,
            warnings=(*told, *_warn_of_length(night, model), *_warn_of_novelty(night, self.novelty)),
            temperature=self.scorer.temperature,
            explain=self.options.explain,
            rows=rows,
            events=recording_events(recording) if self.options.with_events and has_events(recording) else None,
        )

    def _explain(self, night: SingleNight, probabilities_EK: np.ndarray, show_progress: bool) -> list[PredictionRow]:
        """Verified rows of the language model, in the order of time."""
        from tslm.explain.verify import verify_rows

        epochs = choose_explained(self.options.explain, night, probabilities_EK)
        recording = self.models.name_for_writer(night.recording)
        rows = list(self.writer.answer(recording, epochs, show_progress=show_progress))
        return verify_rows(self.writer, recording, epochs, rows, show_progress=show_progress)


def _open_torch(folder: Path, device: str, each_alone: bool) -> "NightScorer":
    from tslm.predictions.stager import choose_device, open_stager

    return open_stager(folder, choose_device(device), each_alone=each_alone)  # type: ignore[return-value]


def _open_onnx(folder: Path, device: str, each_alone: bool) -> "OnnxScorer":
    from tslm.staging.onnx_scorer import open_onnx_scorer

    if device not in ("", "cpu"):
        raise ValueError(f"runtime onnx runs on the CPU, got device {device!r}; leave it out, or take runtime torch")
    return open_onnx_scorer(folder, each_alone)


RUNTIMES: dict[str, Callable[[Path, str, bool], "NightScorer | OnnxScorer"]] = {
    "torch": _open_torch,
    "onnx": _open_onnx,
}


def _warn_of_length(night: SingleNight, model: ModelConfig) -> list[str]:
    """What is typical of a recording, by which its epochs are normalised, cannot be told from a short one."""
    num_epochs = night.recording.num_epochs
    hours = num_epochs * night.recording.epoch_s / 3600
    if model.prior_epochs and num_epochs < SHORTEST_EXCERPT:
        return [f"{num_epochs} epochs are fewer than the {SHORTEST_EXCERPT} of the shortest recordings of the training"]
    if model.normalization == "zscore" or model.prior_epochs or hours >= SHORT_RECORDING_H:
        return []
    return [
        f"{60 * hours:.0f} min are little to tell what is typical of this person and amplifier; short recordings are "
        "staged less well (a night cut into half hours: kappa .45 instead of .79); a scorer of preset excerpts is not"
    ]


def _warn_of_novelty(night: SingleNight, novelty: Mapping[str, ChannelNovelty]) -> list[str]:
    """One line for each channel that is unlike those of the training; its stages may be right all the same."""
    return [
        f"the {name} is unlike those of the training: novelty {measured:.2f}, where {100 * typical.share_below:.0f} % "
        f"of {typical.num_recordings} recordings have less than {typical.limit:.2f}; check its signal, unit and channel"
        for name, (measured, typical) in find_novel_channels(novelty, night.recording).items()
    ]


def describe_checkpoints(models: StagingModels) -> dict[str, str]:
    """System to its checkpoint: the folder, or the name and version of a model of the package."""
    writer = {LANGUAGE_MODEL: describe_folder(models.writer_dir)} if models.writer_dir else {}
    return {CLASSIFIER: describe_folder(models.classifier_dir), **writer}


def choose_explained(explain: str, night: SingleNight, probabilities_EK: np.ndarray) -> list[int]:
    """Positions in the recording of the epochs to be explained, ascending.

    Args:
        explain: as in `StagingOptions`.
        night: the recording.
        probabilities_EK: (epochs of the recording, sleep stages) of the classifier.

    Raises:
        ValueError: as `list_numbered_epochs`.
    """
    num_epochs = night.recording.num_epochs
    if explain == "none":
        return []
    if explain == "all":
        return list(range(num_epochs))
    if explain == "uncertain":
        num_explained = max(1, round(UNCERTAIN_SHARE * num_epochs))
        return sorted(np.argsort(probabilities_EK.max(axis=1), kind="stable")[:num_explained].tolist())
    return list_numbered_epochs(explain, night)


def list_numbered_epochs(text: str, night: SingleNight) -> list[int]:
    """Positions in the recording of epochs numbered from the start of the file, such as "12,40-60", ascending.

    Raises:
        ValueError: as `parse_epochs`, or an epoch that the staged part does not have or that has no signal.
    """
    wanted = parse_epochs(text)
    onset_s = night.recording.onset_s.tolist()
    position = {round(each / night.recording.epoch_s): idx for idx, each in enumerate(onset_s)}
    missing = sorted(wanted - position.keys())
    if missing:
        raise ValueError(
            f"epoch {missing[0]} is not among the staged ones of {night.recording.recording}, "
            f"{night.span.start} to {night.span.stop - 1}, or has no signal"
        )
    return sorted(position[epoch] for epoch in wanted)


def parse_epochs(text: str) -> set[int]:
    """Numbers of epochs from a list such as "12,40-60"; ValueError where it is none, or of no recording's length."""
    wanted: set[int] = set()
    for part in text.split(","):
        match = _SPAN.fullmatch(part.strip())
        if not match:
            raise ValueError(f"explain={text!r}; wanted uncertain, all, none, or epochs such as 12,40-60")
        if len(match[1]) > _MAX_DIGITS or len(match[2] or "") > _MAX_DIGITS:
            raise ValueError(f"explain={text!r}: no recording has so many epochs")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"explain={text!r}: {part.strip()} ends before it begins")
        wanted.update(range(first, last + 1))
    return wanted


def match_given_channels(
    models: StagingModels, channel: str = "", extra_channels: Sequence[str] | None = None
) -> tuple[tuple[str, str], ...]:
    """Those of the models' channels that the caller names, each with its channel of the recording.

    Args:
        models: the checkpoints.
        channel: for the EEG; empty: not named.
        extra_channels: for the others, in the order of the training; None: not named.

    Raises:
        ValueError: another number of extra channels than the models read.
    """
    first, *others = models.channels
    given = ((first, channel),) if channel else ()
    if extra_channels is None:
        return given
    if len(extra_channels) != len(others):
        names = ", ".join(others) or "none"
        raise ValueError(f"{len(extra_channels)} extra channels were given; the model was trained with: {names}")
    return (*given, *zip(others, extra_channels, strict=True))


def stage_night(
    source: Any,
    fs_hz: float = 0.0,
    *,
    model: Any = None,
    llm: str = "",
    explain: str = "uncertain",
    channel: str = "",
    extra_channels: Sequence[str] | None = None,
    unit: str = "uV",
    smoothing: str = "none",
    whole: bool = False,
    expert: Any = None,
    species: str = "",
    lights: str = "",
    device: str = "",
    show_progress: bool = False,
) -> NightResult:
    """Stage and explain one night.

    Args:
        source: path of a recording, an MNE Raw object, a mapping from channel to signal, or one signal, an EEG.
        fs_hz: sampling rate of arrays, of a CSV or of a .mat file, in Hz.
        model: scorer of the package by name (`tslm models`), checkpoint of a classifier, or folder of results, of which
            the newest is taken; None: `human` of the package.
        llm: explainer of the package by name, checkpoint, or short name of a language model; empty: the one of the
            package that goes with its scorer, or the newest of the folder of results.
        explain: uncertain, all, none, or epochs such as "12,40-60" (`StagingOptions`).
        channel: EEG to be staged, or a difference ("C4 - M1"); empty: the closest to that of the training.
        extra_channels: EOG and EMG, in the order of the training; None: the closest.
        unit: of arrays.
        smoothing: none, median, hmm or posterior.
        whole: stage the day, too, where a recording is longer than 12 h.
        expert: path of an expert's hypnogram, against which `NightResult.scores` are; None: nobody has scored it.
        species: human, mouse or rat; empty: taken for that of the model.
        lights: when the lights go on and off, "07:00-19:00", for a model that reads it; empty: not known.
        device: cpu, cuda ...; empty: a GPU if there is one.
        show_progress: whether a progress bar is shown.

    Raises:
        FileNotFoundError: no such recording, hypnogram or checkpoint.
        ValueError: as `NightStager.stage`, `read_expert` and `NightResult.add_expert`.
        OSError: the language model cannot be loaded.
    """
    models = find_models(model, llm, with_texts=explain != "none")
    given = match_given_channels(models, channel, extra_channels)
    stager = NightStager(
        models, StagingOptions(explain, given, smoothing, whole, species=species, lights=lights), device
    )
    file = open_source(source, fs_hz, unit)
    model_config = models.classifier.model
    reading = CohortConfig(epoch_s=model_config.epoch_s, species=LABEL_SETS[model_config.label_set].species)
    scored = None if expert is None else read_expert(file, Path(expert), reading)
    night = stager.stage(file, show_progress)
    return night if scored is None else night.add_expert(scored)


def score_night(source: Any, fs_hz: float = 0.0, **options: Any) -> NightResult:
    """Stage one night by the classifier alone; arguments as `stage_night`."""
    return stage_night(source, fs_hz, **options, explain="none")
