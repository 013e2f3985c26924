"""The parts that models share: the encoder of series, and the reader of epochs with pooling and night context.

Shape letters: B nights, W epochs, C channels, L signal samples, D encoder width, H context width,
F numbers of an epoch beside its signal.
"""

import torch
from torch import Tensor, nn

from tslm.config.schema import ModelConfig
from tslm.data.samples.inputs import count_inputs
from tslm.nn.context import AttentionPool, build_context, context_width
from tslm.nn.patch_encoder import PatchEncoder, count_patches
from tslm.signals.normalize import count_views

_TOKENS_AT_ONCE = 1 << 14  # without a graph


class SeriesReader(nn.Module):
    """Encodes series of all channels.

    All channels go through one encoder. Channels beside the first carry a learned offset, which distinguishes an EOG
    from an EEG.
    """

    def __init__(self, config: ModelConfig, num_channels: int) -> None:
        super().__init__()
        d_model = config.encoder.d_model
        self.num_channels = num_channels
        self.encoder = PatchEncoder(config.encoder, count_views(config.normalization))
        self.channel_offset_CD = nn.Parameter(torch.zeros(num_channels - 1, d_model)) if num_channels > 1 else None

    def encode_series(self, series_SL: Tensor, lengths_S: Tensor | None, channel_S: Tensor | None = None) -> Tensor:
        """Tokens of single series, (S, L) -> (S, N, D).

        Args:
            series_SL: (S, L) normalised signal, or (S, V, L) in V views, zero-padded on the right.
            lengths_S: (S,) samples that are real; None when all are.
            channel_S: (S,) channel of the night window, 0 also for other series; None: all 0.
        """
        return self.encoder(series_SL, lengths_S, self.channel_offsets(channel_S))

    def channel_offsets(self, channel_S: Tensor | None) -> Tensor | None:
        """(S, D) learned offset of each series' channel, zero for the first; None without channels."""
        if self.channel_offset_CD is None or channel_S is None:
            return None
        return nn.functional.pad(self.channel_offset_CD, (0, 0, 1, 0))[channel_S]


