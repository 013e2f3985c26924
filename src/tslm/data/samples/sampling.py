"""Samples of a pass: drawn at random in training, evenly spaced in evaluation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from tslm.batch import Batch, Example
from tslm.config.schema import ModelConfig, RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.dataset import TaskDataset
from tslm.data.samples.sample_weights import Gather, SampleLosses, weigh_hardness, weigh_samples
from tslm.seeds import Draw, derive_seed

_CHARACTERS_A_TOKEN = 4  # of English, about
_TOKENS_A_VALUE = 2.4  # of a series as digits, about


class TrainData:
    """Batches that the training loop reads; with `losses`, the next pass is drawn by the losses of this one."""

    losses: SampleLosses | None = None

    def __len__(self) -> int:
        """Return the number of batches per pass, the same on every process."""
        raise NotImplementedError

    def read_pass(self, train_epoch: int, first_batch: int = 0) -> Iterable[Batch]:
        """Yield this process' part of the batches of a pass, starting at `first_batch`."""
        raise NotImplementedError

    def record_losses(self, step: int, batch_idx: int, loss_B: Tensor | None) -> None:
        """Receive the losses of the samples of one batch of the current pass."""

    def close_pass(self, gather: Gather) -> None:
        """End the current pass; called on every process."""
        if self.losses is not None:
            self.losses.close_pass(gather)

    def copy_state(self, gather: Gather) -> dict[str, Tensor]:
        """Return what resuming needs beside the position in the pass; called on every process."""
        return self.losses.copy_state(gather) if self.losses is not None else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the result of `copy_state`."""
        if self.losses is not None:
            self.losses.load_state(state)


class TrainBatches(TrainData):
    """The batches of a run's training passes, as one of its processes reads them.

    A pass is drawn anew for every `train_epoch`, as a whole and alike on all processes; they then share each
    batch. Two processes with two samples each read the same samples as one process with four, augmented in
    the same way. Where `train.bucket_batches` asks for it, batches of a language model hold samples of like length.
    """

    def __init__(
        self,
        dataset: TaskDataset,
        collator: Collator,
        config: RunConfig,
        process_index: int = 0,
        num_processes: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.collator, self.config = dataset, collator, config
        self.process_index, self.num_processes, self.pin_memory = process_index, num_processes, pin_memory
        self.weights_N = weigh_samples(dataset, config.stage)
        wanted = config.stage.num_train_samples or len(dataset)
        self.num_drawn = wanted if self.weights_N is not None else min(wanted, len(dataset))
        self._lengths_N = np.full(len(dataset), np.nan)
        self.losses = SampleLosses(len(dataset)) if config.stage.hard_examples else None
        self._shared_batches: list[list[int]] = []  # of the current pass

    def __len__(self) -> int:
        """Batches a pass, the same number on every process."""
        return -(-self.num_drawn // self._num_shared)

    def draw_pass(self, train_epoch: int) -> list[list[int]]:
        """Draw the sample indices of one pass, in batches of all processes together."""
        rng = np.random.default_rng(derive_seed(self.config.seed, Draw.ORDER, train_epoch))
        drawn = draw_samples(len(self.dataset), self.num_drawn, self._weigh(), rng)
        pool_batches = self.config.train.bucket_batches if self.config.writes_text else 0  # windows are all as long
        if not pool_batches:
            return _cut(drawn, self._num_shared)
        return bucket_by_length(drawn, [self._measure(idx) for idx in drawn], self._num_shared, pool_batches, rng)

    def read_pass(self, train_epoch: int, first_batch: int = 0) -> Iterable[Batch]:
        """Yield this process' part of the batches of a pass; those before `first_batch` are not read."""
        self._shared_batches = self.draw_pass(train_epoch)
        batches = _PassBatches(self, train_epoch, self._shared_batches)
        return DataLoader(
            batches,
            batch_size=None,  # one item is one batch
            sampler=range(first_batch, len(batches)),
            num_workers=self.config.train.num_workers,
            pin_memory=self.pin_memory,
        )

    def record_losses(self, step: int, batch_idx: int, loss_B: Tensor | None) -> None:
        """Receive the losses of the samples of one batch of the current pass."""
        if self.losses is not None:
            own = self._shared_batches[batch_idx][self.process_index :: self.num_processes]
            self.losses.record(step, own, loss_B)

    @property
    def _num_shared(self) -> int:
        return self.config.train.batch_size * self.num_processes

    def _weigh(self) -> np.ndarray | None:
        if self.losses is None or np.isnan(self.losses.known_N).all():
            return self.weights_N
        hardness_N = weigh_hardness(self.losses.known_N, self.config.stage.hard_examples)
        return hardness_N if self.weights_N is None else self.weights_N * hardness_N

    def _measure(self, idx: int) -> float:
        if np.isnan(self._lengths_N[idx]):
            self._lengths_N[idx] = estimate_length(self.dataset[idx], self.config.model)
        return self._lengths_N[idx]


