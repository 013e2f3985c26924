"""Loss of a model over a validation set that is divided among the processes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from tslm.batch import Batch
from tslm.models.interface import ModelOutput


@dataclass(frozen=True)
class EvalResult:
    """Mean loss per supervised weight, and accuracy."""

    loss: float
    accuracy: float
    num_supervised: float

    @property
    def perplexity(self) -> float:
        """Exponential of the token-weighted mean loss."""
        return math.exp(min(self.loss, 700.0))


@torch.no_grad()
def evaluate_loss(model: torch.nn.Module, batches: Iterable[Batch], accelerator: Accelerator) -> EvalResult:
    """Compute the mean loss over the samples of all processes; each sample counts once.

    The result is NaN if nothing is supervised.
    """
    unwrapped = accelerator.unwrap_model(model)
    was_training = unwrapped.training
    unwrapped.eval()
    totals = torch.zeros(4, dtype=torch.float64, device=accelerator.device)
    for batch in batches:
        with accelerator.autocast():
            output: ModelOutput = unwrapped(batch.to(accelerator.device))
        if batch.is_filler:
            continue
        correct, count = output.num_correct, _count_supervised(batch)
        if correct is None:  # no accuracy is defined for this model
            correct, count = torch.zeros(()), 0.0
        totals += torch.tensor([float(output.loss_sum), float(output.weight_sum), float(correct), count]).to(totals)
    totals = accelerator.reduce(totals, "sum")
    unwrapped.train(was_training)
    loss_sum, weight_sum, correct_sum, count_sum = totals.tolist()
    if not weight_sum:
        return EvalResult(math.nan, math.nan, count_sum)
    return EvalResult(loss_sum / weight_sum, correct_sum / count_sum if count_sum else math.nan, count_sum)


def _count_supervised(batch: Batch) -> float:
    labels = batch.labels_BT if batch.labels_BT is not None else batch.sleep_stage_idx_BW
    assert labels is not None
    return float((labels >= 0).sum())
