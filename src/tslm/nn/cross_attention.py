"""Tanh-gated cross-attention from text to series (Alayrac et al. 2022, section 3.2).

Shape letters: B samples, T sequence positions, M latents of a sample, D latent width, E LLM width, H heads,
d head size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tslm.config.schema import FlamingoConfig
from tslm.nn.resampler import build_feed_forward, join_heads, split_heads


@dataclass(frozen=True)
class VisibleLatents:
    """Keys and values of a block, and which of them each position sees."""

    key_BHMd: Tensor  # of `read_latents`
    value_BHMd: Tensor
    visible_BTM: Tensor  # bool; a position that sees nothing gets zero from the attention


class GatedCrossAttention(nn.Module):
    """Cross-attention and a feed-forward part, each added to the residual stream through a gate that starts at zero.

    With `relative_gates` what is added is scaled by the RMS of the hidden state: residual streams differ a
    hundredfold between language models and between the layers of one. Without, it is added as in the paper.
    """

    def __init__(self, config: FlamingoConfig, d_llm: int, d_latent: int) -> None:
        super().__init__()
        self.num_heads, self.relative_gates = config.num_heads, config.relative_gates
        width = config.num_heads * config.head_size
        self.norm = nn.LayerNorm(d_llm)
        self.to_query = nn.Linear(d_llm, width, bias=False)
        self.to_key_value = nn.Linear(d_latent, 2 * width, bias=False)
        self.out = nn.Linear(width, d_llm, bias=False)
        self.feed_forward = build_feed_forward(d_llm, config.ff_factor)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.feed_forward_gate = nn.Parameter(torch.zeros(1))

    def read_latents(self, latents_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the latents, both (B, H, M, d); the same for all positions and decoding steps."""
        key_BMA, value_BMA = self.to_key_value(latents_BMD).chunk(2, dim=-1)
        return split_heads(key_BMA, self.num_heads), split_heads(value_BMA, self.num_heads)

    def forward(self, hidden_BTE: Tensor, visible: VisibleLatents | None) -> Tensor:
        """The residual stream, (B, T, E) in any floating type, with attention to the latents added.

        Without latents, and where a position sees none, the attention adds nothing.
        """
        own_type = self.norm.weight.dtype  # the language model's may be another, bfloat16 beside float32
        if visible is not None:
            attended_BTE = self._attend(self.norm(hidden_BTE.to(own_type)), visible)
            hidden_BTE = self._add_gated(hidden_BTE, attended_BTE, self.attention_gate)
        return self._add_gated(hidden_BTE, self.feed_forward(hidden_BTE.to(own_type)), self.feed_forward_gate)

    def _attend(self, normed_BTE: Tensor, visible: VisibleLatents) -> Tensor:
        sees_any_BT1 = visible.visible_BTM.any(dim=-1, keepdim=True)
        attended_BHTd = nn.functional.scaled_dot_product_attention(
            split_heads(self.to_query(normed_BTE), self.num_heads),
            visible.key_BHMd,
            visible.value_BHMd,
            attn_mask=(visible.visible_BTM | ~sees_any_BT1)[:, None],  # a softmax over nothing would be NaN
        )
        return self.out(join_heads(attended_BHTd).masked_fill(~sees_any_BT1, 0))

    def _add_gated(self, hidden_BTE: Tensor, added_BTE: Tensor, gate: Tensor) -> Tensor:
        scale_BT1 = gate.tanh()
        if self.relative_gates:
            scale_BT1 = scale_BT1 * hidden_BTE.detach().float().pow(2).mean(dim=-1, keepdim=True).sqrt()
        return hidden_BTE + (scale_BT1 * added_BTE).to(hidden_BTE.dtype)
