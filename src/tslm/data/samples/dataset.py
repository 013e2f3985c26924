"""The table of tasks that a curriculum stage may name, and the dataset of a split of one.

1. `build_dataset` finds the folder of a split and reads it by the row of `stage.task`.
2. A dataset holds the samples in file order. `dataset[i]` is an Example; `describe(i)` is what the predictions file
   says about it.
3. tslm.data.samples.sampling chooses the samples of a training pass and their order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tslm.batch import Example
from tslm.config.files import suggest
from tslm.config.schema import CurriculumStageConfig, ModelConfig, RunConfig
from tslm.data.cohorts.suitability import check_recordings
from tslm.data.prepared.corpora import CorpusSample, read_corpus
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.corpus_dataset import CorpusDataset, SleepCotDataset
from tslm.data.samples.corpus_facts import list_ecg_evidence, state_ecg_facts, state_series_facts
from tslm.data.samples.night_windows import (
    load_recordings,
)
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.prompts import (
    Prompt,
    render_caption_prompt,
    render_choice_prompt,
    render_ecg_prompt,
)


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


def build_dataset(config: RunConfig, split: str, unscored: str = "none") -> TaskDataset:
    """The samples of one split of a curriculum stage.

    Args:
        config: of the run.
        split: train, val or test.
        unscored: which epochs without an expert's stage are samples, too (`night_windows.UNSCORED`); for answers alone.

    Raises:
        FileNotFoundError: the prepared data is missing; the message names the command that makes it.
        ValueError: an unknown task, an empty split, one without a scored epoch, a missing channel, or a subject in two
            splits.
    """
    folder, task = config.stage.data_dir(split), find_task(config.stage)
    more = (unscored,) if task.reads_recordings else ()
    dataset = task.read(config, folder, split, *more)
    if not len(dataset):
        recordings = getattr(dataset, "recordings", ())
        why = f": none of its {len(recordings)} recordings has an epoch with an expert's stage" if recordings else ""
        raise ValueError(f"{folder} holds no sample of split {split!r} that {config.stage.name} can use{why}")
    return dataset


def count_labels(dataset: TaskDataset) -> dict[str, int]:
    """Number of scored epochs by sleep stage, each epoch once; empty where samples have no classes."""
    count_classes = getattr(dataset, "count_classes", None)  # of nights, whose windows overlap
    counts = dataset.count_sample_classes().sum(axis=0) if count_classes is None else count_classes()
    return {
        ANSWER_NAMES[sleep_stage]: int(count) for sleep_stage, count in zip(dataset.sleep_stages, counts, strict=True)
    }


def describe_labels(num_samples: int, counts: Mapping[str, int]) -> str:
    """One line for people, such as `20 samples; Wake 5 (50.0 %), N2 5 (50.0 %)`."""
    total = max(1, sum(counts.values()))
    shares = ", ".join(f"{label} {count} ({100 * count / total:.1f} %)" for label, count in counts.items())
    return f"{num_samples} samples" + (f"; {shares}" if shares else "")


def describe_nights(model: ModelConfig, dataset: TaskDataset) -> ModelConfig:
    """The model's config with rate, epoch length, typical spectrum and sites of the nights it is trained on.

    It is unchanged for other samples.

    Raises:
        ValueError: the nights have more than one rate or epoch length.
    """
    recordings: Sequence[Recording] = getattr(dataset, "recordings", ())
    if not recordings:
        return model
    model = replace(
        model,
        fs_hz=recordings[0].fs_hz,
        epoch_s=recordings[0].epoch_s,
        typical_spectrum=dataset.typical_spectrum,  # type: ignore[attr-defined]
        domains=dataset.domains,  # type: ignore[attr-defined]
    )
    check_recordings(recordings, model)
    return model


def _read_sleep(config: RunConfig, folder: Path, split: str, unscored: str = "none") -> TaskDataset:
    recordings = _load_channels(config, folder, split)
    if split == "train":
        _check_described(recordings, config.stage.channel)
    return SleepDataset(recordings, config, unscored, varied=split == "train")


def _read_nights(
    config: RunConfig, folder: Path, split: str, _unscored: str = "none", *, unlabelled: bool = False
) -> TaskDataset:
    return NightDataset(_load_channels(config, folder, split), config, split == "train", unlabelled)


def _load_channels(config: RunConfig, folder: Path, split: str) -> list[Recording]:
    return load_recordings(folder, split, config.stage.channels, config.stage.fold, config.train.memory_gb)


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

    # (config, folder, split), of recordings also which unscored epochs are samples: samples with their prompts
    read: Callable[..., TaskDataset]
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


def has_facts_line(curriculum_stage: CurriculumStageConfig) -> bool:
    """Whether prompts state what was measured (`stage.facts`); ValueError where the task has nothing to state."""
    default = find_task(curriculum_stage).facts
    if curriculum_stage.facts == "measured" and not default:
        raise ValueError(
            f"stage.facts=measured: the task {curriculum_stage.task} has no facts to state; set it to none"
        )
    return (curriculum_stage.facts or default) == "measured"
