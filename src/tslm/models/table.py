"""The model table: what `model.name` may be and what builds it (tslm.config.schema.MODEL_KINDS: its traits)."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from tslm.config.schema import ModelConfig, RunConfig
from tslm.labels import LABEL_SETS
from tslm.models.classifier import Classifier
from tslm.models.flamingo import Flamingo
from tslm.models.fusion import TextOnly
from tslm.models.llm.backbone import LanguageModel, load_llm, load_tokenizer
from tslm.models.masked_encoder import MaskedEncoder
from tslm.models.soft_prompt import SoftPrompt
from tslm.models.text_model import TextModel


def build_model(config: RunConfig) -> nn.Module:
    """The configured model with new weights around a pretrained language model, without adapters.

    Raises:
        ValueError: unknown label set.
        OSError: the language model cannot be loaded (see tslm.models.llm.store).
    """
    if config.model.label_set not in LABEL_SETS:
        raise ValueError(f"unknown model.label_set {config.model.label_set!r}; one of: {', '.join(LABEL_SETS)}")
    return MODELS[config.model.name](config)


def build_classifier(config: RunConfig) -> Classifier:
    """A classifier with new weights."""
    return Classifier(config.model, config.loss, len(config.stage.channels))


def build_text_model(config: RunConfig, llm: LanguageModel | None = None) -> TextModel:
    """The configured fusion around a language model; None: the one that `config.llm` names."""
    if llm is None:
        llm = load_llm(config.llm, torch.bfloat16 if config.train.precision == "bf16" else torch.float32)
    fusion = FUSIONS[config.model.name](config.model, llm)
    return TextModel(config.model, config.loss, len(config.stage.channels), llm, fusion)


def build_tokenizer(config: RunConfig) -> PreTrainedTokenizerBase | None:
    """The language model's tokenizer; None for models without one."""
    return load_tokenizer(config.llm) if config.writes_text else None


FUSIONS: dict[str, Callable[[ModelConfig, LanguageModel], nn.Module]] = {
    "soft_prompt": SoftPrompt,
    "flamingo": Flamingo,
    "text_only": TextOnly,
}
MODELS: dict[str, Callable[[RunConfig], nn.Module]] = {
    **dict.fromkeys(FUSIONS, build_text_model),
    **dict.fromkeys(("classifier", "cnn_bilstm", "cnn_transformer", "ssm", "cnn"), build_classifier),
    "masked_encoder": lambda config: MaskedEncoder(config.model, config.masking, len(config.stage.channels)),
}
