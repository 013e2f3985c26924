"""Sampling weights of training samples: by class, and by last loss (hard-example mining).

Shape letters: N samples of a split, B samples of a batch, K classes.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tslm.config.schema import SAMPLINGS, CurriculumStageConfig
from tslm.data.samples.dataset import TaskDataset
from tslm.labels import SleepStage, parse_sleep_stage

_LEAST_FACTOR, _LARGEST_FACTOR = 0.25, 4.0  # of a sample's chance, by its loss
_NEVER = -1

Gather = Callable[[Tensor], Tensor]  # concatenates a tensor of every process along the first axis


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


class SampleLosses:
    """Last known loss of every training sample, by which hard samples are drawn more often (`stage.hard_examples`).

    The losses that a pass is drawn by stay constant until the pass ends, so a run that is resumed in the middle of a
    pass draws the same pass again. Between two passes the losses are the same on all processes.

    Args:
        num_samples: of the training split.
    """

    def __init__(self, num_samples: int) -> None:
        self.known_N = np.full(num_samples, np.nan)  # float64, before the pass; NaN = not seen yet
        self._seen_N = np.full(num_samples, np.nan)  # float64, in this pass
        self._step_N = np.full(num_samples, _NEVER)  # int64, step of `_seen_N`
        self._notes: list[tuple[int, list[int], Tensor]] = []

    def record(self, step: int, sample_idx: list[int], loss_B: Tensor | None) -> None:
        """Record the losses of a batch, without waiting for a GPU.

        Raises:
            ValueError: the model returns no losses of single samples.
        """
        if loss_B is None:
            raise ValueError("this model returns no loss of single samples; set stage.hard_examples=0")
        self._notes.append((step, sample_idx, loss_B))

    def close_pass(self, gather: Gather) -> None:
        """Use the losses that all processes saw in this pass to draw the next one; called on all processes."""
        self._share(gather)
        self.known_N = np.where(np.isnan(self._seen_N), self.known_N, self._seen_N)
        self._seen_N[:], self._step_N[:] = np.nan, _NEVER

    def copy_state(self, gather: Gather) -> dict[str, Tensor]:
        """Return what resuming needs, the same on all processes; called on all of them."""
        self._share(gather)
        arrays = {"known": self.known_N, "seen": self._seen_N, "step": self._step_N}
        return {name: torch.from_numpy(values_N.copy()) for name, values_N in arrays.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the result of `copy_state`."""
        self.known_N, self._seen_N, self._step_N = (state[name].numpy().copy() for name in ("known", "seen", "step"))

    def _share(self, gather: Gather) -> None:
        for step, sample_idx, loss_B in self._notes:
            for idx, loss in zip(sample_idx, loss_B.tolist(), strict=True):
                if not np.isnan(loss):
                    self._keep_latest(idx, step, loss)
        self._notes.clear()
        own_1SN = torch.from_numpy(np.stack([self._seen_N, self._step_N])[None])
        for seen_N, step_N in gather(own_1SN).cpu().numpy():
            for idx in np.flatnonzero(step_N != _NEVER).tolist():
                self._keep_latest(idx, int(step_N[idx]), float(seen_N[idx]))

    def _keep_latest(self, idx: int, step: int, loss: float) -> None:
        """Keep the later loss, and of two in one step the larger, so the order of processes does not matter."""
        if (step, loss) > (self._step_N[idx], self._seen_N[idx]):
            self._seen_N[idx], self._step_N[idx] = loss, step


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
