"""Weights in the layout of the CPU's kernels while a model decodes.

oneDNN lays a bfloat16 weight out anew at every product; a step of decoding multiplies so few rows that this takes a
sixth of its time. The products are bit for bit the same.

Shape letters: O outputs, I inputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tslm.nn.precision import has_bfloat16

LEAST_ROWS = 8  # of a batch; for fewer, laying out takes longer than it saves


@contextmanager
def packed_weights(causal_lm: PreTrainedModel, num_rows: int) -> Iterator[None]:
    """Products with packed copies of the linear layers' weights, where that is faster; inference only.

    Args:
        causal_lm: the language model; one with adapters beside its weights stays as it is.
        num_rows: that are decoded at a time.
    """
    layers: list[nn.Linear] = []
    if num_rows >= LEAST_ROWS and not _has_adapters(causal_lm):
        layers += [module for module in causal_lm.modules() if type(module) is nn.Linear and _can_pack(module)]
    for layer in layers:
        layer.forward = _PackedProduct(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


class _PackedProduct:
    """`x W' + bias` with a packed copy of W."""

    def __init__(self, layer: nn.Linear) -> None:
        self.bias_O = layer.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), LEAST_ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x.to(torch.bfloat16), self.packed, self.bias_O, "none", [], "")


def _can_pack(layer: nn.Linear) -> bool:
    weight_OI = layer.weight
    is_on_cpu = weight_OI.device.type == "cpu" and weight_OI.dtype == torch.bfloat16
    return is_on_cpu and has_bfloat16(weight_OI.device)


def _has_adapters(causal_lm: PreTrainedModel) -> bool:
    return any("lora_" in name for name, _ in causal_lm.named_parameters())
