"""What every model gives to the training loop: loss sums and groups of parameters."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class ModelOutput:
    """Sums, so that the loop can normalise over processes and accumulation.

    `loss_sum / weight_sum` is the mean loss; weight_sum counts supervised tokens (language model)
    or the class weights of the scored epochs (classifier).
    """

    loss_sum: Tensor  # scalar, float32
    weight_sum: Tensor  # scalar, float32, no gradient
    num_correct: Tensor | None = None  # scalar; tokens or epochs predicted right
    loss_B: Tensor | None = None  # float32, no gradient: mean loss of each sample, NaN without supervision


def build_param_groups(parts: dict[str, tuple[Iterable[nn.Parameter], float]], weight_decay: float) -> list[dict]:
    """One AdamW group a part: name -> (parameters, rate); parts without trained parameters are left out."""
    groups = []
    for name, (parameters, rate) in parts.items():
        params = [param for param in parameters if param.requires_grad]
        if params:
            groups.append({"name": name, "params": params, "lr": rate, "weight_decay": weight_decay})
    return groups


def mean_by_sample(loss_N: Tensor, weight_N: Tensor, counted_BP: Tensor) -> Tensor:
    """Weighted mean loss of each sample, (B,) without gradient; NaN for one without weight.

    Args:
        loss_N: weighted loss at the N places where `counted_BP` is True, in its order.
        weight_N: weight of each of these places.
        counted_BP: bool, places (tokens, epochs) of each sample.
    """
    zeros_BP = loss_N.new_zeros(counted_BP.shape)
    loss_B, weight_B = (
        zeros_BP.masked_scatter(counted_BP, values_N.detach()).sum(-1) for values_N in (loss_N, weight_N)
    )
    return loss_B / weight_B


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No graph through a part that is not trained."""
    with nullcontext() if is_trained(module) else torch.no_grad():
        yield


def is_trained(module: nn.Module) -> bool:
    """Whether anything in it has a gradient."""
    return any(param.requires_grad for param in module.parameters())
