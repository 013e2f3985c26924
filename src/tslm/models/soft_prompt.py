"""Text and series tokens in one sequence, read by a frozen language model with LoRA.

Shape letters: B samples, T sequence positions, S series, N patches, M series tokens, R tokens of a batch in
order, D encoder width, H context width, E LLM width, K context tokens.
"""

import torch
from torch import Tensor, nn

from tslm.batch import CONTEXT_SLOT, SERIES_SLOT, Batch
from tslm.config.schema import ModelConfig
from tslm.models.epoch_reader import EpochReader
from tslm.models.fusion import DecoderInputs, NightContext
from tslm.models.interface import frozen
from tslm.models.llm.backbone import LanguageModel, measure_words
from tslm.nn.context import context_width
from tslm.nn.projector import ContextProjector, Projector


class SoftPrompt(nn.Module):
    """Puts projected series and context tokens into the slots that the collator reserved."""

    def __init__(self, config: ModelConfig, llm: LanguageModel) -> None:
        super().__init__()
        words = measure_words(llm)
        self.count_series_tokens = config.count_series_tokens
        self.projector = Projector(config.projector, config.encoder.d_model, words.width, words.std)
        self.context_projector = None
        if config.context.kind != "none":
            self.context_projector = ContextProjector(
                config.projector,
                context_width(config.context, config.encoder.d_model),
                words.width,
                words.std,
                config.context.num_tokens,
                config.num_context_classes,
            )

    def forward(
        self, words_BTE: Tensor, batch: Batch, reader: EpochReader, night: NightContext | None
    ) -> DecoderInputs:
        """Word embeddings with series and context tokens in their slots."""
        assert batch.slot_BT is not None
        embeds_BTE = words_BTE
        if batch.series_SL is not None:
            embeds_BTE = _fill(embeds_BTE, batch.slot_BT == SERIES_SLOT, self._series_tokens(batch, reader))
        if self.context_projector is not None and night is not None:
            assert batch.reads_night_B is not None
            if batch.reads_night_B.any():
                night = night.select_rows(batch.reads_night_B)
                context_BKE = self.context_projector(night.state_BH, night.probability_BC)
                embeds_BTE = _fill(embeds_BTE, batch.slot_BT == CONTEXT_SLOT, context_BKE.flatten(0, 1))
        return DecoderInputs(embeds_BTE)

    def _series_tokens(self, batch: Batch, reader: EpochReader) -> Tensor:
        """All series tokens of the batch in order, without padding: (R, E)."""
        assert batch.series_SL is not None and batch.series_lengths_S is not None
        with frozen(reader.encoder):
            tokens_SND = reader.encode_series(batch.series_SL, batch.series_lengths_S, batch.series_channel_S)
        tokens_SME = self.projector(tokens_SND)
        counts = map(self.count_series_tokens, batch.series_lengths_S.tolist())
        return torch.cat([tokens_ME[:count] for tokens_ME, count in zip(tokens_SME, counts, strict=True)])


def _fill(embeds_BTE: Tensor, slot_mask_BT: Tensor, tokens_RE: Tensor) -> Tensor:
    assert int(slot_mask_BT.sum()) == len(tokens_RE), "the collator reserved another number of slots"
    return embeds_BTE.masked_scatter(slot_mask_BT[..., None], tokens_RE.to(embeds_BTE.dtype))