class _PassBatches(Dataset[Batch]):
    """One pass; item n is this process' part of the n-th batch."""

    def __init__(self, source: TrainBatches, train_epoch: int, shared_batches: Sequence[Sequence[int]]) -> None:
        self.source, self.train_epoch, self.shared_batches = source, train_epoch, shared_batches

    def __len__(self) -> int:
        return len(self.shared_batches)

    def __getitem__(self, number: int) -> Batch:
        source, shared = self.source, self.shared_batches[number]
        first = number * source._num_shared
        own = range(source.process_index, len(shared), source.num_processes) or [0]
        # The last batch may hold fewer samples than there are processes: one without keeps step with a sample that
        # does not count.
        is_filler = source.process_index >= len(shared)
        examples = [self._read(shared[place], first + place) for place in own]
        return replace(source.collator(examples), is_filler=is_filler)

    def _read(self, idx: int, position: int) -> Example:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.source.config.seed, Draw.SAMPLE, self.train_epoch, position))
            return self.source.dataset[idx]


class ShareBatches(Dataset[Batch]):
    """Part of the samples that one process reads in evaluation, in order; all processes together read each sample once.

    Every process has as many batches, as sharded models are read in step: one with fewer samples ends with a filler.

    Args:
        dataset: where the samples are.
        indices: of the samples, alike on all processes.
        collator: makes batches of them.
        batch_size: samples a batch.
        process_index: of this process.
        num_processes: of the run.
    """

    def __init__(
        self,
        dataset: TaskDataset,
        indices: Sequence[int],
        collator: Collator,
        batch_size: int,
        process_index: int = 0,
        num_processes: int = 1,
    ) -> None:
        self.dataset, self.indices, self.collator = dataset, indices, collator
        self.batches = _cut(indices[process_index::num_processes], batch_size)
        self.num_batches = len(_cut(indices[::num_processes], batch_size))  # of the first process, which has most

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, number: int) -> Batch:
        if number >= self.num_batches:
            raise IndexError(number)
        is_filler = number >= len(self.batches)
        chosen = self.indices[:1] if is_filler else self.batches[number]
        return replace(self.collator([self.dataset[idx] for idx in chosen]), is_filler=is_filler)


def draw_samples(num_samples: int, wanted: int, weights_N: np.ndarray | None, rng: np.random.Generator) -> list[int]:
    """Sample indices of one pass, in the order in which they are seen.

    Args:
        num_samples: in the split.
        wanted: so many; 0: as many as there are.
        weights_N: chances of the samples, which are then drawn with replacement; None: each at most once.
        rng: draws.
    """
    if weights_N is None:
        return rng.permutation(num_samples)[: wanted or num_samples].tolist()
    return rng.choice(num_samples, wanted or num_samples, p=weights_N / weights_N.sum()).tolist()


def bucket_by_length(
    drawn: Sequence[int], lengths: Sequence[float], batch_size: int, pool_batches: int, rng: np.random.Generator
) -> list[list[int]]:
    """The drawn samples in batches of like length.

    The draws of `pool_batches` batches at a time are sorted by length, cut into batches, and the batches
    shuffled; one that is not full, at the very end of a pass, stays last. Every sample is seen as often as it
    was drawn, so classes stay as balanced as they were.
    """
    batches: list[list[int]] = []
    for pool in _cut(range(len(drawn)), batch_size * pool_batches):
        ranked = sorted(pool, key=lambda place: lengths[place])
        cut = _cut([drawn[place] for place in ranked], batch_size)
        num_full = len(ranked) // batch_size
        batches += [cut[number] for number in [*rng.permutation(num_full).tolist(), *range(num_full, len(cut))]]
    return batches


def estimate_length(example: Example, model: ModelConfig) -> float:
    """About how many positions a sample takes in the language model, without its tokenizer."""
    texts = [example.pre_prompt, example.post_prompt, example.response, *(series.text for series in example.series)]
    num_positions = sum(len(text) for text in texts) / _CHARACTERS_A_TOKEN
    if model.kind.series_as == "slots":
        num_positions += sum(model.count_series_tokens(len(series.values_L)) for series in example.series)
    if model.kind.series_as == "digits":
        num_values = sum(min(len(series.values_L), model.digits.num_values) for series in example.series)
        num_positions += _TOKENS_A_VALUE * num_values
    return num_positions


def sort_by_prompt(dataset: TaskDataset, indices: Sequence[int], model: ModelConfig) -> list[int]:
    """The samples, longest prompt first: batches of similar length, and too little memory fails at the start.

    Samples of equal length keep their order. The response, which a model has yet to write, does not count.
    """

    def measure(idx: int) -> float:
        return estimate_length(replace(dataset[idx], response=""), model)

    return sorted(indices, key=measure, reverse=True)


def spread_subset(dataset: TaskDataset, num_samples: int) -> Subset:
    """`num_samples` (0: all) samples at even distances in file order; the same ones every time."""
    total = len(dataset)
    count = min(num_samples, total) if num_samples else total
    return Subset(dataset, np.unique(np.linspace(0, total - 1, count).astype(int)).tolist())  # type: ignore[arg-type]


def _cut(items: Sequence[int], size: int) -> list[list[int]]:
    return [list(items[first : first + size]) for first in range(0, len(items), size)]
