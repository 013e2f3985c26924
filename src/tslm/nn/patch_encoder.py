"""Patch-Transformer encoder of a series (the guide's section on the time-series encoder).

Shape letters: S series, L signal samples, N patches, D model width.
"""

import torch
from torch import Tensor, nn

from tslm.config.schema import EncoderConfig
from tslm.nn.front_ends import build_front_end


class PatchEncoder(nn.Module):
    """Front end, learned positions, LayerNorm, post-norm Transformer layers with GELU."""

    def __init__(self, config: EncoderConfig, num_views: int = 1) -> None:
        super().__init__()
        self.patch_size, self.max_patches, self.d_model = config.patch_size, config.max_patches, config.d_model
        self.front_end = build_front_end(config, num_views)
        self.positions_1ND = nn.Parameter(torch.randn(1, config.max_patches, config.d_model) * 0.02)
        self.input_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        layer = EncoderLayer(
            config.d_model, config.num_heads, config.d_ff, config.dropout, activation="gelu", batch_first=True
        )
        self.layers = None  # the published Flamingo's encoder ends with the patches
        if config.num_layers:
            self.layers = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)

    def forward(self, series_SL: Tensor, lengths_S: Tensor | None = None, offset_SD: Tensor | None = None) -> Tensor:
        """Encode series.

        Args:
            series_SL: (S, L) normalised signal, or (S, V, L) in V views, zero-padded on the right.
            lengths_S: (S,) samples that are real; None when all are.
            offset_SD: (S, D) added to every patch of a series: the embedding of its channel; None: nothing.

        Returns:
            (S, N, D) with N = ceil(L / patch_size); tokens past a series' own end are zero.

        Raises:
            ValueError: a series is longer than the position table.
        """
        real_S = None if lengths_S is None else count_real_patches(lengths_S, self.patch_size)
        return self.attend(self.front_end(self.pad(series_SL), real_S), real_S, offset_SD)

    def pad(self, series_SL: Tensor) -> Tensor:
        """Series zero-padded to whole patches; ValueError when they exceed the position table."""
        num_patches = count_patches(series_SL.shape[-1], self.patch_size)
        check_num_patches(num_patches, self.max_patches)
        return nn.functional.pad(series_SL, (0, num_patches * self.patch_size - series_SL.shape[-1]))

    def attend(self, patches_SND: Tensor, real_S: Tensor | None = None, offset_SD: Tensor | None = None) -> Tensor:
        """Tokens of embedded patches, (S, N, D): positions, LayerNorm and Transformer layers.

        Args:
            patches_SND: (S, N, D).
            real_S: (S,) patches that are real; None when all are.
            offset_SD: as for `forward`.
        """
        num_patches = patches_SND.shape[1]
        patches_SND = patches_SND + self.positions_1ND[:, :num_patches]
        if offset_SD is not None:
            patches_SND = patches_SND + offset_SD[:, None]
        padding_SN = None
        if real_S is not None and bool((real_S < num_patches).any()):
            padding_SN = torch.arange(num_patches, device=patches_SND.device) >= real_S[:, None]
        tokens_SND = self.dropout(self.input_norm(patches_SND))
        if self.layers is not None:
            tokens_SND = self.layers(tokens_SND, src_key_padding_mask=padding_SN)
        return tokens_SND if padding_SN is None else tokens_SND.masked_fill(padding_SN[..., None], 0)


class EncoderLayer(nn.TransformerEncoderLayer):
    """torch's post-norm layer, with the same weights and results, several times faster on a CPU.

    torch's own turns (S, N, D) into a view that the CPU's bfloat16 product copies its weights for, and in
    evaluation holds attention weights of all series and heads at once.
    """

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """(S, N, D) -> (S, N, D); the key padding mask is added to the scores, (S, N)."""
        assert src_mask is None and not is_causal, "patches see each other both ways"
        x_SND = self.norm1(src + self.dropout1(self._attend(src, src_key_padding_mask)))
        return self.norm2(x_SND + self._ff_block(x_SND))

    def _attend(self, x_SND: Tensor, key_bias_SN: Tensor | None) -> Tensor:
        attention = self.self_attn
        qkv = nn.functional.linear(x_SND, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_SHNd = nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if key_bias_SN is None else key_bias_SN[:, None, None].to(query.dtype),
            dropout_p=attention.dropout if self.training else 0.0,
        )
        return attention.out_proj(mixed_SHNd.transpose(1, 2).flatten(2))


def count_patches(num_samples: int, patch_size: int) -> int:
    """Patches of a series; the last one may be partly padding."""
    return -(-num_samples // patch_size)


def count_real_patches(lengths_S: Tensor, patch_size: int) -> Tensor:
    """As `count_patches`, of each series of a batch: (S,)."""
    return torch.div(lengths_S + patch_size - 1, patch_size, rounding_mode="floor")


def check_num_patches(num_patches: int, max_patches: int) -> None:
    """Raise ValueError when a series does not fit the position table."""
    if num_patches > max_patches:
        raise ValueError(
            f"a series of {num_patches} patches exceeds the table of {max_patches} positions; "
            "raise model.encoder.max_patches or model.encoder.patch_size"
        )