class EpochReader(SeriesReader):
    """Encodes epochs, pools each to a vector and looks at its neighbours.

    Each channel is pooled by its own query and the pooled channels are mixed to one vector. One state
    dict fits every model, so an encoder trained as a classifier moves into a language model unchanged. What is read
    beside the signal (`model.inputs`) is added to the mixed vector by a linear map, which is zero at the start.
    """

    def __init__(self, config: ModelConfig, num_channels: int) -> None:
        super().__init__(config, num_channels)
        d_model = config.encoder.d_model
        self.pools = nn.ModuleList([AttentionPool(d_model) for _ in range(num_channels)])
        self.mix = nn.Linear(num_channels * d_model, d_model) if num_channels > 1 else None
        # Stands for what is pooled of a channel that a recording lacks.
        self.missing_CD = None
        if config.channel_dropout and num_channels > 1:
            self.missing_CD = nn.Parameter(torch.zeros(num_channels - 1, d_model))
        self.inputs = nn.Linear(count_inputs(config.inputs), d_model) if config.inputs else None
        if self.inputs is not None:
            nn.init.zeros_(self.inputs.weight)
            nn.init.zeros_(self.inputs.bias)
        self.view_dropout = config.view_dropout
        self.context = build_context(config.context, d_model)
        self.state_width = context_width(config.context, d_model)

    def forward(
        self,
        window_BWCL: Tensor,
        epoch_mask_BW: Tensor,
        channel_mask_BC: Tensor | None = None,
        inputs_BWF: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, W, C, L) or (B, W, C, V, L) normalised epochs -> pooled epochs (B, W, D) and states (B, W, H).

        Without a context network the states are the pooled epochs themselves. `channel_mask_BC` is False where a
        recording lacks a channel (None: all are there), which only a model with `model.channel_dropout` can read.
        `inputs_BWF` are the numbers beside the signal of a model with `model.inputs`.
        """
        num_nights, num_epochs = window_BWCL.shape[:2]
        if channel_mask_BC is None:
            channel_mask_BC = torch.ones(num_nights, self.num_channels, dtype=torch.bool, device=window_BWCL.device)
        assert self.missing_CD is not None or bool(channel_mask_BC.all()), "a channel is missing that the model needs"
        there_EC = channel_mask_BC.repeat_interleave(num_epochs, dim=0)
        if self.training and self.view_dropout and window_BWCL.dim() == 5:
            window_BWCL = _drop_views(window_BWCL, self.view_dropout)
        epochs_ECL = window_BWCL.flatten(0, 1)
        # A whole night at 750 tokens an epoch takes gigabytes; chunks do not help where a graph keeps them.
        num_tokens = epochs_ECL.shape[1] * count_patches(epochs_ECL.shape[-1], self.encoder.patch_size)
        num_at_once = len(epochs_ECL) if torch.is_grad_enabled() else max(1, _TOKENS_AT_ONCE // num_tokens)
        chunks = zip(epochs_ECL.split(num_at_once), there_EC.split(num_at_once), strict=True)
        pooled_ED = torch.cat([self.pool(*chunk) for chunk in chunks])
        pooled_ED = self.add_inputs(pooled_ED, None if inputs_BWF is None else inputs_BWF.flatten(0, 1))
        pooled_BWD = pooled_ED.unflatten(0, (num_nights, num_epochs))
        return pooled_BWD, self.look_around(pooled_BWD, epoch_mask_BW)

    def look_around(self, pooled_BWD: Tensor, epoch_mask_BW: Tensor | None = None) -> Tensor:
        """Pooled epochs (B, W, D) -> states (B, W, H); without a mask all epochs are real."""
        return pooled_BWD if self.context is None else self.context(pooled_BWD, epoch_mask_BW)

    def add_inputs(self, pooled_ED: Tensor, inputs_EF: Tensor | None) -> Tensor:
        """Pooled epochs with what is read beside their signal, (E, D); the same without `model.inputs`."""
        assert (inputs_EF is None) == (self.inputs is None), "numbers beside the signal go with model.inputs alone"
        return pooled_ED if self.inputs is None else pooled_ED + self.inputs(inputs_EF)

    def pool(self, epochs_ECL: Tensor, there_EC: Tensor) -> Tensor:
        """Each epoch by itself, (E, C, L) or (E, C, V, L) -> (E, D); `there_EC` is False where a channel lacks."""
        num_epochs, num_channels = epochs_ECL.shape[:2]
        assert num_channels == self.num_channels, f"{num_channels} channels for a reader of {self.num_channels}"
        channel_S = torch.arange(num_channels, device=epochs_ECL.device).repeat(num_epochs)
        tokens_SND = self.encode_series(epochs_ECL.flatten(0, 1), None, channel_S)
        tokens_ECND = tokens_SND.unflatten(0, (num_epochs, num_channels))
        pooled = [pool(tokens_ECND[:, channel]) for channel, pool in enumerate(self.pools)]
        if self.mix is None:
            return pooled[0]
        if self.missing_CD is not None:
            missing_CD = nn.functional.pad(self.missing_CD, (0, 0, 1, 0)).to(pooled[0].dtype)
            pooled = [torch.where(there_EC[:, [idx]], each, missing_CD[idx]) for idx, each in enumerate(pooled)]
        return self.mix(torch.cat(pooled, dim=-1))


def _drop_views(window_BWCVL: Tensor, share: float) -> Tensor:
    """Set one view, drawn at random, to zero in this share of the nights' channels, in all their epochs."""
    num_nights, _, num_channels, num_views = window_BWCVL.shape[:4]
    is_lost_BC = torch.rand(num_nights, num_channels, device=window_BWCVL.device) < share
    lost_BC = torch.randint(num_views, (num_nights, num_channels), device=window_BWCVL.device)
    views_V = torch.arange(num_views, device=window_BWCVL.device)
    is_kept_BCV = ~is_lost_BC[..., None] | (lost_BC[..., None] != views_V)
    return window_BWCVL * is_kept_BCV[:, None, ..., None]
