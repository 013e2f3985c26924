"""The model table: what `model.name` may be, and how each is built from a run's config."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from tslm.config.schema import SCORERS, ModelConfig, RunConfig
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
        ValueError: unknown model or label set.
        OSError: the language model is not at hand (see tslm.models.llm.store).
    """
    if config.model.label_set not in LABEL_SETS:
        raise ValueError(f"unknown model.label_set {config.model.label_set!r}; one of: {', '.join(LABEL_SETS)}")
    if config.model.name not in MODELS:
        raise ValueError(f"unknown model.name {config.model.name!r}; one of: {', '.join(MODELS)}")
    return MODELS[config.model.name](config)


def build_tokenizer(config: RunConfig) -> PreTrainedTokenizerBase | None:
    """The language model's tokenizer; None for models without one."""
    return load_tokenizer(config.llm) if config.writes_text else None


def build_text_model(config: RunConfig, llm: LanguageModel) -> TextModel:
    """The configured fusion around a language model that is at hand."""
    fusion = FUSIONS[config.model.name](config.model, llm)
    return TextModel(config.model, config.loss, len(config.stage.channels), llm, fusion)


def _load_text_model(config: RunConfig) -> nn.Module:
    dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    return build_text_model(config, load_llm(config.llm, dtype))


def _build_classifier(config: RunConfig) -> nn.Module:
    return Classifier(config.model, config.loss, len(config.stage.channels))


def _build_masked_encoder(config: RunConfig) -> nn.Module:
    return MaskedEncoder(config.model, config.masking, len(config.stage.channels))


FUSIONS: dict[str, Callable[[ModelConfig, LanguageModel], nn.Module]] = {
    "soft_prompt": SoftPrompt,
    "flamingo": Flamingo,
    "text_only": TextOnly,
}
MODELS: dict[str, Callable[[RunConfig], nn.Module]] = {
    **dict.fromkeys(FUSIONS, _load_text_model),
    **dict.fromkeys(SCORERS, _build_classifier),
    "masked_encoder": _build_masked_encoder,
}
