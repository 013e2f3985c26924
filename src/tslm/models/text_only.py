"""Text alone, read by a language model with or without LoRA: the baseline whose series are digits in the prompt.

Shape letters: B samples, T sequence positions, H context width, E LLM width.
"""

from torch import Tensor, nn

from tslm.batch import Batch
from tslm.config.schema import ModelConfig
from tslm.models.epoch_reader import EpochReader
from tslm.models.llm.backbone import LanguageModel


class TextOnly(nn.Module):
    """Hands the words on as they are; what they say of a series, the collator has written."""

    def __init__(self, config: ModelConfig, llm: LanguageModel) -> None:  # noqa: ARG002 - as every fusion is built
        super().__init__()

    def forward(
        self,
        words_BTE: Tensor,
        batch: Batch,  # noqa: ARG002 - the others are for fusions that read series
        reader: EpochReader,  # noqa: ARG002
        state_BH: Tensor | None,  # noqa: ARG002
    ) -> Tensor:
        """The word embeddings: (B, T, E)."""
        return words_BTE

    @property
    def gates(self) -> list[nn.Parameter]:
        """None: what is read is let in whole."""
        return []

    @property
    def kept(self) -> None:
        """All that was read stands in the sequence; nothing is kept beside it."""

    @kept.setter
    def kept(self, kept: None) -> None:
        pass

    def select_rows(self, rows: Tensor) -> None:
        """Nothing is kept of any row."""
