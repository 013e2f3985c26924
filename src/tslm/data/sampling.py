"""Which samples a pass sees: drawn in training, spread evenly over the set in evaluation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import RandomSampler, Sampler, Subset, WeightedRandomSampler

from tslm.batch import Example
from tslm.config import ModelConfig, StageConfig, TrainConfig
from tslm.data.dataset import StageDataset
from tslm.nn.patch_encoder import count_series_tokens

_CHARACTERS_A_TOKEN = 4  # of English, about


def build_train_sampler(
    dataset: StageDataset, stage: StageConfig, train: TrainConfig, model: ModelConfig, generator: torch.Generator
) -> Sampler[int]:
    """A seeded sampler of `num_train_samples` (0: all), with classes drawn evenly if the stage says so.

    Where `train.bucket_batches` asks for it, samples of like length follow one another (`LengthBuckets`).
    """
    drawn = _build_draws(dataset, stage, generator)
    if not train.bucket_batches:
        return drawn
    return LengthBuckets(
        drawn, lambda idx: estimate_length(dataset[idx], model), train.batch_size, train.bucket_batches, generator
    )


class LengthBuckets(Sampler[int]):
    """The same samples as another sampler draws, in batches of like length.

    The draws of `pool_batches` batches at a time are sorted by length, cut into batches, and the batches
    shuffled. Every sample is still seen as often as it was drawn, so classes stay as balanced as they were.
    """

    def __init__(
        self,
        drawn: Sampler[int],
        measure: Callable[[int], float],
        batch_size: int,
        pool_batches: int,
        generator: torch.Generator,
    ) -> None:
        self.drawn, self.measure = drawn, measure
        self.batch_size, self.pool_batches, self.generator = batch_size, pool_batches, generator

    def __len__(self) -> int:
        return len(self.drawn)  # type: ignore[arg-type]  # the samplers here have a length

    def __iter__(self) -> Iterator[int]:
        pending = list(self.drawn)
        pool_size = self.batch_size * self.pool_batches
        for first in range(0, len(pending), pool_size):
            yield from self._shuffle(pending[first : first + pool_size])

    def _shuffle(self, pool: list[int]) -> Iterator[int]:
        """A batch that is not full, at the very end of a pass, stays last."""
        ranked = sorted(pool, key=self.measure)
        batches = [ranked[first : first + self.batch_size] for first in range(0, len(ranked), self.batch_size)]
        num_full = len(ranked) // self.batch_size
        order = [*torch.randperm(num_full, generator=self.generator).tolist(), *range(num_full, len(batches))]
        for number in order:
            yield from batches[number]


def estimate_length(example: Example, model: ModelConfig) -> float:
    """About how many positions a sample takes in the language model, without its tokenizer."""
    texts = [example.pre_prompt, example.post_prompt, example.response, *(series.text for series in example.series)]
    num_positions = sum(len(text) for text in texts) / _CHARACTERS_A_TOKEN
    if model.has_slots:
        patch_size, merge = model.encoder.patch_size, model.projector.merge
        num_positions += sum(count_series_tokens(len(series.values_L), patch_size, merge) for series in example.series)
    return num_positions


def sort_by_prompt(dataset: StageDataset, indices: Sequence[int], model: ModelConfig) -> list[int]:
    """The samples, longest prompt first: batches of like length, and what needs most memory fails at once.

    Samples of equal length keep their order. The response, which a model has yet to write, does not count.
    """

    def measure(idx: int) -> float:
        return estimate_length(replace(dataset[idx], response=""), model)

    return sorted(indices, key=measure, reverse=True)


def spread_subset(dataset: StageDataset, num_samples: int) -> Subset:
    """`num_samples` (0: all) samples at even distances in file order; the same ones every time."""
    total = len(dataset)
    count = min(num_samples, total) if num_samples else total
    return Subset(dataset, np.unique(np.linspace(0, total - 1, count).astype(int)).tolist())  # type: ignore[arg-type]


def _build_draws(dataset: StageDataset, stage: StageConfig, generator: torch.Generator) -> Sampler[int]:
    num_samples = stage.num_train_samples or len(dataset)
    if stage.balanced:
        counts_K = np.bincount(dataset.class_idx)
        weights = 1.0 / counts_K[dataset.class_idx]
        return WeightedRandomSampler(weights.tolist(), num_samples, replacement=True, generator=generator)
    return RandomSampler(dataset, num_samples=min(num_samples, len(dataset)), generator=generator)
