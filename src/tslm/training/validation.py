"""The loss of a model over a set that is shared by the processes."""

import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from tslm.batch import Batch
from tslm.models.interface import ModelOutput


@dataclass(frozen=True)
class EvalResult:
    """Mean loss over supervised weight, and the share predicted right."""

    loss: float
    accuracy: float
    num_supervised: float

    @property
    def perplexity(self) -> float:
        """Exponential of the token-weighted mean loss."""
        return math.exp(min(self.loss, 700.0))


@torch.no_grad()
def evaluate_loss(model: torch.nn.Module, loader: DataLoader, accelerator: Accelerator) -> EvalResult:
    """Mean loss over this process' samples and those of the others; each sample counts once.

    NaN where nothing is supervised.
    """
    unwrapped = accelerator.unwrap_model(model)
    was_training = unwrapped.training
    unwrapped.eval()
    totals = torch.zeros(4, dtype=torch.float64, device=accelerator.device)
    for batch in loader:
        with accelerator.autocast():
            output: ModelOutput = unwrapped(batch.to(accelerator.device))
        if batch.is_filler:
            continue
        correct, count = output.num_correct, _count_supervised(batch)
        if correct is None:  # this model has no right and wrong
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
