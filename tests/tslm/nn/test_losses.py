import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torch import Tensor, nn

from tslm.config.schema import LossConfig
from tslm.nn.losses import measure_class_loss

NUM_CLASSES = 5


def draw(seed: int = 0, num_samples: int = 40, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, classes and class weights in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits_NK = scale * torch.randn(num_samples, NUM_CLASSES, generator=generator, dtype=torch.float64)
    truth_N = torch.randint(NUM_CLASSES, (num_samples,), generator=generator)
    return logits_NK, truth_N, torch.rand(NUM_CLASSES, generator=generator, dtype=torch.float64) + 0.1


def one_hot(truth_N: Tensor) -> Tensor:
    return nn.functional.one_hot(truth_N, NUM_CLASSES).double()


def measure(logits_NK: Tensor, target_NK: Tensor, weight_K: Tensor, **settings: Any) -> Tensor:
    return measure_class_loss(logits_NK, target_NK, weight_K, LossConfig(**settings))


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.3])
def test_without_gamma_it_is_torchs_weighted_cross_entropy(smoothing: float) -> None:
    logits, truth, weight = draw()
    expected = nn.functional.cross_entropy(logits, truth, weight, reduction="none", label_smoothing=smoothing)
    ours = measure(logits, one_hot(truth), weight, label_smoothing=smoothing, focal_gamma=0.0)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0, 0.9))
def test_soft_targets_are_torchs_class_probabilities(seed: int, smoothing: float) -> None:
    logits, _, weight = draw(seed, 7)
    target = draw(seed + 1, 7)[0].softmax(-1)
    expected = nn.functional.cross_entropy(logits, target, weight, reduction="none", label_smoothing=smoothing)
    assert torch.allclose(measure(logits, target, weight, label_smoothing=smoothing), expected, rtol=0, atol=1e-12)


def test_its_weighted_mean_is_scikit_learns_log_loss() -> None:
    logits, truth, weight = draw(3)
    expected = log_loss(truth, logits.softmax(-1), sample_weight=weight[truth], labels=range(NUM_CLASSES))
    ours = measure(logits, one_hot(truth), weight).sum() / weight[truth].sum()
    assert float(ours) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_the_published_formula(gamma: float) -> None:
    logits, truth, weight = draw(5)
    p_NK = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    p_N = p_NK[np.arange(len(truth)), truth.numpy()]
    expected_N = -weight.numpy()[truth] * (1 - p_N) ** gamma * np.log(p_N)  # Lin et al. 2017, equation 5
    ours = measure(logits, one_hot(truth), weight, focal_gamma=gamma)
    assert np.allclose(ours.numpy(), expected_N, rtol=1e-9, atol=0)


def test_with_gamma_2_a_class_at_nine_tenths_counts_a_hundredth() -> None:
    p = torch.tensor([[0.9, 0.025, 0.025, 0.025, 0.025]], dtype=torch.float64)
    target, even = one_hot(torch.tensor([0])), torch.ones(NUM_CLASSES, dtype=torch.float64)
    plain, focal = measure(p.log(), target, even), measure(p.log(), target, even, focal_gamma=2.0)
    assert float(focal / plain) == pytest.approx(0.01)  # section 3.2 of the paper


def test_focal_loss_of_a_spread_target_is_the_sum_over_its_classes() -> None:
    logits, _, weight = draw(8, 6)
    target = draw(9, 6)[0].softmax(-1)
    settings = {"focal_gamma": 2.0, "label_smoothing": 0.1}
    whole = measure(logits, target, weight, **settings)
    parts = sum(
        target[:, k] * measure(logits, one_hot(torch.full((6,), k)), weight, **settings) for k in range(NUM_CLASSES)
    )
    assert torch.allclose(whole, parts, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [0.0, 20.0, 200.0, 1e4])
def test_gradients_are_finite_where_the_class_is_certain_or_impossible(
    gamma: float, dtype: torch.dtype, distance: float
) -> None:
    row = [distance] + [0.0] * (NUM_CLASSES - 1)
    logits = torch.tensor([row, row], dtype=dtype, requires_grad=True)
    target = one_hot(torch.tensor([0, 1])).to(dtype)
    loss_N = measure(logits, target, torch.ones(NUM_CLASSES, dtype=dtype), focal_gamma=gamma)
    loss_N.sum().backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all()) and bool(loss_N.isfinite().all())
    assert bool((loss_N >= 0).all())
    assert float(logits.grad[1, 1]) < 0  # what is wrong is still pulled to its class
    if distance == 1e4:
        assert float(logits.grad[0].abs().max()) < 1e-6
        assert loss_N[1].item() == pytest.approx(1e4, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradients_are_those_of_finite_differences(gamma: float) -> None:
    logits, _, weight = draw(2, 4, scale=1.0)
    target = draw(4, 4)[0].softmax(-1)
    settings = LossConfig(focal_gamma=gamma, label_smoothing=0.05)
    assert torch.autograd.gradcheck(
        lambda values: measure_class_loss(values, target, weight, settings), logits.requires_grad_()
    )


def test_a_class_without_weight_draws_nothing_to_it() -> None:
    logits, _, weight = draw(6)
    weight[2] = 0
    logits.requires_grad_()
    target = torch.full((len(logits), NUM_CLASSES), 1 / NUM_CLASSES, dtype=torch.float64)
    measure(logits, target, weight, focal_gamma=2.0).sum().backward()
    assert logits.grad is not None and bool((logits.grad[:, 2] > 0).any())
    plain = logits.detach().requires_grad_()
    measure(plain, target, weight).sum().backward()
    assert plain.grad is not None and bool((plain.grad[:, 2] > 0).all())


@pytest.mark.parametrize(
    ("key", "value"),
    [("focal_gamma", -1.0), ("focal_gamma", math.nan), ("label_smoothing", 1.0), ("boundary_smoothing", -0.1)],
)
def test_a_setting_out_of_range_is_named(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"loss.{key}="):
        LossConfig(**{key: value})
