"""Datasets of Examples from prepared data, and the table of tasks that a curriculum stage may name.

1. `build_dataset` finds the folder of a split and reads it by the row of `stage.task`.
2. A dataset holds the samples in file order. `dataset[i]` is an Example; `describe(i)` is what the predictions file
   says about it.
3. tslm.data.samples.sampling chooses the samples of a training pass and their order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tslm.answers.grammar import render_response
from tslm.batch import IGNORE_INDEX, Example, NightWindow, Reference, Series
from tslm.config.files import suggest
from tslm.config.schema import STATING_FACTS, CurriculumStageConfig, ModelConfig, RunConfig
from tslm.data.events import recording_events
from tslm.data.evidence import find_prepared_evidence, read_evidence
from tslm.data.prepared.corpora import CorpusSample, read_corpus
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.corpus_dataset import CorpusDataset, SleepCotDataset, one_hot
from tslm.data.samples.corpus_facts import list_ecg_evidence, state_ecg_facts, state_series_facts
from tslm.data.samples.night_windows import (
    augment_window,
    build_targets,
    check_timing,
    cut_sleep_stage_indices,
    cut_window,
    index_sleep_stages,
    load_recordings,
    measure_references,
)
from tslm.evidence.events import MIN_FS_HZ, render_events
from tslm.evidence.facts_line import phrase_facts, render_facts_line
from tslm.evidence.measure import EVIDENCE_COLUMNS
from tslm.evidence.words import epoch_facts
from tslm.labels import ANSWER_NAMES, LABEL_SETS, SleepStage, species_group
from tslm.prompts import (
    Prompt,
    render_caption_prompt,
    render_choice_prompt,
    render_ecg_prompt,
    render_series_text,
    render_sleep_prompt,
)

References = Sequence[tuple[Reference, ...]]  # of each recording, those of its channels


class TaskDataset(Protocol):
    """Samples of one split of one curriculum stage."""

    sleep_stages: tuple[SleepStage, ...]  # the classes of its samples; empty where these have none

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, idx: int) -> Example:
        """One sample."""

    def describe(self, idx: int) -> dict[str, Any]:
        """What is known of a sample, for the predictions file."""

    def count_sample_classes(self) -> np.ndarray:
        """(num_samples, num_classes) int64: how many scored epochs of each class a sample supervises."""


class RecordingsDataset:
    """Samples around an epoch of prepared recordings: `samples` holds the position of each, (night, epoch).

    `references` are those of the recordings' channels, for parts of nights; None: measured on the recordings.
    """

    samples: list[tuple[int, int]]
    window_epochs: int

    def __init__(self, recordings: list[Recording], config: RunConfig, references: References | None = None) -> None:
        check_timing(recordings, config.model)
        self.recordings, self.channels = recordings, config.stage.channels
        self.label_set = LABEL_SETS[config.model.label_set]
        self.sleep_stages = self.label_set.sleep_stages
        self.references = references or [measure_references(recording, self.channels) for recording in recordings]
        self.sleep_stage_idx = [index_sleep_stages(recording, self.label_set) for recording in recordings]
        self.targets = build_targets(recordings, self.sleep_stage_idx, self.label_set, config.loss)

    def __len__(self) -> int:
        return len(self.samples)

    def count_classes(self) -> np.ndarray:
        """(num_classes,) scored epochs per class."""
        scored = np.concatenate(self.sleep_stage_idx)
        return np.bincount(scored[scored != IGNORE_INDEX], minlength=len(self.sleep_stages))

    def _cut_window(self, night: int, epoch: int) -> NightWindow:
        return cut_window(
            self.recordings[night],
            self.channels,
            self.sleep_stage_idx[night],
            epoch,
            self.window_epochs,
            self.references[night],
            self.targets[night],
        )


class SleepDataset(RecordingsDataset):
    """One sample per epoch that the label set can answer, with its neighbours in a window.

    With `unscored`, every epoch is a sample; one without an expert's sleep stage has no answer. With `varied`, for
    training, some prompts lack the facts, single facts, or the signal (`stage.facts_dropout`, ...).
    """

    def __init__(
        self,
        recordings: list[Recording],
        config: RunConfig,
        unscored: bool = False,
        varied: bool = False,
        references: References | None = None,
    ) -> None:
        super().__init__(recordings, config, references)
        self.stage, self.varied = config.stage, varied
        self._evidence: dict[int, dict[str, np.ndarray]] = {}  # of the nights whose facts were asked for
        self.style = config.stage.prompt_style
        self.text_channels = self.channels if config.stage.extra_in_text else self.channels[:1]
        context = config.model.context
        alone = 1 if context.kind == "epoch" else 0
        self.window_epochs = context.window_epochs if context.sees_neighbours else alone
        self.samples = [
            (night, int(epoch))
            for night, idx in enumerate(self.sleep_stage_idx)
            for epoch in np.flatnonzero((idx != IGNORE_INDEX) | unscored)
        ]
        self.class_idx = np.array([self.sleep_stage_idx[night][epoch] for night, epoch in self.samples], dtype=np.int64)

    def __getitem__(self, idx: int) -> Example:
        return self.build_example(*self.samples[idx])

    def build_example(self, night: int, epoch: int) -> Example:
        """Any epoch of a night; one that is not scored has no answer."""
        recording = self.recordings[night]
        answer = ANSWER_NAMES.get(recording.sleep_stages[epoch], "")
        inputs = self._draw_inputs()
        facts = self._state_facts(night, epoch) if inputs != "series" else ""
        prompt = render_sleep_prompt(self.label_set.answers, recording.epoch_s, self.style, facts)
        series = [
            self._series(recording, epoch, channel_idx, self.references[night][channel_idx])
            for channel_idx in range(len(self.text_channels))
        ]
        return Example(
            sample_id=recording.name_epoch(epoch),
            pre_prompt=prompt.pre_prompt,
            series=tuple(series) if inputs != "facts" else (),
            post_prompt=prompt.post_prompt,
            response=render_response(_rationale(recording, epoch), answer),
            answer=answer,
            options=self.label_set.answers,
            window=self._cut_window(night, epoch) if self.window_epochs else None,
            reads_night=inputs != "facts",
        )

    def describe(self, idx: int) -> dict[str, Any]:
        """Recording, subject, epoch, measured evidence and its events, and whether the split leaks."""
        night, epoch = self.samples[idx]
        recording = self.recordings[night]
        evidence = {name: float(values_E[epoch]) for name, values_E in self.read_evidence(night).items()}
        is_measured = evidence.keys() >= set(EVIDENCE_COLUMNS) and recording.fs_hz >= MIN_FS_HZ
        of_one = slice(epoch, epoch + 1)
        events = recording_events(recording, self.stage.channel, of_one) if is_measured else []
        return {
            "recording": recording.recording,
            "subject": recording.subject,
            "epoch_idx": int(epoch),
            "onset_s": float(recording.onset_s[epoch]),
            "evidence": evidence,
            "inputs": self.stage.given,
            **({"events": render_events(events[0])} if events else {}),
            "leaky": recording.split.leaks,
            **({"within_subject": True} if recording.split.is_within_subject else {}),
        }

    def count_sample_classes(self) -> np.ndarray:
        """(num_samples, num_classes): the class of the epoch that is asked about."""
        return one_hot(self.class_idx, len(self.sleep_stages))

    def read_evidence(self, night: int) -> dict[str, np.ndarray]:
        """Evidence of the staged channel of a night, (E,) each; none of a prepared night where nothing asks for it."""
        if night not in self._evidence:
            read = read_evidence if self.stage.given in STATING_FACTS else find_prepared_evidence
            self._evidence[night] = read(self.recordings[night], self.stage.channel)
        return self._evidence[night]

    def _draw_inputs(self) -> str:
        """What the next prompt holds: all, facts or series."""
        given = self.stage.given
        if not (self.varied and given == "all"):
            return given
        draw = _draw_uniform()
        if draw < self.stage.facts_dropout:
            return "series"
        return "facts" if draw >= 1 - self.stage.series_dropout else "all"

    def _state_facts(self, night: int, epoch: int) -> str:
        facts = epoch_facts(self.read_evidence(night), epoch)
        group = species_group(self.recordings[night].species)
        names = [name for section in phrase_facts(facts, group) for name in section]
        left_out = [name for name in names if self.varied and _draw_uniform() < self.stage.fact_dropout]
        return render_facts_line(facts, group, left_out)

    def _series(self, recording: Recording, epoch: int, channel_idx: int, reference: Reference) -> Series:
        name = self.text_channels[channel_idx]
        values_L, unit = recording.channels[name][epoch], recording.units.get(name, "uV")
        text = render_series_text(name, float(values_L.mean()), float(values_L.std()), unit)
        return Series(values_L, text, reference, channel_idx)


class NightDataset(RecordingsDataset):
    """Windows of consecutive epochs for the classifier, half a window apart, so that each epoch has neighbours.

    With `augmented`, the signal of every window drawn is changed by `config.augment`. With `unlabelled`, windows
    without any scored epoch are samples too.
    """

    def __init__(
        self, recordings: list[Recording], config: RunConfig, augmented: bool = False, unlabelled: bool = False
    ) -> None:
        super().__init__(recordings, config)
        self.augment = config.augment if augmented else None
        self.window_epochs = config.model.context.window_epochs if config.model.context.sees_neighbours else 1
        step = max(1, self.window_epochs // 2)
        self.samples = [
            (night, centre)
            for night, recording in enumerate(recordings)
            for centre in range(min(step // 2, recording.num_epochs // 2), recording.num_epochs, step)
            if unlabelled
            or (cut_sleep_stage_indices(recording, self.sleep_stage_idx[night], centre, self.window_epochs) >= 0).any()
        ]

    def __getitem__(self, idx: int) -> Example:
        night, centre = self.samples[idx]
        recording, window = self.recordings[night], self._cut_window(night, centre)
        if self.augment is not None:
            window = augment_window(window, recording.fs_hz, self.augment)
        return Example(recording.name_epoch(centre), "", (), "", "", "", self.label_set.answers, window)

    def describe(self, idx: int) -> dict[str, Any]:
        """Recording and centre of the window."""
        night, centre = self.samples[idx]
        return {"recording": self.recordings[night].recording, "epoch_idx": int(centre)}

    def count_sample_classes(self) -> np.ndarray:
        """(num_samples, num_classes) scored epochs of each window."""
        counts_NK = np.zeros((len(self.samples), len(self.sleep_stages)), dtype=np.int64)
        for counts_K, (night, centre) in zip(counts_NK, self.samples, strict=True):
            idx_W = cut_sleep_stage_indices(
                self.recordings[night], self.sleep_stage_idx[night], centre, self.window_epochs
            )
            counts_K += np.bincount(idx_W[idx_W != IGNORE_INDEX], minlength=len(counts_K))
        return counts_NK


def build_dataset(config: RunConfig, split: str) -> TaskDataset:
    """The samples of one split of a curriculum stage.

    Raises:
        FileNotFoundError: the prepared data is missing; the message names the command that makes it.
        ValueError: an unknown task, an empty split, a missing channel, or a subject in two splits.
    """
    folder = config.stage.data_dir(split)
    dataset = find_task(config.stage).read(config, folder, split)
    if not len(dataset):
        raise ValueError(f"{folder} holds no sample of split {split!r} that {config.stage.name} can use")
    return dataset


def state_timing(model: ModelConfig, dataset: TaskDataset) -> ModelConfig:
    """The model's config with rate and epoch length of the nights it is trained on; unchanged for other samples.

    Raises:
        ValueError: the nights have more than one rate or epoch length.
    """
    recordings: Sequence[Recording] = getattr(dataset, "recordings", ())
    if not recordings:
        return model
    model = replace(model, fs_hz=recordings[0].fs_hz, epoch_s=recordings[0].epoch_s)
    check_timing(recordings, model)
    return model


def _read_sleep(config: RunConfig, folder: Path, split: str) -> TaskDataset:
    recordings = _load_channels(config, folder, split)
    if split == "train":
        _check_described(recordings, config.stage.channel)
    return SleepDataset(recordings, config, varied=split == "train")


def _read_nights(config: RunConfig, folder: Path, split: str, unlabelled: bool = False) -> TaskDataset:
    return NightDataset(_load_channels(config, folder, split), config, split == "train", unlabelled)


def _load_channels(config: RunConfig, folder: Path, split: str) -> list[Recording]:
    return load_recordings(folder, split, config.stage.channels, config.stage.fold)


def _corpus_reader(
    render_prompt: Callable[[CorpusSample], Prompt],
    state_facts: Callable[[CorpusSample], str],
    list_evidence: Callable[[CorpusSample], dict[str, float]] | None = None,
) -> Callable[[RunConfig, Path, str], TaskDataset]:
    def read(config: RunConfig, folder: Path, split: str) -> CorpusDataset:
        corpus, has_facts = read_corpus(folder, split), has_facts_line(config.stage)
        if has_facts and not corpus.states_rate:
            raise ValueError(
                f"the {split} corpus in {folder} does not state the sampling rate of its series, which "
                "stage.facts=measured needs; prepare the corpus again, or set stage.facts=none"
            )
        return CorpusDataset(corpus, render_prompt, state_facts if has_facts else None, list_evidence)

    return read


@dataclass(frozen=True)
class Task:
    """One row of the table of tasks: what a curriculum stage teaches, and how its answers are scored."""

    read: Callable[[RunConfig, Path, str], TaskDataset]  # (config, folder, split): samples with their prompts
    metric: str  # sleep, accuracy, perplexity or reconstruction
    reads_recordings: bool = False  # prepared recordings; others read a corpus
    facts: str = ""  # default of stage.facts, measured or none; empty: the task has no line of facts
    source: str = ""  # of the recordings whose unnamed subjects the corpus holds; empty: none

    @property
    def stages_sleep(self) -> bool:
        """Whether the answers are sleep stages of epochs."""
        return self.metric == "sleep"


TASKS: dict[str, Task] = {
    "sleep": Task(_read_sleep, "sleep", reads_recordings=True, facts="measured"),
    "night": Task(_read_nights, "sleep", reads_recordings=True),
    "unlabelled": Task(partial(_read_nights, unlabelled=True), "reconstruction", reads_recordings=True),
    "choice": Task(
        _corpus_reader(lambda sample: render_choice_prompt(sample.question, sample.options), state_series_facts),
        "accuracy",
        facts="none",
    ),
    "caption": Task(
        _corpus_reader(lambda _sample: render_caption_prompt(), state_series_facts), "perplexity", facts="none"
    ),
    "ecg": Task(
        _corpus_reader(
            lambda sample: render_ecg_prompt(sample.question, sample.options, bool(sample.rationale)),
            state_ecg_facts,
            list_ecg_evidence,
        ),
        "accuracy",
        facts="none",
    ),
    "sleep_cot": Task(
        lambda config, folder, split: SleepCotDataset(read_corpus(folder, split), config), "sleep", source="sleep_edf"
    ),
}


def find_task(curriculum_stage: CurriculumStageConfig) -> Task:
    """The row of a curriculum stage's task; ValueError where there is none of that name."""
    if curriculum_stage.task not in TASKS:
        raise ValueError(f"unknown stage.task {curriculum_stage.task!r}; {suggest(curriculum_stage.task, list(TASKS))}")
    return TASKS[curriculum_stage.task]


def _check_described(recordings: Sequence[Recording], channel: str) -> None:
    """ValueError where rationales to learn from describe another channel than the one that is staged."""
    for recording in recordings:
        if "rationale" in recording.columns and recording.measured_channel != channel:
            raise ValueError(
                f"{recording.recording}: its rationales describe {recording.measured_channel!r}, stage.channel is "
                f"{channel!r}; prepare the cohort with {channel!r} as its first channel"
            )


def _draw_uniform() -> float:
    """A number from 0 to 1 of torch's generator, which training seeds by sample."""
    import torch

    return float(torch.rand(()))


def has_facts_line(curriculum_stage: CurriculumStageConfig) -> bool:
    """Whether prompts state what was measured (`stage.facts`); ValueError where the task has nothing to state."""
    default = find_task(curriculum_stage).facts
    if curriculum_stage.facts == "measured" and not default:
        raise ValueError(
            f"stage.facts=measured: the task {curriculum_stage.task} has no facts to state; set it to none"
        )
    return (curriculum_stage.facts or default) == "measured"


def _rationale(recording: Recording, epoch: int) -> str:
    rationales = recording.columns.get("rationale")
    return rationales[epoch] if isinstance(rationales, list) else ""
