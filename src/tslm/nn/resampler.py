"""Perceiver resampler: a series of any length to a fixed number of latents (Alayrac et al. 2022).

Shape letters: S series, J series of a sample, N patches, M latents, D width, A heads x head size.
"""

import math

import torch
from torch import Tensor, nn

from tslm.config.schema import FlamingoConfig


class Resampler(nn.Module):
    """Learned latents read the patches of a series, layer by layer."""

    def __init__(self, config: FlamingoConfig, d_model: int) -> None:
        super().__init__()
        self.width = d_model
        self.latents_MD = nn.Parameter(torch.randn(config.num_latents, d_model) * 0.02)
        self.layers = nn.ModuleList([_ResamplerLayer(config, d_model) for _ in range(config.resampler_layers)])
        self.norm = nn.LayerNorm(d_model)

    def forward(self, tokens_SND: Tensor, is_real_SN: Tensor) -> Tensor:
        """Latents of each series.

        Args:
            tokens_SND: (S, N, D) encoded patches.
            is_real_SN: (S, N) bool, False where a patch lies past the end of its series.

        Returns:
            (S, M, D), each latent with mean 0 and variance 1 at the start of training.
        """
        latents_SMD = self.latents_MD.expand(len(tokens_SND), -1, -1)
        for layer in self.layers:
            latents_SMD = layer(latents_SMD, tokens_SND, is_real_SN)
        return self.norm(latents_SMD)


class _ResamplerLayer(nn.Module):
    """Latents attend to patches and to one another, then each by itself."""

    def __init__(self, config: FlamingoConfig, d_model: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        width = config.num_heads * config.head_size
        self.token_norm, self.latent_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.to_query = nn.Linear(d_model, width, bias=False)
        self.to_key_value = nn.Linear(d_model, 2 * width, bias=False)
        self.out = nn.Linear(width, d_model, bias=False)
        self.feed_forward = build_feed_forward(d_model, config.ff_factor)

    def forward(self, latents_SMD: Tensor, tokens_SND: Tensor, is_real_SN: Tensor) -> Tensor:
        normed_SMD = self.latent_norm(latents_SMD)
        read_SXD = torch.cat([self.token_norm(tokens_SND), normed_SMD], dim=1)
        mask_SX = nn.functional.pad(is_real_SN, (0, normed_SMD.shape[1]), value=True)
        key, value = self.to_key_value(read_SXD).chunk(2, dim=-1)
        attended_SAMd = nn.functional.scaled_dot_product_attention(
            split_heads(self.to_query(normed_SMD), self.num_heads),
            split_heads(key, self.num_heads),
            split_heads(value, self.num_heads),
            attn_mask=mask_SX[:, None, None],
        )
        latents_SMD = latents_SMD + self.out(join_heads(attended_SAMd))
        return latents_SMD + self.feed_forward(latents_SMD)


def number_series(num_series: int, width: int) -> Tensor:
    """Embedding of a series' number within its sample: (J, D) sinusoids (Vaswani et al. 2017, section 3.5)."""
    half = (width + 1) // 2
    rate_F = torch.exp(-math.log(10_000) / half * torch.arange(half))
    angle_JF = torch.arange(num_series)[:, None] * rate_F
    return torch.cat([angle_JF.sin(), angle_JF.cos()], dim=1)[:, :width]


def build_feed_forward(width: int, factor: int) -> nn.Sequential:
    """LayerNorm, a hidden layer of `factor` times the width with GELU, and back; no bias, as in the paper."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, factor * width, bias=False),
        nn.GELU(),
        nn.Linear(factor * width, width, bias=False),
    )


def split_heads(values_SNA: Tensor, num_heads: int) -> Tensor:
    """(S, N, heads x size) -> (S, heads, N, size)."""
    return values_SNA.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def join_heads(values_SHNd: Tensor) -> Tensor:
    """(S, heads, N, size) -> (S, N, heads x size)."""
    return values_SHNd.transpose(1, 2).flatten(2)
