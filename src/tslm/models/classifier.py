"""The classifier: epoch reader and linear heads. It stages whole nights in a second.

Shape letters: B nights, W epochs, C channels, L signal samples, H state width, D encoder width, K classes,
N scored epochs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tslm.batch import IGNORE_INDEX, Batch
from tslm.config.schema import LossConfig, ModelConfig, OptimConfig
from tslm.labels import LABEL_SETS
from tslm.models.epoch_reader import EpochReader
from tslm.models.interface import ModelOutput, build_param_groups, mean_by_sample
from tslm.nn.heads import HEADS, build_domain_head, reverse_gradient
from tslm.nn.losses import measure_class_loss

_EPOCH_HEAD_WEIGHT = 0.5  # the epoch-only head keeps the encoder useful without its neighbours


@dataclass
class NightStates:
    """States of the reader for a batch of windows."""

    pooled_BWD: Tensor  # each epoch by itself
    state_BWH: Tensor  # with its neighbours in view


class Classifier(nn.Module):
    """Stage probabilities of every epoch in a window or a whole night."""

    class_weight_K: Tensor

    def __init__(self, config: ModelConfig, loss: LossConfig, num_channels: int) -> None:
        super().__init__()
        label_set = LABEL_SETS[config.label_set]
        num_classes = len(label_set.answers)
        self.reader = EpochReader(config, num_channels)
        self.epoch_head = HEADS[config.head](config.encoder.d_model, label_set)
        self.head = HEADS[config.head](self.reader.state_width, label_set)
        # Tells the sites of training apart, so that the encoder learns not to; scoring does without it.
        self.domain_head = build_domain_head(config.encoder.d_model, len(config.domains)) if config.domains else None
        self.loss = loss
        self.register_buffer("class_weight_K", torch.ones(num_classes))

    def forward(self, batch: Batch) -> ModelOutput:
        """Loss of one batch of windows."""
        return self.measure_loss(self.read(batch), batch)

    def read(self, batch: Batch) -> NightStates:
        """States of a batch's windows."""
        assert batch.window_BWCL is not None and batch.epoch_mask_BW is not None
        return NightStates(
            *self.reader(batch.window_BWCL, batch.epoch_mask_BW, batch.channel_mask_BC, batch.inputs_BWF)
        )

    def measure_loss(self, states: NightStates, batch: Batch) -> ModelOutput:
        """Classification loss over the scored epochs, that of the epoch-only head added.

        In training with sites (`loss.domain_weight`) also the loss of telling them apart by the pooled epochs.
        """
        assert batch.sleep_stage_idx_BW is not None
        epoch_logits_BWK, logits_BWK = self._apply_heads(states)
        scored_BW = batch.sleep_stage_idx_BW != IGNORE_INDEX
        truth_N = batch.sleep_stage_idx_BW[scored_BW]
        if batch.target_BWK is None:
            target_NK = nn.functional.one_hot(truth_N, logits_BWK.shape[-1]).to(logits_BWK.dtype)
        else:
            target_NK = batch.target_BWK[scored_BW]
        loss_N, epoch_loss_N = (
            measure_class_loss(one_BWK[scored_BW], target_NK, self.class_weight_K, self.loss)
            for one_BWK in (logits_BWK, epoch_logits_BWK)
        )
        loss_N = loss_N + _EPOCH_HEAD_WEIGHT * epoch_loss_N
        weight_N = (target_NK * self.class_weight_K).sum(-1)
        if self.training and self.domain_head is not None and batch.domain_B is not None:
            domain_N = batch.domain_B[:, None].expand_as(scored_BW)[scored_BW]
            pooled_ND = reverse_gradient(states.pooled_BWD[scored_BW].float(), self.loss.domain_weight)
            domain_loss_N = nn.functional.cross_entropy(self.domain_head(pooled_ND), domain_N, reduction="none")
            loss_N = loss_N + weight_N * domain_loss_N
        correct = (logits_BWK[scored_BW].argmax(-1) == truth_N).sum()
        return ModelOutput(loss_N.sum(), weight_N.sum(), correct, mean_by_sample(loss_N, weight_N, scored_BW))

    def logits(
        self,
        window_BWCL: Tensor,
        epoch_mask_BW: Tensor,
        channel_mask_BC: Tensor | None = None,
        inputs_BWF: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, W, C, L) -> logits (B, W, K) of the epoch alone and with its neighbours; arguments as the reader's."""
        return self._apply_heads(NightStates(*self.reader(window_BWCL, epoch_mask_BW, channel_mask_BC, inputs_BWF)))

    def step(self, epoch_CL: Tensor, channel_mask_C: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits (K,) of one more epoch of a live night, and what is kept for the next; the context is causal.

        Args:
            epoch_CL: (C, L) or (C, V, L) normalised.
            channel_mask_C: False where the recording lacks a channel.
            state: what was kept of the epochs before; None: there are none.
        """
        pooled_1D = self.reader.pool(epoch_CL[None], channel_mask_C[None])
        if self.reader.context is None:
            return self.head(pooled_1D)[0].float(), None
        state_1H, state = self.reader.context.step(pooled_1D, state)
        return self.head(state_1H)[0].float(), state

    def set_class_weights(self, num_epochs_K: Tensor) -> None:
        """Weights proportional to frequency^-`loss.class_weight_power` with mean 1 over the epochs.

        A class without epochs has weight 0; otherwise label smoothing would favour it.
        """
        frequency_K = num_epochs_K.double() / num_epochs_K.sum()
        weight_K = torch.where(frequency_K > 0, frequency_K.pow(-self.loss.class_weight_power), 0.0)
        self.class_weight_K.copy_(weight_K / (frequency_K * weight_K).sum())

    def param_groups(self, optim: OptimConfig) -> list[dict]:
        """One group: everything here belongs to the encoder."""
        return build_param_groups({"encoder": (self.parameters(), optim.lr_encoder)}, optim.weight_decay)

    def _apply_heads(self, states: NightStates) -> tuple[Tensor, Tensor]:
        return self.epoch_head(states.pooled_BWD).float(), self.head(states.state_BWH).float()
