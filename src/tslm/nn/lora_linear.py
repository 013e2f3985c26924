"""A frozen linear layer with low-rank adapters as one operation (LoRA, Hu et al. 2021, equation 3).

Step by step the same takes two more passes over the layer's output forward and two more over its
input's gradient backward; here the adapter's products are added where the layer's stand already.

Shape letters: N positions, I inputs, O outputs, R rank.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def apply_lora_linear(
    x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
) -> Tensor:
    """`x W' + bias + scale x A' B'`, (..., I) -> (..., O); W and bias get no gradient.

    Under autocast all products are in its type, as torch's own linear layer has them.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_OI.dtype
    bias = None if bias_O is None else bias_O.to(dtype)
    return _LoRALinear.apply(x.to(dtype), weight_OI.to(dtype), bias, a_RI.to(dtype), b_OR.to(dtype), scale)


class _LoRALinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        x_NI = x.reshape(-1, x.shape[-1])
        low_NR = (x_NI @ a_RI.T).mul_(scale)
        y_NO = x_NI @ weight_OI.T if bias_O is None else torch.addmm(bias_O, x_NI, weight_OI.T)
        y_NO.addmm_(low_NR, b_OR.T)
        ctx.save_for_backward(x_NI, low_NR, weight_OI, a_RI, b_OR)
        ctx.scale, ctx.x_shape = scale, x.shape
        return y_NO.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, low_NR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        grad_NO = grad.reshape(len(x_NI), -1)
        grad_low_NR = (grad_NO @ b_OR).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_NO @ weight_OI).addmm_(grad_low_NR, a_RI).view(ctx.x_shape)
        return grad_x, None, None, grad_low_NR.T @ x_NI, grad_NO.T @ low_NR, None
