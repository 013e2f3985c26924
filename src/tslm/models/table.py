"""The model table: what `model.name` may be and what builds it (tslm.config.schema.MODEL_KINDS: its traits).

Text models are imported when one is built: the import of transformers and peft takes longer than a classifier takes
for a night.
"""

from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import nn

from tslm.config.schema import RunConfig
from tslm.labels import LABEL_SETS
from tslm.models.classifier import Classifier
from tslm.models.masked_encoder import MaskedEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tslm.models.llm.backbone import LanguageModel
    from tslm.models.text_model import TextModel


def build_model(config: RunConfig) -> nn.Module:
    """The configured model with new weights around a pretrained language model, without adapters.

    Raises:
        OSError: the language model cannot be loaded (see tslm.models.llm.store).
    """
    return MODELS[config.model.name](config)


def build_classifier(config: RunConfig) -> Classifier:
    """A classifier with new weights."""
    return Classifier(config.model, config.loss, len(config.stage.channels))


def build_text_model(config: RunConfig, llm: "LanguageModel | None" = None) -> "TextModel":
    """The configured fusion around a language model; None: the one that `config.llm` names."""
    from tslm.models.llm.backbone import load_llm
    from tslm.models.text_model import TextModel

    if llm is None:
        llm = load_llm(config.llm, torch.bfloat16 if config.train.precision == "bf16" else torch.float32)
    module, name = FUSIONS[config.model.name]
    fusion = getattr(import_module(module), name)(config.model, llm)
    if config.model.kind.series_as == "slots" and config.model.num_context_classes:
        fusion.context_projector.classes.start_from(_embed_stage_names(config, llm))
    return TextModel(config.model, config.loss, len(config.stage.channels), llm, fusion)


def _embed_stage_names(config: RunConfig, llm: "LanguageModel") -> torch.Tensor:
    """Mean word embedding of what only the code of each sleep stage has ("2" of "N2", "W"), (C, E)."""
    from tslm.models.llm.backbone import word_embeddings

    tokenizer, words = build_tokenizer(config), word_embeddings(llm)
    assert tokenizer is not None
    sleep_stages = LABEL_SETS[config.model.label_set].sleep_stages
    ids = [tokenizer(f" {code}", add_special_tokens=False).input_ids for code in sleep_stages]
    count = Counter(token for one in ids for token in set(one))
    own = [[token for token in one if count[token] == 1] or one for one in ids]
    with torch.no_grad():
        return torch.stack([words(torch.tensor(one, device=words.weight.device)).mean(dim=0) for one in own])


def build_tokenizer(config: RunConfig) -> "PreTrainedTokenizerBase | None":
    """The language model's tokenizer; None for models without one."""
    if not config.writes_text:
        return None
    from tslm.models.llm.backbone import load_tokenizer

    return load_tokenizer(config.llm)


FUSIONS = {  # module and class, built of the model's config and the language model
    "soft_prompt": ("tslm.models.soft_prompt", "SoftPrompt"),
    "flamingo": ("tslm.models.flamingo", "Flamingo"),
    "text_only": ("tslm.models.fusion", "TextOnly"),
}
MODELS: dict[str, Callable[[RunConfig], nn.Module]] = {
    **dict.fromkeys(FUSIONS, build_text_model),
    **dict.fromkeys(("classifier", "cnn_bilstm", "cnn_transformer", "ssm", "cnn"), build_classifier),
    "masked_encoder": lambda config: MaskedEncoder(config.model, config.masking, len(config.stage.channels)),
}
