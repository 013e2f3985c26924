import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import cont2discrete
from torch import Tensor, nn

from tslm.nn.sequence_mixers import DiagonalStateSpace, StateSpaceLayer


def build(width: int = 3, state_size: int = 6, longest_memory: float = 20.0) -> DiagonalStateSpace:
    """In double precision, its parameters moved off their start so that none is like another."""
    torch.manual_seed(0)
    space = DiagonalStateSpace(width, state_size, longest_memory).double()
    for param in (space.log_step_H, space.log_decay_HN, space.frequency_HN):
        param.data += 0.3 * torch.randn_like(param)
    return space


def run_step_by_step(space: DiagonalStateSpace, channel: int, direction: int, inputs_W: np.ndarray) -> np.ndarray:
    """One direction of one channel as x' = A x + B u, y = C x: made discrete by scipy, then one place after another."""
    decay_N, frequency_N = (param[channel].detach().numpy() for param in (space.log_decay_HN, space.frequency_HN))
    half_N = -np.exp(decay_N) + 1j * frequency_N
    readout_N = torch.view_as_complex(space.readout_2HNc.detach())[direction, channel].numpy()
    rate = np.diag(np.concatenate([half_N, half_N.conj()]))
    readout = np.concatenate([readout_N, readout_N.conj()])[None]
    step = space.log_step_H[channel].exp().item()
    state_matrix, input_matrix, *_ = cont2discrete(
        (rate, np.ones((len(rate), 1)), readout, np.zeros((1, 1))), step, method="zoh"
    )
    state, outputs = np.zeros((len(rate), 1), dtype=complex), []
    for value in inputs_W:
        state = state_matrix @ state + input_matrix * value
        outputs.append((readout @ state).item())
    assert np.allclose(np.imag(outputs), 0, atol=1e-9)
    return np.real(outputs)


@pytest.mark.parametrize("num_places", [1, 2, 7, 64])
def test_the_convolution_is_the_recurrence_run_step_by_step_both_ways(num_places: int) -> None:
    space = build()
    inputs_BWH = torch.randn(2, num_places, 3, dtype=torch.float64)
    outputs_BWH = space(inputs_BWH).detach().numpy()
    for night in range(2):
        for channel in range(3):
            inputs_W = inputs_BWH[night, :, channel].numpy()
            forth = run_step_by_step(space, channel, 0, inputs_W)
            back = run_step_by_step(space, channel, 1, inputs_W[::-1])[::-1]
            expected = forth + back + float(space.skip_H[channel]) * inputs_W
            assert np.abs(outputs_BWH[night, :, channel] - expected).max() < 1e-6


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 30), st.integers(0, 10), st.integers(0, 10))
def test_silence_before_and_after_changes_nothing(num_places: int, before: int, after: int) -> None:
    space = build()
    inputs = torch.randn(1, num_places, 3, dtype=torch.float64)
    padded = space(nn.functional.pad(inputs, (0, 0, before, after)))
    assert torch.allclose(padded[:, before : before + num_places], space(inputs), atol=1e-9)


def test_single_precision_is_near_double_over_a_whole_night() -> None:
    space = build(8, 32)
    night = torch.randn(1, 1000, 8, dtype=torch.float64)
    exact = space(night)
    assert (space.float()(night.float()) - exact).abs().max() < 1e-4 * exact.abs().max()


def test_channels_start_with_memories_from_a_few_places_to_the_window() -> None:
    space = DiagonalStateSpace(8, 4, 150.0)
    places_H = 1 / (space.log_step_H.exp() * space.log_decay_HN[:, 0].exp())
    assert torch.allclose(places_H[[0, -1]], torch.tensor([4.0, 150.0]))
    assert torch.allclose(places_H.log().diff(), places_H.log().diff().mean().expand(7), atol=1e-5)
    assert bool((DiagonalStateSpace(8, 4, 1.0).log_step_H.exp() == 0.5).all())


def test_a_start_is_as_loud_as_its_input() -> None:
    torch.manual_seed(0)
    spread = DiagonalStateSpace(64, 32, 21)(torch.randn(4, 100, 64)).std()
    assert 0.5 < float(spread) < 3


def moved_places(inputs: Tensor, changed: int) -> list[int]:
    torch.manual_seed(0)
    layer = StateSpaceLayer(4, 4, 20.0, 0.0).eval()
    mask = torch.ones(inputs.shape[:2], dtype=torch.bool)
    other = inputs.clone()
    other[:, changed] = torch.randn(4)
    moved = (layer(other, mask) - layer(inputs, mask)).abs().amax(dim=-1)[0] > 1e-7
    return moved.nonzero().flatten().tolist()


@pytest.mark.parametrize("changed", [0, 5, 9])
def test_every_place_sees_every_other(changed: int) -> None:
    assert moved_places(torch.randn(1, 10, 4), changed) == list(range(10))


@pytest.mark.parametrize("state_size", [0, 1, 7])
def test_a_state_that_cannot_be_halved_is_a_value_error(state_size: int) -> None:
    with pytest.raises(ValueError, match=r"model.context.state_size"):
        DiagonalStateSpace(4, state_size, 20.0)
