"""The night in view: pooling an epoch to one vector, and a sequence network over epochs.

Shape letters: B nights, W epochs, N patches, D encoder width, C context width.
"""

import torch
from torch import Tensor, nn

from tslm.config import ContextConfig


class AttentionPool(nn.Module):
    """Weighted mean over tokens, weights by a learned query."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, 1)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, D)."""
        return (self.query(tokens_BND).softmax(dim=1) * tokens_BND).sum(dim=1)


class BiGRUContext(nn.Module):
    """Bidirectional GRU over pooled epochs; runs on windows and on whole nights alike."""

    def __init__(self, config: ContextConfig, d_model: int) -> None:
        super().__init__()
        self.width = 2 * config.hidden_size
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(d_model, config.hidden_size, batch_first=True, bidirectional=True)

    def forward(self, epochs_BWD: Tensor, epoch_mask_BW: Tensor) -> Tensor:
        """(B, W, D) -> (B, W, C); epochs outside the recording enter as zeros."""
        inputs_BWD = self.dropout(self.norm(epochs_BWD)) * epoch_mask_BW[..., None]
        with torch.autocast(inputs_BWD.device.type, enabled=False):
            return self.dropout(self.gru(inputs_BWD.float())[0])


def build_context(config: ContextConfig, d_model: int) -> BiGRUContext | None:
    """The configured context network, or None."""
    if config.kind == "none":
        return None
    if config.kind == "bigru":
        return BiGRUContext(config, d_model)
    raise ValueError(f"unknown model.context.kind {config.kind!r}; one of: none, bigru")
