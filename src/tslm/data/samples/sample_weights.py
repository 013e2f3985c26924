"""How often a training sample is drawn, by its classes and by how hard it was.

Shape letters: N samples of a split, K classes.
"""

from collections.abc import Sequence

import numpy as np

from tslm.config.schema import SAMPLINGS, CurriculumStageConfig
from tslm.data.samples.dataset import TaskDataset
from tslm.labels import SleepStage, parse_sleep_stage

_LEAST_FACTOR, _LARGEST_FACTOR = 0.25, 4.0  # of a sample's chance, by its loss


def weigh_samples(dataset: TaskDataset, curriculum_stage: CurriculumStageConfig) -> np.ndarray | None:
    """Chances of the samples, (N,) float64 with mean about 1; None: all alike, each to be drawn once a pass.

    A class weighs frequency^-power of `stage.sampling`, times its factor in `stage.oversample`; a sample of
    several scored epochs the mean of these, one without any weighs 1.

    Raises:
        ValueError: the samples have no classes, or a class of `stage.oversample` is none of theirs.
    """
    if curriculum_stage.sampling == "natural" and not curriculum_stage.oversample:
        return None
    counts_NK = dataset.count_sample_classes()
    if not counts_NK.any():
        raise ValueError(
            f"the samples of {curriculum_stage.name} (task {curriculum_stage.task}) have no classes to draw by; "
            "it needs stage.sampling=natural and no stage.oversample"
        )
    weight_K = _weigh_classes(counts_NK.sum(axis=0), curriculum_stage, dataset.sleep_stages)
    num_epochs_N = counts_NK.sum(axis=1)
    return np.where(num_epochs_N > 0, counts_NK @ weight_K / np.maximum(num_epochs_N, 1), 1.0)


def weigh_hardness(losses_N: np.ndarray, strength: float) -> np.ndarray:
    """Factors on the chances of samples by their last known loss, (N,) float64 between 1/4 and 4.

    It is (loss / mean loss)^strength (`stage.hard_examples`). The bounds keep a few wrongly scored epochs, whose
    loss never falls, from taking over.

    Args:
        losses_N: at least 0; NaN where a sample was not seen yet, which gives 1.
        strength: 0 for no difference.
    """
    known_N = np.isfinite(losses_N)
    mean = losses_N[known_N].mean() if known_N.any() else 0.0
    if not (mean and strength):
        return np.ones(len(losses_N))
    ratio_N = np.where(known_N, losses_N / mean, 1.0)
    return np.clip(ratio_N**strength, _LEAST_FACTOR, _LARGEST_FACTOR)


def _weigh_classes(
    num_epochs_K: np.ndarray, curriculum_stage: CurriculumStageConfig, sleep_stages: Sequence[SleepStage]
) -> np.ndarray:
    """Weights with mean 1 over the epochs."""
    frequency_K = num_epochs_K / num_epochs_K.sum()
    weight_K = np.where(frequency_K > 0, np.maximum(frequency_K, 1e-12) ** -SAMPLINGS[curriculum_stage.sampling], 0.0)
    for name, factor in curriculum_stage.oversample.items():
        weight_K[_find_class(name, sleep_stages)] *= factor
    return weight_K / (frequency_K * weight_K).sum()


def _find_class(name: str, sleep_stages: Sequence[SleepStage]) -> int:
    sleep_stage = parse_sleep_stage(name)
    if sleep_stage is None or sleep_stage not in sleep_stages:
        raise ValueError(f"stage.oversample names {name!r}, which is none of: {', '.join(sleep_stages)}")
    return list(sleep_stages).index(sleep_stage)
