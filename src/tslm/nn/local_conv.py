"""Convolution that reaches a fixed number of places to either side.

Shape letters: B sequences, W places, H width.
"""

from torch import Tensor, nn


class LocalConvLayer(nn.Module):
    """Pre-norm residual layer: one convolution over neighbouring places, and GELU."""

    def __init__(self, width: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 2 * reach + 1, padding=reach)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_BWH: Tensor, mask_BW: Tensor) -> Tensor:
        """(B, W, H) -> (B, W, H); masked places count as zeros, what comes out there means nothing."""
        inputs_BWH = self.norm(states_BWH).masked_fill(~mask_BW[..., None], 0)
        mixed_BWH = self.conv(inputs_BWH.transpose(1, 2)).transpose(1, 2)
        return states_BWH + self.dropout(nn.functional.gelu(mixed_BWH))
