"""The part that the classifier and the language models share: encoder, pooling, night context.

Shape letters: B nights, W epochs, L signal samples, D encoder width, C context width.
"""

from torch import Tensor, nn

from tslm.config import ModelConfig
from tslm.nn.context import AttentionPool, build_context
from tslm.nn.patch_encoder import PatchEncoder


class EpochReader(nn.Module):
    """Encodes epochs, pools each to a vector and looks at its neighbours.

    One state dict fits both models, so an encoder trained as a classifier moves into a language
    model unchanged.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = PatchEncoder(config.encoder)
        self.pool = AttentionPool(config.encoder.d_model)
        self.context = build_context(config.context, config.encoder.d_model)
        self.state_width = self.context.width if self.context is not None else config.encoder.d_model

    def forward(self, window_BWL: Tensor, epoch_mask_BW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, W, L) normalised epochs -> pooled epochs (B, W, D) and states (B, W, C).

        Without a context network the states are the pooled epochs themselves.
        """
        num_nights, num_epochs, _ = window_BWL.shape
        pooled_BWD = self.pool(self.encoder(window_BWL.flatten(0, 1))).unflatten(0, (num_nights, num_epochs))
        if self.context is None:
            return pooled_BWD, pooled_BWD
        return pooled_BWD, self.context(pooled_BWD, epoch_mask_BW)
