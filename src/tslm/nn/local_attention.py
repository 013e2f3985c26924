"""Attention that reaches a fixed number of places to either side, in memory linear in the sequence.

Shape letters: B sequences, W places, H width, A heads, K places in reach of one (the place itself in the middle).
"""

import torch
from torch import Tensor, nn

_FF_FACTOR = 4  # width of the feed-forward part over that of the layer, as in Vaswani et al. (2017)


class LocalAttentionLayer(nn.Module):
    """Pre-norm Transformer layer whose attention knows places by their distance alone.

    The bias of each head starts as a slope over distance (ALiBi, Press et al. 2022) and is learned for
    every distance, before and after apart.
    """

    def __init__(self, width: int, num_heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(
                f"a context of width {width} cannot be shared by {num_heads} heads; change model.context.num_heads or "
                "hidden_size (half the width)"
            )
        self.num_heads, self.reach = num_heads, reach
        self.attention_norm, self.ff_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.in_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias_AK = nn.Parameter(_slopes(num_heads)[:, None] * -torch.arange(-reach, reach + 1).abs())
        self.ff = nn.Sequential(
            nn.Linear(width, _FF_FACTOR * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(_FF_FACTOR * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_BWH: Tensor, mask_BW: Tensor) -> Tensor:
        """(B, W, H) -> (B, W, H); masked places are not looked at, what comes out there means nothing."""
        attended_BWH = self._attend(self.attention_norm(states_BWH), mask_BW)
        states_BWH = states_BWH + self.dropout(self.out_proj(attended_BWH))
        return states_BWH + self.dropout(self.ff(self.ff_norm(states_BWH)))

    def _attend(self, inputs_BWH: Tensor, mask_BW: Tensor) -> Tensor:
        query_BWH, key_BWH, value_BWH = self.in_proj(inputs_BWH).chunk(3, dim=-1)
        query = query_BWH.unflatten(-1, (self.num_heads, -1))[:, :, :, None]  # (B, W, A, 1, H/A)
        key, value = self._neighbours(key_BWH), self._neighbours(value_BWH)  # (B, W, A, K, H/A)
        seen_BWK = nn.functional.pad(mask_BW, (self.reach, self.reach)).unfold(1, 2 * self.reach + 1, 1).clone()
        seen_BWK[..., self.reach] = True  # a masked place sees itself, for a softmax over nothing is not a number
        bias = self.bias_AK[:, None].masked_fill(~seen_BWK[:, :, None, None], -torch.inf)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return attended.flatten(2)

    def _neighbours(self, values_BWH: Tensor) -> Tensor:
        padded = nn.functional.pad(values_BWH, (0, 0, self.reach, self.reach))
        in_reach_BWHK = padded.unfold(1, 2 * self.reach + 1, 1)
        return in_reach_BWHK.unflatten(2, (self.num_heads, -1)).transpose(-1, -2)


def _slopes(num_heads: int) -> Tensor:
    """ALiBi's slopes: a geometric series down to 1/256."""
    return 2.0 ** (-8.0 * torch.arange(1, num_heads + 1) / num_heads)
