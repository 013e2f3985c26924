"""The model table: what `model.name` may be, and how each is built from a run's config."""

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from tslm.config import RunConfig
from tslm.labels import LABEL_SETS
from tslm.models.backbone import load_llm, load_tokenizer
from tslm.models.classifier import Classifier
from tslm.models.soft_prompt import SoftPrompt


def build_model(config: RunConfig) -> nn.Module:
    """The configured model with new weights around a pretrained language model, without adapters.

    Raises:
        ValueError: unknown model or label set.
        OSError: the language model is not at hand (see tslm.models.llm_store).
    """
    if config.model.label_set not in LABEL_SETS:
        raise ValueError(f"unknown model.label_set {config.model.label_set!r}; one of: {', '.join(LABEL_SETS)}")
    if config.model.name not in MODELS:
        raise ValueError(f"unknown model.name {config.model.name!r}; one of: {', '.join(MODELS)}")
    return MODELS[config.model.name](config)


def build_tokenizer(config: RunConfig) -> PreTrainedTokenizerBase | None:
    """The language model's tokenizer; None for models without one."""
    return load_tokenizer(config.llm) if config.writes_text else None


def _build_soft_prompt(config: RunConfig) -> nn.Module:
    dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    return SoftPrompt(config.model, load_llm(config.llm, dtype))


def _build_classifier(config: RunConfig) -> nn.Module:
    num_classes = len(LABEL_SETS[config.model.label_set].answers)
    return Classifier(config.model, num_classes, config.train.label_smoothing)


MODELS = {"soft_prompt": _build_soft_prompt, "classifier": _build_classifier}
