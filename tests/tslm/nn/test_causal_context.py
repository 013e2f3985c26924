import pytest
import torch

from tests.factories.small import build_small_model, small_config
from tslm.config.schema import ContextConfig
from tslm.nn.context import build_context

KINDS = ("bigru", "bilstm", "conv", "ssm")


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_context_knows_nothing_of_what_follows(kind: str) -> None:
    torch.manual_seed(0)
    config = ContextConfig(kind, hidden_size=8, num_layers=2, window_epochs=7, causal=True)
    context = build_context(config, 16).eval()
    epochs_BWD = torch.randn(2, 20, 16)
    changed_BWD = epochs_BWD.clone()
    changed_BWD[:, 12:] = torch.randn(2, 8, 16)
    mask_BW = torch.ones(2, 20, dtype=torch.bool)
    with torch.no_grad():
        states, moved = context(epochs_BWD, mask_BW), context(changed_BWD, mask_BW)
    torch.testing.assert_close(states[:, :12], moved[:, :12], atol=1e-5, rtol=0)
    assert (states[:, 12] - moved[:, 12]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_steps_give_what_the_whole_night_gives(kind: str) -> None:
    config = small_config(model__name="classifier", model__context__kind=kind, model__context__causal=True)
    context = build_small_model(config).reader.context
    epochs_BWD, state, states = torch.randn(2, 50, 16), None, []
    with torch.no_grad():
        whole_BWH = context(epochs_BWD)
        for epoch_BD in epochs_BWD.unbind(1):
            state_BH, state = context.step(epoch_BD, state)
            states.append(state_BH)
    torch.testing.assert_close(torch.stack(states, dim=1), whole_BWH, atol=1e-5, rtol=0)


def test_a_transformer_is_not_causal() -> None:
    with pytest.raises(ValueError, match=r"model.context.causal=true with kind transformer; wanted one of"):
        ContextConfig("transformer", causal=True)
