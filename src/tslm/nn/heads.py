"""Heads of a classifier, and the reversal of gradients.

Shape letters: N samples, H state width, K classes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tslm.labels import LabelSet


class OrdinalHead(nn.Module):
    """A cumulative link model: classes in an order, told apart by thresholds on one score.

    P(class <= k) = sigmoid(threshold_k - score), the proportional odds model of McCullagh (1980, J. R. Stat. Soc. B 42,
    equation 2.1). Thresholds ascend by construction. The outputs are ln probabilities, whose softmax is the
    probabilities again, so that losses, calibration and smoothing take them as they take the logits of a linear head.

    Args:
        width: H.
        order: the place of each class in the order; a permutation of 0 to K - 1, K at least 2.
    """

    place_K: Tensor

    def __init__(self, width: int, order: Sequence[int]) -> None:
        super().__init__()
        num_classes = len(order)
        assert num_classes > 1 and sorted(order) == list(range(num_classes)), "the order is no permutation"
        self.score = nn.Linear(width, 1, bias=False)
        self.first_threshold = nn.Parameter(torch.tensor(-float(num_classes - 2)))
        self.gaps = nn.Parameter(torch.full((num_classes - 2,), 2.0))  # before a softplus: thresholds about 2 apart
        self.register_buffer("place_K", torch.tensor(order), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """(..., H) -> ln probabilities (..., K) in the order of the label set."""
        gaps = nn.functional.softplus(self.gaps)
        thresholds = self.first_threshold + nn.functional.pad(gaps.cumsum(0), (1, 0))
        margins = thresholds - self.score(state)  # (..., K - 1)
        below = nn.functional.logsigmoid(margins)  # ln P(class <= k)
        above = nn.functional.logsigmoid(-margins)  # ln P(class > k)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)) keeps its digits where both are near 0 or 1.
        between = below[..., 1:] + above[..., :-1] + torch.log(-torch.expm1(-gaps))
        ordered = torch.cat([below[..., :1], between, above[..., -1:]], dim=-1)
        return ordered.index_select(-1, self.place_K)


HEADS: dict[str, Callable[[int, LabelSet], nn.Module]] = {
    "linear": lambda width, label_set: nn.Linear(width, len(label_set.answers)),
    "ordinal": lambda width, label_set: OrdinalHead(width, label_set.places),
}


def reverse_gradient(values: Tensor, weight: float) -> Tensor:
    """The same values, whose gradient goes back times -`weight` (Ganin and Lempitsky 2015, equations 14 and 15)."""
    return _ReverseGradient.apply(values, weight)


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def build_domain_head(width: int, num_domains: int) -> nn.Sequential:
    """Logits (N, num_domains) of the site that a state (N, H) comes from."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_domains))
