"""A language model that reads series, whatever the fusion: loss, generation and label scores.

Shape letters: B samples, T sequence positions, W epochs, H context width, E LLM width, V vocabulary,
P supervised positions.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from tslm.batch import IGNORE_INDEX, Batch
from tslm.config.schema import LossConfig, ModelConfig, OptimConfig
from tslm.models.classifier import Classifier
from tslm.models.decoding.attention import grouped_attention
from tslm.models.decoding.decode import Sampling, decode, position_ids, read_first_prompts
from tslm.models.decoding.grammar import AnswerState
from tslm.models.decoding.label_scoring import build_label_tree, score_label_trees
from tslm.models.decoding.packing import packed_weights
from tslm.models.epoch_reader import EpochReader
from tslm.models.fusion import DecoderInputs, NightContext, run_decoder
from tslm.models.interface import ModelOutput, build_param_groups, frozen, is_trained, mean_by_sample
from tslm.models.llm.backbone import LanguageModel, cap_logits, count_positions, unwrap_lora, word_embeddings


class TextModel(nn.Module):
    """Language model, classifier (with the epoch reader that both use) and fusion; composition only.

    `llm` may be a plain causal language model or one with adapters.
    """

    def __init__(
        self, config: ModelConfig, loss: LossConfig, num_channels: int, llm: LanguageModel, fusion: nn.Module
    ) -> None:
        super().__init__()
        self.llm = llm
        self.classifier = Classifier(config, loss, num_channels)
        self.fusion = fusion
        self.has_context = config.context.kind != "none"
        if config.gradient_checkpointing:
            self.causal_lm.activation_checkpointing_enable({"use_reentrant": False})

    @property
    def causal_lm(self) -> PreTrainedModel:
        """The language model itself, without the wrapper of its adapters."""
        return unwrap_lora(self.llm)

    @property
    def _no_split_modules(self) -> list[str]:
        """Classes of the layers that FSDP shards one by one; accelerate reads this attribute."""
        named = set(self.causal_lm._no_split_modules or ())
        return sorted(named & {type(module).__name__ for module in self.causal_lm.modules()})

    @property
    def reader(self) -> EpochReader:
        """Encoder and night context, shared with the classifier."""
        return self.classifier.reader

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but a frozen reader stays in evaluation mode: no dropout on what cannot adapt."""
        super().train(mode)
        if not is_trained(self.reader):
            self.reader.eval()
        return self

    def forward(self, batch: Batch) -> ModelOutput:
        """Cross-entropy over the supervised tokens; logits exist at those positions only."""
        assert batch.labels_BT is not None and batch.attention_mask_BT is not None
        head = self.causal_lm.get_output_embeddings()
        assert isinstance(head, nn.Module)
        hidden_BTE = run_decoder(
            self.causal_lm,
            **self.fuse(batch).arguments,
            attention_mask=batch.attention_mask_BT,
            position_ids=position_ids(batch.attention_mask_BT),
            use_cache=False,
        )
        supervised_BT = batch.labels_BT[:, 1:] != IGNORE_INDEX  # position t predicts token t + 1
        truth_P = batch.labels_BT[:, 1:][supervised_BT]
        logits_PV = cap_logits(head(hidden_BTE[:, :-1][supervised_BT]).float(), self.causal_lm)
        loss_P = nn.functional.cross_entropy(logits_PV, truth_P, reduction="none")
        loss_B = mean_by_sample(loss_P, torch.ones_like(loss_P), supervised_BT)
        loss_sum = loss_P.sum()
        weight_sum = torch.tensor(float(truth_P.numel()), device=loss_sum.device)
        return ModelOutput(loss_sum, weight_sum, (logits_PV.argmax(-1) == truth_P).sum(), loss_B)

    def fuse(self, batch: Batch) -> DecoderInputs:
        """Build what the decoder reads of a batch; ValueError for a sample that is longer than it can read."""
        assert batch.input_ids_BT is not None
        self.check_length(batch)
        words_BTE = word_embeddings(self.llm)(batch.input_ids_BT)
        return self.fusion(words_BTE, batch, self.reader, self._read_night(batch))

    def check_length(self, batch: Batch, num_new_tokens: int = 0) -> None:
        """Refuse a sample with more positions than the language model was built to read: its output would mean nothing.

        Args:
            batch: of samples, padded to the longest.
            num_new_tokens: that are to be written after each.

        Raises:
            ValueError: names the longest sample, its length, the limit and the settings.
        """
        assert batch.attention_mask_BT is not None
        limit, length = count_positions(self.causal_lm), batch.attention_mask_BT.shape[1]
        if limit is None or length + num_new_tokens <= limit:
            return
        name = batch.sample_ids[int(batch.attention_mask_BT.sum(dim=1).argmax())]
        answer = f" and its answer up to {num_new_tokens}" if num_new_tokens else ""
        shorter = "fewer tokens with model.encoder.patch_size or model.digits.num_values"
        way = "lower stage.max_new_tokens" if length < limit else f"make {shorter}"
        raise ValueError(
            f"{name}: the sample takes {length} positions{answer}, the language model reads {limit} "
            f"(max_position_embeddings); {way}, or choose another --llm"
        )

    @torch.no_grad()
    def generate(
        self,
        batch: Batch,
        max_new_tokens: int,
        end_token_id: int,
        pad_token_id: int,
        answers: Sequence[AnswerState | None] | None = None,
        sampling: Sampling | None = None,
    ) -> Tensor:
        """Most likely or sampled continuation: (B, <= max_new_tokens) token ids, pad_token_id after each end.

        `answers` constrains each response to the options of its sample; afterwards it holds their log-likelihoods.
        """
        assert batch.attention_mask_BT is not None
        causal_lm = self.causal_lm
        self.check_length(batch, max_new_tokens)
        with grouped_attention(causal_lm), packed_weights(causal_lm, len(batch.attention_mask_BT)):
            return decode(
                causal_lm,
                self.fuse(batch),
                batch.attention_mask_BT,
                max_new_tokens,
                end_token_id,
                pad_token_id,
                answers,
                sampling,
            )

    @torch.no_grad()
    def score_labels(self, batch: Batch, labels: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        """Log-likelihood of every label directly after the prompt, (B, K) float32; -inf beyond a sample's labels.

        It is the sum over all tokens of a label, its end token included. The prompt is read once for all labels.

        Args:
            batch: the prompts, without responses (tslm.data.samples.collate.extend_prompts appends a rationale).
            labels: for each sample its labels as token ids (tslm.data.samples.collate.tokenize_labels).
        """
        assert batch.attention_mask_BT is not None
        self.check_length(batch, max((len(label) for options in labels for label in options), default=0))
        cache, inputs = DynamicCache(config=self.causal_lm.config), self.fuse(batch)
        head = self.causal_lm.get_output_embeddings()
        assert isinstance(head, nn.Module)
        trees = [build_label_tree(options) for options in labels]
        with packed_weights(self.causal_lm, len(batch.attention_mask_BT)):
            logits_BV = head(read_first_prompts(self.causal_lm, inputs, batch.attention_mask_BT, cache))
            scores = score_label_trees(self.causal_lm, cache, batch.attention_mask_BT, trees, logits_BV, inputs.memory)
        return scores.log_likelihood_RK

    def param_groups(self, optim: OptimConfig) -> list[dict]:
        """The guide's groups: encoder, projector and LoRA, each at its own rate; beside them the fusion's gates."""
        fused = dict(self.fusion.named_parameters())
        gates = [fused.pop(name) for name in list(fused) if name.endswith("_gate")]
        return build_param_groups(
            {
                "encoder": (self.classifier.parameters(), optim.lr_encoder),
                "projector": (fused.values(), optim.lr_projector),
                "gates": (gates, optim.lr_gates),
                "lora": (self.llm.parameters(), optim.lr_lora),
            },
            optim.weight_decay,
        )

    def _read_night(self, batch: Batch) -> NightContext | None:
        """Context of each sample's scored epoch; None without a night or a context network."""
        if batch.window_BWCL is None or not self.has_context:
            return None
        assert batch.scored_idx_B is not None
        with frozen(self.reader):
            state_BWH = self.classifier.read(batch).state_BWH
            state_BH = state_BWH[torch.arange(len(batch.sample_ids), device=state_BWH.device), batch.scored_idx_B]
            return NightContext(state_BH, self.classifier.head(state_BH).float().softmax(dim=-1))
