import pytest
import torch
from torch import nn

from tslm.nn.lora_linear import apply_lora_linear


def make(dtype: torch.dtype, with_bias: bool) -> list[torch.Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 5, 12), (20, 12), (20,), (4, 12), (20, 4)]
    x, weight, bias, a, b = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return [x.requires_grad_(), weight, bias if with_bias else None, a.requires_grad_(), b.requires_grad_()]


@pytest.mark.parametrize("with_bias", [False, True])
def test_the_fused_layer_has_the_values_and_gradients_of_its_steps(with_bias: bool) -> None:
    x, weight, bias, a, b = make(torch.float64, with_bias)
    stepwise = nn.functional.linear(x, weight, bias) + 0.5 * nn.functional.linear(nn.functional.linear(x, a), b)
    fused = apply_lora_linear(x, weight, bias, a, b, 0.5)
    assert torch.allclose(fused, stepwise, atol=1e-12)
    wanted = torch.autograd.grad(stepwise.square().sum(), (x, a, b))
    for ours, theirs in zip(torch.autograd.grad(fused.square().sum(), (x, a, b)), wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)


def test_its_gradient_is_that_of_finite_differences() -> None:
    x, weight, bias, a, b = make(torch.float64, with_bias=True)
    assert torch.autograd.gradcheck(lambda *some: apply_lora_linear(some[0], weight, bias, *some[1:], 2.0), (x, a, b))


def test_under_autocast_float32_adapters_get_float32_gradients() -> None:
    x, weight, _, a, b = make(torch.float32, with_bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        y = apply_lora_linear(x, weight.bfloat16(), None, a, b, 0.5)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert a.grad is not None and a.grad.dtype == torch.float32 and b.grad is not None and x.grad is not None


def test_an_input_without_gradient_costs_none() -> None:
    x, weight, bias, a, b = make(torch.float32, with_bias=True)
    apply_lora_linear(x.detach(), weight, bias, a, b, 1.0).sum().backward()
    assert x.grad is None and a.grad is not None
