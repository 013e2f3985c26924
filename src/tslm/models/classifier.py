"""The light scorer: epoch reader and linear heads. It stages whole nights and is the yardstick.

Shape letters: B nights, W epochs, L signal samples, K classes.
"""

import torch
from torch import Tensor, nn

from tslm.batch import IGNORE_INDEX, Batch
from tslm.config import ModelConfig, OptimConfig
from tslm.models.epoch_reader import EpochReader
from tslm.models.interface import ModelOutput, build_param_groups

_EPOCH_HEAD_WEIGHT = 0.5  # the epoch-only head keeps the encoder useful without its neighbours


class Classifier(nn.Module):
    """Stage probabilities of every epoch in a window or a whole night."""

    class_weight_K: Tensor

    def __init__(self, config: ModelConfig, num_classes: int, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.reader = EpochReader(config)
        self.epoch_head = nn.Linear(config.encoder.d_model, num_classes)
        self.head = nn.Linear(self.reader.state_width, num_classes)
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weight_K", torch.ones(num_classes))

    def forward(self, batch: Batch) -> ModelOutput:
        """Class-weighted cross-entropy over the scored epochs, with the epoch-only head beside."""
        assert batch.window_BWL is not None and batch.epoch_mask_BW is not None and batch.stage_idx_BW is not None
        epoch_logits_BWK, logits_BWK = self.logits(batch.window_BWL, batch.epoch_mask_BW)
        scored_BW = batch.stage_idx_BW != IGNORE_INDEX
        truth_N = batch.stage_idx_BW[scored_BW]
        loss_sum = self._loss(logits_BWK[scored_BW], truth_N)
        loss_sum = loss_sum + _EPOCH_HEAD_WEIGHT * self._loss(epoch_logits_BWK[scored_BW], truth_N)
        correct = (logits_BWK[scored_BW].argmax(-1) == truth_N).sum()
        return ModelOutput(loss_sum, self.class_weight_K[truth_N].sum().detach(), correct)

    def logits(self, window_BWL: Tensor, epoch_mask_BW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, W, L) -> logits (B, W, K) of the epoch alone and with its neighbours."""
        pooled_BWD, state_BWC = self.reader(window_BWL, epoch_mask_BW)
        return self.epoch_head(pooled_BWD).float(), self.head(state_BWC).float()

    def set_class_weights(self, num_epochs_K: Tensor, power: float) -> None:
        """Weights proportional to frequency^-power with mean 1 over the epochs (power 0.5: 1/sqrt(freq)).

        A class without epochs weighs nothing, or label smoothing would pull towards it.
        """
        frequency_K = num_epochs_K.double() / num_epochs_K.sum()
        weight_K = torch.where(frequency_K > 0, frequency_K.pow(-power), 0.0)
        self.class_weight_K.copy_(weight_K / (frequency_K * weight_K).sum())

    def param_groups(self, optim: OptimConfig) -> list[dict]:
        """One group: everything here belongs to the encoder."""
        return build_param_groups({"encoder": (self, optim.lr_encoder)}, optim.weight_decay)

    def _loss(self, logits_NK: Tensor, truth_N: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            logits_NK, truth_N, self.class_weight_K, reduction="sum", label_smoothing=self.label_smoothing
        )
