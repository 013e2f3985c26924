"""Which samples a pass sees: drawn in training, spread evenly over the set in evaluation."""

import numpy as np
import torch
from torch.utils.data import RandomSampler, Sampler, Subset, WeightedRandomSampler

from tslm.config import StageConfig
from tslm.data.dataset import StageDataset


def build_train_sampler(dataset: StageDataset, stage: StageConfig, generator: torch.Generator) -> Sampler[int]:
    """A seeded sampler of `num_train_samples` (0: all), with classes drawn evenly if the stage says so."""
    num_samples = stage.num_train_samples or len(dataset)
    if stage.balanced:
        counts_K = np.bincount(dataset.class_idx)
        weights = 1.0 / counts_K[dataset.class_idx]
        return WeightedRandomSampler(weights.tolist(), num_samples, replacement=True, generator=generator)
    return RandomSampler(dataset, num_samples=min(num_samples, len(dataset)), generator=generator)


def spread_subset(dataset: StageDataset, num_samples: int) -> Subset:
    """`num_samples` (0: all) samples at even distances in file order; the same ones every time."""
    total = len(dataset)
    count = min(num_samples, total) if num_samples else total
    return Subset(dataset, np.unique(np.linspace(0, total - 1, count).astype(int)).tolist())  # type: ignore[arg-type]
