"""Masked pretraining of the encoder on unlabelled signal: it reconstructs hidden patches.

Shape letters: B nights, W epochs, C channels, L signal samples, S series, N patches, D encoder width, P hidden
patches, T width of a patch's target.
"""

import torch
from torch import Tensor, nn

from tslm.batch import Batch
from tslm.config.schema import MaskingConfig, ModelConfig, OptimConfig
from tslm.models.epoch_reader import SeriesReader
from tslm.models.interface import ModelOutput, build_param_groups
from tslm.nn.front_ends import FrontEnd


class MaskedEncoder(nn.Module):
    """Masked reconstruction in the manner of He et al. (2022), with the hidden patches kept in the sequence.

    The front end gives the target: log band energies, or the signal itself. Classifiers and language models start
    from the encoder alone.
    """

    def __init__(self, config: ModelConfig, masking: MaskingConfig, num_channels: int) -> None:
        super().__init__()
        self.reader = SeriesReader(config, num_channels)
        self.masking = masking
        self.hidden_D = nn.Parameter(torch.randn(config.encoder.d_model) * 0.02)  # embedding of a hidden patch
        front_end: FrontEnd = self.reader.encoder.front_end  # type: ignore[assignment]  # torch types parts loosely
        self.decoder = nn.Linear(config.encoder.d_model, front_end.target_width)

    def forward(self, batch: Batch) -> ModelOutput:
        """Mean squared error of each hidden patch; weight_sum counts the hidden patches."""
        guess_PT, truth_PT = self.reconstruct(batch)
        loss_sum = (guess_PT - truth_PT).square().mean(dim=-1).sum()
        return ModelOutput(loss_sum, torch.tensor(float(len(truth_PT)), device=loss_sum.device))

    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Reconstructions and targets of the hidden patches of all real epochs, both (P, T).

        In training the hidden patches are drawn anew each time; in evaluation they depend only on an epoch's place in
        its window.
        """
        assert batch.window_BWCL is not None and batch.epoch_mask_BW is not None
        encoder = self.reader.encoder
        num_epochs, num_channels = int(batch.epoch_mask_BW.sum()), batch.window_BWCL.shape[2]
        series_SL = encoder.pad(batch.window_BWCL[batch.epoch_mask_BW].flatten(0, 1))
        patches_SND = encoder.front_end(series_SL)
        hidden_BWCN = self._draw_mask(batch.window_BWCL.shape[:3], patches_SND.shape[1])
        hidden_SN = hidden_BWCN.to(series_SL.device)[batch.epoch_mask_BW].flatten(0, 1)
        shown_SND = torch.where(hidden_SN[..., None], self.hidden_D.to(patches_SND.dtype), patches_SND)
        channel_S = torch.arange(num_channels, device=series_SL.device).repeat(num_epochs)
        tokens_SND = encoder.attend(shown_SND, None, self.reader.channel_offsets(channel_S))
        front_end: FrontEnd = encoder.front_end  # type: ignore[assignment]
        truth_SNT = front_end.targets(series_SL)
        return self.decoder(tokens_SND[hidden_SN]).float(), truth_SNT[hidden_SN]

    def param_groups(self, optim: OptimConfig) -> list[dict]:
        """One group: everything here belongs to the encoder."""
        return build_param_groups({"encoder": (self.parameters(), optim.lr_encoder)}, optim.weight_decay)

    def _draw_mask(self, shape_BWC: torch.Size, num_patches: int) -> Tensor:
        if self.training:
            return draw_blocks((*shape_BWC, num_patches), self.masking, None)
        hidden_WCN = draw_blocks((*shape_BWC[1:], num_patches), self.masking, torch.Generator().manual_seed(0))
        return hidden_WCN.expand(shape_BWC[0], -1, -1, -1)


def draw_blocks(shape: tuple[int, ...], masking: MaskingConfig, generator: torch.Generator | None) -> Tensor:
    """Bool mask of a shape, True in blocks along the last axis that begin anywhere and may overlap.

    Every place is True with probability `masking.share`: it is False only where none of the `block_patches` possible
    blocks that cover it begins.
    """
    block = masking.block_patches
    begins = torch.rand((*shape[:-1], shape[-1] + block - 1), generator=generator)
    chance = 1 - (1 - masking.share) ** (1 / block)
    return (begins < chance).unfold(-1, block, 1).any(dim=-1)
