"""How series and the night's context reach the language model: what every fusion gives to the decoder.

Shape letters: B samples, T sequence positions, H context width, C classes, E LLM width.
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self

from torch import Tensor, nn
from transformers import PreTrainedModel

from tslm.batch import Batch
from tslm.config.schema import ModelConfig
from tslm.models.epoch_reader import EpochReader
from tslm.models.llm.backbone import LanguageModel

MEMORY_ARGUMENT = "series_memory"  # keyword argument by which a decoder gets its memory


class SeriesMemory(Protocol):
    """What the decoder reads beside the sequence, of each sample."""

    def select_rows(self, rows: Tensor) -> Self:
        """The memory of these samples, in this order (repeats allowed)."""


@dataclass(frozen=True)
class NightContext:
    """What the classifier saw of each sample's scored epoch, its neighbours in view."""

    state_BH: Tensor
    probability_BC: Tensor

    def select_rows(self, rows: Tensor) -> "NightContext":
        """The context of these samples."""
        return NightContext(self.state_BH[rows], self.probability_BC[rows])


@dataclass(frozen=True)
class DecoderInputs:
    """What the decoder reads of a batch."""

    embeds_BTE: Tensor
    memory: SeriesMemory | None = None  # None: everything stands in the sequence

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the decoder."""
        return {"inputs_embeds": self.embeds_BTE, **memory_argument(self.memory)}

    def select_rows(self, rows: Tensor) -> "DecoderInputs":
        """What it reads of these samples."""
        return DecoderInputs(self.embeds_BTE[rows], None if self.memory is None else self.memory.select_rows(rows))


class Fusion(Protocol):
    """Puts series and the night's context before the decoder; a module with weights of its own.

    Parameters whose name ends in `_gate` are trained at a rate of their own (`optim.lr_gates`).
    """

    def __call__(
        self, words_BTE: Tensor, batch: Batch, reader: EpochReader, night: NightContext | None
    ) -> DecoderInputs:
        """What the decoder reads.

        Args:
            words_BTE: word embeddings of `batch.input_ids_BT`.
            batch: the series and their places in the sequence.
            reader: encodes the series.
            night: the context of each sample's scored epoch; None without context.
        """


class TextOnly(nn.Module):
    """The word embeddings alone: the baseline whose series are digits in the prompt."""

    def __init__(self, config: ModelConfig, llm: LanguageModel) -> None:  # noqa: ARG002 - as every fusion is built
        super().__init__()

    def forward(
        self,
        words_BTE: Tensor,
        batch: Batch,  # noqa: ARG002 - of other fusions
        reader: EpochReader,  # noqa: ARG002
        night: NightContext | None,  # noqa: ARG002
    ) -> DecoderInputs:
        """The words as they are."""
        return DecoderInputs(words_BTE)


def memory_argument(memory: SeriesMemory | None) -> dict[str, SeriesMemory]:
    """The decoder's keyword argument for a memory; empty without one."""
    return {} if memory is None else {MEMORY_ARGUMENT: memory}


def run_decoder(causal_lm: PreTrainedModel, **arguments: Any) -> Tensor:
    """Last hidden states of the decoder, (B, T, E)."""
    decoder = causal_lm.base_model
    assert isinstance(decoder, nn.Module)
    return decoder(**arguments).last_hidden_state
