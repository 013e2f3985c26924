"""Text and series tokens in one sequence, read by a frozen language model with LoRA.

Shape letters: B samples, T sequence positions, S series, N patches, E LLM width, V vocabulary,
P supervised positions.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tslm.batch import CONTEXT_SLOT, IGNORE_INDEX, SERIES_SLOT, Batch
from tslm.config import ModelConfig, OptimConfig
from tslm.models.backbone import LanguageModel, cap_logits, unwrap_lora
from tslm.models.decoding import decode_greedy, position_ids
from tslm.models.epoch_reader import EpochReader
from tslm.models.interface import ModelOutput, build_param_groups
from tslm.nn.patch_encoder import count_series_tokens
from tslm.nn.projector import Projector


class SoftPrompt(nn.Module):
    """Encoder, projector and language model; composition only.

    `llm` may be a plain causal language model or one with adapters.
    """

    def __init__(self, config: ModelConfig, llm: LanguageModel) -> None:
        super().__init__()
        self.llm = llm
        words = self.word_embeddings
        d_llm, spread = words.embedding_dim, _measure_spread(words)
        self.reader = EpochReader(config)
        self.projector = Projector(config.projector, config.encoder.d_model, d_llm, spread)
        self.context_projector = None
        if self.reader.context is not None:
            self.context_projector = Projector(config.projector, self.reader.state_width, d_llm, spread)
        else:
            self.reader.pool.requires_grad_(False)  # nothing here reads the pooled epoch
        if config.gradient_checkpointing:
            self.causal_lm.gradient_checkpointing_enable({"use_reentrant": False})

    @property
    def causal_lm(self) -> PreTrainedModel:
        """The language model itself, without the wrapper of its adapters."""
        return unwrap_lora(self.llm)

    @property
    def word_embeddings(self) -> nn.Embedding:
        """The language model's input embeddings (Gemma's scale them by itself)."""
        words = self.causal_lm.get_input_embeddings()
        assert isinstance(words, nn.Embedding)
        return words

    def train(self, mode: bool = True) -> Self:
        """As usual, but a frozen reader stays in evaluation mode (no dropout on what cannot adapt)."""
        super().train(mode)
        if not _is_trained(self.reader):
            self.reader.eval()
        return self

    def forward(self, batch: Batch) -> ModelOutput:
        """Cross-entropy over the supervised tokens; logits exist at those positions only."""
        assert batch.labels_BT is not None and batch.attention_mask_BT is not None
        decoder, head = self.causal_lm.base_model, self.causal_lm.get_output_embeddings()
        assert isinstance(decoder, nn.Module) and isinstance(head, nn.Module)
        hidden_BTE = decoder(
            inputs_embeds=self.embed(batch),
            attention_mask=batch.attention_mask_BT,
            position_ids=position_ids(batch.attention_mask_BT),
            use_cache=False,
        ).last_hidden_state
        supervised_BT = batch.labels_BT[:, 1:] != IGNORE_INDEX  # position t predicts token t + 1
        truth_P = batch.labels_BT[:, 1:][supervised_BT]
        logits_PV = cap_logits(head(hidden_BTE[:, :-1][supervised_BT]).float(), self.causal_lm)
        loss_sum = nn.functional.cross_entropy(logits_PV, truth_P, reduction="sum")
        num_tokens = torch.tensor(float(truth_P.numel()), device=loss_sum.device)
        return ModelOutput(loss_sum, num_tokens, (logits_PV.argmax(-1) == truth_P).sum())

    def embed(self, batch: Batch) -> Tensor:
        """Word embeddings with series and context tokens put in their slots: (B, T, E)."""
        assert batch.input_ids_BT is not None and batch.slot_BT is not None
        embeds_BTE = self.word_embeddings(batch.input_ids_BT)
        if batch.series_SL is not None:
            embeds_BTE = _fill(embeds_BTE, batch.slot_BT == SERIES_SLOT, self._series_tokens(batch))
        if self.context_projector is not None and batch.window_BWL is not None:
            embeds_BTE = _fill(embeds_BTE, batch.slot_BT == CONTEXT_SLOT, self._context_tokens(batch))
        return embeds_BTE

    @torch.no_grad()
    def generate(self, batch: Batch, max_new_tokens: int, end_token_ids: list[int], pad_token_id: int) -> Tensor:
        """Greedy continuation: (B, <= max_new_tokens) token ids, pad_token_id after each end."""
        assert batch.attention_mask_BT is not None
        return decode_greedy(
            self.causal_lm, self.embed(batch), batch.attention_mask_BT, max_new_tokens, end_token_ids, pad_token_id
        )

    def param_groups(self, optim: OptimConfig) -> list[dict]:
        """The guide's groups: encoder, projector and LoRA, each at its own rate."""
        projectors = nn.ModuleList([self.projector])
        if self.context_projector is not None:
            projectors.append(self.context_projector)
        return build_param_groups(
            {
                "encoder": (self.reader, optim.lr_encoder),
                "projector": (projectors, optim.lr_projector),
                "lora": (self.llm, optim.lr_lora),
            },
            optim.weight_decay,
        )

    def _series_tokens(self, batch: Batch) -> Tensor:
        """All series tokens of the batch in order, without padding: (sum of tokens, E)."""
        assert batch.series_SL is not None and batch.series_lengths_S is not None
        encoder = self.reader.encoder
        with _frozen(encoder):
            tokens_SND = encoder(batch.series_SL, batch.series_lengths_S)
        tokens_SME = self.projector(tokens_SND)
        counts = [
            count_series_tokens(length, encoder.patch_size, self.projector.merge)
            for length in batch.series_lengths_S.tolist()
        ]
        return torch.cat([tokens_ME[:count] for tokens_ME, count in zip(tokens_SME, counts, strict=True)])

    def _context_tokens(self, batch: Batch) -> Tensor:
        """One token a sample: the night's state at the scored epoch, (B, E)."""
        assert batch.window_BWL is not None and batch.epoch_mask_BW is not None and batch.scored_idx_B is not None
        assert self.context_projector is not None
        with _frozen(self.reader):
            _, state_BWC = self.reader(batch.window_BWL, batch.epoch_mask_BW)
        rows_B = torch.arange(len(batch.sample_ids), device=state_BWC.device)
        return self.context_projector(state_BWC[rows_B, batch.scored_idx_B][:, None])[:, 0]


@torch.no_grad()
def _measure_spread(words: nn.Embedding) -> float:
    """Standard deviation of what the layer gives, which Gemma scales up from its weights."""
    some_ids = torch.arange(min(words.num_embeddings, 1 << 12), device=words.weight.device)
    return float(words(some_ids).float().std())


def _fill(embeds_BTE: Tensor, slot_mask_BT: Tensor, tokens_RE: Tensor) -> Tensor:
    assert int(slot_mask_BT.sum()) == len(tokens_RE), "the collator reserved another number of slots"
    return embeds_BTE.masked_scatter(slot_mask_BT[..., None], tokens_RE.to(embeds_BTE.dtype))


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No graph through a part that is not trained."""
    with nullcontext() if _is_trained(module) else torch.no_grad():
        yield


def _is_trained(module: nn.Module) -> bool:
    return any(param.requires_grad for param in module.parameters())
