from typing import Any

import pytest
import torch
from torch import nn

from tslm.config.schema import ContextConfig
from tslm.nn.context import CONTEXTS, LAYERS, build_context
from tslm.nn.sequence_mixers import LocalAttentionLayer

KINDS = pytest.mark.parametrize("kind", CONTEXTS)
LOCAL_KINDS = pytest.mark.parametrize("kind", ["conv", "transformer"])
D_MODEL = 16


def build(kind: str, **changes: Any) -> nn.Module:
    """A context network of random weights, larger than at its start so that all of them matter."""
    torch.manual_seed(0)
    context = build_context(ContextConfig(**{"kind": kind, "hidden_size": 8, "window_epochs": 9, **changes}), D_MODEL)
    assert context is not None
    for param in context.parameters():
        nn.init.normal_(param, std=0.4)
    return context.eval()


def whole(num_epochs: int, num_nights: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(num_nights, num_epochs, D_MODEL), torch.ones(num_nights, num_epochs, dtype=torch.bool)


@KINDS
@pytest.mark.parametrize("num_layers", [1, 2])
@torch.no_grad()
def test_epochs_outside_the_recording_change_no_state_inside_it_and_have_none(kind: str, num_layers: int) -> None:
    context = build(kind, num_layers=num_layers)
    epochs, mask = whole(9, 3)
    mask[1, :4], mask[2, 6:] = False, False
    states = context(epochs, mask)
    assert states.shape == (3, 9, 16)
    assert torch.allclose(states[0], context(epochs[:1], mask[:1])[0], atol=1e-6)
    assert torch.allclose(states[1, 4:], context(epochs[1:2, 4:], mask[1:2, 4:])[0], atol=1e-6)
    assert torch.allclose(states[2, :6], context(epochs[2:, :6], mask[2:, :6])[0], atol=1e-6)
    assert bool((states[~mask] == 0).all())


@KINDS
@torch.no_grad()
def test_a_short_night_in_a_wide_window_is_the_night_itself(kind: str) -> None:
    context = build(kind, num_layers=2, window_epochs=25)
    night, everything = whole(10)
    window, mask = torch.zeros(1, 25, D_MODEL), torch.zeros(1, 25, dtype=torch.bool)
    window[0, 6:16], mask[0, 6:16] = night[0], True
    assert torch.allclose(context(window, mask)[0, 6:16], context(night, everything)[0], atol=1e-5)


@LOCAL_KINDS
@pytest.mark.parametrize(("window_epochs", "reach"), [(9, 4), (8, 4), (1, 0), (2, 1)])
@torch.no_grad()
def test_on_a_whole_night_a_local_context_sees_what_the_middle_of_a_training_window_does(
    window_epochs: int, reach: int, kind: str
) -> None:
    context = build(kind, window_epochs=window_epochs)
    night, mask = whole(30)
    states = context(night, mask)
    for centre in (reach, 13, 29 - reach):
        window = slice(centre - reach, centre + reach + 1)
        assert torch.allclose(states[0, centre], context(night[:, window], mask[:, window])[0, reach], atol=1e-5)
    changed = night.clone()
    changed[0, 13] *= -1
    moved = (context(changed, mask) - states).abs().amax(dim=-1)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == list(range(13 - reach, 13 + reach + 1))


@LOCAL_KINDS
@torch.no_grad()
def test_two_layers_reach_twice_as_far(kind: str) -> None:
    context = build(kind, num_layers=2)
    night, mask = whole(30)
    changed = night.clone()
    changed[0, 13] *= -1
    moved = (context(changed, mask) - context(night, mask)).abs().amax(dim=-1)[0] > 1e-7
    assert moved.nonzero().flatten().tolist() == list(range(13 - 8, 13 + 9))


@torch.no_grad()
def test_local_attention_is_full_attention_under_a_band_and_a_bias() -> None:
    torch.manual_seed(0)
    layer = LocalAttentionLayer(16, 4, reach=3, dropout=0.0).eval()
    nn.init.normal_(layer.bias_AK)
    states, mask = whole(12)
    mask[0, 9:] = False
    distance = torch.arange(12)[None] - torch.arange(12)[:, None]
    bias = layer.bias_AK[:, (distance + 3).clamp(0, 6)].masked_fill(distance.abs() > 3, -torch.inf)
    query, key, value = (
        part.unflatten(-1, (4, 4)).transpose(1, 2)
        for part in layer.in_proj(layer.attention_norm(states)).chunk(3, dim=-1)
    )
    scores = (query @ key.transpose(-1, -2) / 2 + bias).masked_fill(~mask[:, None, None], -torch.inf)
    attended = states + layer.out_proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    expected = attended + layer.ff(layer.ff_norm(attended))
    assert torch.allclose(layer(states, mask)[:, :9], expected[:, :9], atol=1e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_night_is_seen_in_memory_that_grows_with_its_length_only(kind: str) -> None:
    context = build(kind, window_epochs=25)
    sizes = []
    for num_epochs in (400, 800):
        epochs, mask = whole(num_epochs)
        held: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, held=held: held.append(tensor.nelement()) or tensor, lambda tensor: tensor
        ):
            context(epochs, mask)
        sizes.append(sum(held))
    assert sizes[1] < 2.01 * sizes[0]


@KINDS
@pytest.mark.parametrize("num_layers", [1, 3])
def test_every_layer_and_every_weight_of_it_learns(kind: str, num_layers: int) -> None:
    context = build(kind, num_layers=num_layers).train()
    epochs, mask = whole(9, 2)
    mask[0, :3] = False
    context(epochs, mask).square().sum().backward()
    assert all(
        param.grad is not None and bool(torch.isfinite(param.grad).all()) and bool(param.grad.any())
        for param in context.parameters()
    )
    single = sum(param.numel() for param in build(kind).parameters())
    assert (sum(param.numel() for param in context.parameters()) > 1.5 * single) == (num_layers == 3)


@KINDS
@torch.no_grad()
def test_states_stay_in_full_precision_under_autocast(kind: str) -> None:
    context = build(kind)
    epochs, mask = whole(9)
    with torch.autocast("cpu", torch.bfloat16):
        states = context(epochs, mask)
    assert states.dtype == torch.float32
    assert torch.allclose(states, context(epochs, mask), atol=1e-5)


@torch.no_grad()
def test_the_lstm_is_torchs_own_over_normalised_epochs() -> None:
    context = build("bilstm", num_layers=2)
    epochs, mask = whole(9)
    network = nn.LSTM(D_MODEL, 8, 2, batch_first=True, bidirectional=True)
    network.load_state_dict(context.lstm.state_dict())
    assert torch.allclose(context(epochs, mask), network(context.norm(epochs))[0], atol=1e-6)


def test_heads_that_do_not_share_the_width_evenly_are_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"model.context.num_heads"):
        build("transformer", num_heads=3)
