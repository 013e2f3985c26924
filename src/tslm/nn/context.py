"""Night context: attention pooling of an epoch, and a sequence network over pooled epochs.

Shape letters: B nights, W epochs, N patches, D encoder width, H context width.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tslm.config.schema import ContextConfig
from tslm.nn.sequence_mixers import LocalAttentionLayer, LocalConvLayer, StateSpaceLayer


class AttentionPool(nn.Module):
    """Weighted mean over tokens, weights by a learned query."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, 1)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, D)."""
        return (self.query(tokens_BND).softmax(dim=1) * tokens_BND).sum(dim=1)


class RecurrentContext(nn.Module):
    """GRU or LSTM over pooled epochs, both ways or, if causal, forward alone and as wide; windows and nights alike."""

    def __init__(self, network: type[nn.GRU] | type[nn.LSTM], config: ContextConfig, d_model: int) -> None:
        super().__init__()
        self.width = context_width(config, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(config.dropout)
        recurrence = network(
            d_model,
            self.width if config.causal else config.hidden_size,
            config.num_layers,
            batch_first=True,
            bidirectional=not config.causal,
            dropout=config.dropout if config.num_layers > 1 else 0.0,  # between layers
        )
        self.part = network.__name__.lower()  # weights are called gru or lstm
        self.add_module(self.part, recurrence)

    def forward(self, epochs_BWD: Tensor, epoch_mask_BW: Tensor | None = None) -> Tensor:
        """(B, W, D) -> (B, W, H); epochs outside the recording change no state, their own states are zero."""
        inputs_BWD = self.dropout(self.norm(epochs_BWD))
        with torch.autocast(inputs_BWD.device.type, enabled=False):
            return self.dropout(self._run(inputs_BWD.float(), epoch_mask_BW))

    def step(self, epoch_BD: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One more epoch (B, D), and what `step` kept of those before it -> its state (B, H), and what is kept."""
        states_B1H, state = self.get_submodule(self.part)(self.norm(epoch_BD)[:, None], state)
        return states_B1H[:, 0], state

    def _run(self, inputs_BWD: Tensor, epoch_mask_BW: Tensor | None) -> Tensor:
        network = self.get_submodule(self.part)
        if epoch_mask_BW is None or bool(epoch_mask_BW.all()):
            return network(inputs_BWD)[0]
        order_BW = (~epoch_mask_BW).long().argsort(dim=1, stable=True)  # real epochs first, in time order
        packed = pack_padded_sequence(
            _reorder(inputs_BWD, order_BW), epoch_mask_BW.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False
        )
        states_BWH, _ = pad_packed_sequence(network(packed)[0], batch_first=True, total_length=inputs_BWD.shape[1])
        return _reorder(states_BWH, order_BW.argsort(dim=1))


class LayeredContext(nn.Module):
    """A stack of sequence layers over pooled epochs (the table LAYERS).

    Each layer of attention or convolution reaches half a training window to both sides, a causal convolution a whole
    one back; a state space remembers about as long. So the network is the same on windows and on whole nights, and its
    memory is linear in the night's length.
    """

    def __init__(self, build_layer: "BuildLayer", config: ContextConfig, d_model: int) -> None:
        super().__init__()
        self.width = context_width(config, d_model)
        self.input = nn.Sequential(nn.LayerNorm(d_model), nn.Dropout(config.dropout), nn.Linear(d_model, self.width))
        self.layers = nn.ModuleList([build_layer(config, self.width) for _ in range(config.num_layers)])
        self.norm = nn.LayerNorm(self.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, epochs_BWD: Tensor, epoch_mask_BW: Tensor | None = None) -> Tensor:
        """(B, W, D) -> (B, W, H); epochs outside the recording change no state, their own states are zero."""
        with torch.autocast(epochs_BWD.device.type, enabled=False):
            states_BWH = self.input(epochs_BWD.float())
            for layer in self.layers:
                states_BWH = layer(states_BWH, epoch_mask_BW)
            states_BWH = self.dropout(self.norm(states_BWH))
            return states_BWH if epoch_mask_BW is None else states_BWH.masked_fill(~epoch_mask_BW[..., None], 0)

    def step(self, epoch_BD: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As `RecurrentContext.step`."""
        state_BH, kept = self.input(epoch_BD), []
        for layer, before in zip(self.layers, state or [None] * len(self.layers), strict=True):
            state_BH, after = layer.step(state_BH, before)  # type: ignore[operator]  # torch types parts loosely
            kept.append(after)
        return self.norm(state_BH), kept


def _reorder(values_BWX: Tensor, order_BW: Tensor) -> Tensor:
    return values_BWX.gather(1, order_BW[..., None].expand(-1, -1, values_BWX.shape[2]))


def context_width(config: ContextConfig, d_model: int) -> int:
    """Width of the states of a reader with this context."""
    return 2 * config.hidden_size if config.sees_neighbours else d_model


BuildLayer = Callable[[ContextConfig, int], nn.Module]
LAYERS: dict[str, BuildLayer] = {
    "conv": lambda config, width: LocalConvLayer(width, config.window_epochs // 2, config.dropout, config.causal),
    "ssm": lambda config, width: StateSpaceLayer(
        width, config.state_size, config.window_epochs, config.dropout, config.causal
    ),
    "transformer": lambda config, width: LocalAttentionLayer(
        width, config.num_heads, config.window_epochs // 2, config.dropout
    ),
}
CONTEXTS: dict[str, Callable[[ContextConfig, int], RecurrentContext | LayeredContext]] = {
    "bigru": partial(RecurrentContext, nn.GRU),
    "bilstm": partial(RecurrentContext, nn.LSTM),
    **{kind: partial(LayeredContext, build_layer) for kind, build_layer in LAYERS.items()},
}


def build_context(config: ContextConfig, d_model: int) -> RecurrentContext | LayeredContext | None:
    """The configured context network; None for kinds that do not see neighbours.

    Raises:
        ValueError: an unknown kind, or sizes that do not fit.
    """
    if not config.sees_neighbours:
        return None
    if config.kind not in CONTEXTS:
        raise ValueError(f"unknown model.context.kind {config.kind!r}; one of: none, epoch, {', '.join(CONTEXTS)}")
    return CONTEXTS[config.kind](config, d_model)
