"""Inputs of the baselines: training nights, test nights, and the epochs to answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tslm.data.prepared.recordings import Recording
from tslm.data.samples.night_windows import read_nights
from tslm.labels import LabelSet
from tslm.predictions.rows import PredictionRow, build_night_rows


class UnfitNightsError(ValueError):
    """The baseline does not support nights of this kind; the message names those that it supports."""


Scorer = Callable[[], Iterator[PredictionRow]]


@dataclass(frozen=True)
class Nights:
    """The recordings of one split of a cohort, read one at a time."""

    cohort_dir: Path
    split: str
    channels: tuple[str, ...]  # the EEG first, then optional EOG and EMG
    fold: int = -1

    def read(self, with_signals: bool = True) -> Iterator[Recording]:
        """Each recording; errors as `tslm.data.samples.night_windows.load_recordings`."""
        return read_nights(self.cohort_dir, self.split, self.channels if with_signals else (), self.fold)


@dataclass(frozen=True)
class TextSettings:
    """Settings of a language model without an encoder."""

    llm: str = "smollm2-135m"  # short name of configs/llm, hub id or folder
    num_digit_values: int = 0  # values per epoch; 0: the model's default
    free_answers: bool = False  # generate text; otherwise the answer is the most likely label
    max_new_tokens: int = 0  # of free answers; 0: the curriculum stage's
    batch_size: int = 0  # 0: the run's
    device: str = "cpu"


@dataclass(frozen=True)
class BaselineInputs:
    """Training nights, and the epochs to answer."""

    train: Nights
    test: Nights
    label_set: LabelSet
    species: str  # group of both: human or rodent
    sample_ids: frozenset[str]  # of the epochs to answer
    text: TextSettings = field(default_factory=TextSettings)
    seed: int = 0


def answer_nights(
    inputs: BaselineInputs, system: str, score_night: Callable[[Recording], np.ndarray], with_signals: bool
) -> Scorer:
    """Build a scorer that reads the test nights one by one and answers the given epochs.

    Args:
        inputs: with the test nights.
        system: name in the rows.
        score_night: (num_epochs, num_stages) probabilities of a whole night.
        with_signals: whether it needs more than the recording's times.
    """

    def answer() -> Iterator[PredictionRow]:
        for recording in inputs.test.read(with_signals):
            for row in build_night_rows(recording, score_night(recording), inputs.label_set, system=system):
                if row["sample_id"] in inputs.sample_ids:
                    yield row

    return answer


def spread_epochs(sample_ids: Sequence[str], num_epochs: int, seed: int) -> frozenset[str]:
    """Choose `num_epochs` of the epochs (0: all), evenly spaced in time, from a start drawn by the seed."""
    total = len(sample_ids)
    if not num_epochs or num_epochs >= total:
        return frozenset(sample_ids)
    positions = (np.arange(num_epochs) + np.random.default_rng(seed).uniform()) * total / num_epochs
    return frozenset(sample_ids[position] for position in positions.astype(int))
