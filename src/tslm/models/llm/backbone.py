"""The frozen causal language model, its tokenizer and its LoRA adapters."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners import lora
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils.logging import set_tqdm_hook

from tslm.config.checkpoint import ADAPTER_DIR
from tslm.config.schema import LLMConfig, LoRAConfig
from tslm.files import read_json
from tslm.models.llm.store import fetch_llm
from tslm.nn.lora_linear import apply_lora_linear
from tslm.progress_bar import progress_bar

_BAR_AFTER_S = 3.0
_ADAPTER_FILE = "adapter_config.json"
LanguageModel = PreTrainedModel | PeftModel  # plain, or wrapped with adapters


def load_llm(config: LLMConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The pretrained model, frozen, in `dtype`.

    Raises:
        OSError: a model that cannot be fetched; the message says what to do.
        ValueError: other weights than those of `config.sha256`.
    """
    folder = fetch_llm(config.source, sha256=config.sha256)
    with delayed_bars():
        llm = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=config.attention)
    return llm.requires_grad_(False).eval()


def load_tokenizer(config: LLMConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer; errors as `load_llm`, and ValueError for one without an end token."""
    folder = fetch_llm(config.source, sha256=config.sha256)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"the tokenizer of {config.source} has no end token, which closes every answer; name one as eos_token in "
            f"{folder / 'tokenizer_config.json'}, or choose another --llm"
        )
    return tokenizer


def attach_lora(llm: PreTrainedModel, config: LoRAConfig) -> PeftModel:
    """New adapters (the first equals the plain model: B starts at zero).

    Raises:
        ValueError: a wanted module is in no layer of the model, or only in some.
    """
    _check_modules(llm, config.target_modules)
    adapters = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.target_modules),
        task_type="CAUSAL_LM",
    )
    adapters._register_custom_module({nn.Linear: _FusedLinear})
    with _quiet_peft():
        return get_peft_model(llm, adapters)


@dataclass(frozen=True)
class WordScale:
    """Size of a language model's word embeddings."""

    width: int
    std: float  # of the layer's output, which Gemma scales up from its weights


@torch.no_grad()
def measure_words(llm: LanguageModel) -> WordScale:
    """Width and spread of the word embeddings, for scaling other tokens of the sequence."""
    words = word_embeddings(llm)
    some_ids = torch.arange(min(words.num_embeddings, 1 << 12), device=words.weight.device)
    return WordScale(words.embedding_dim, float(words(some_ids).float().std()))


def word_embeddings(llm: LanguageModel) -> nn.Embedding:
    """The language model's input embeddings (Gemma's scale them by themselves)."""
    words = unwrap_lora(llm).get_input_embeddings()
    assert isinstance(words, nn.Embedding)
    return words


def merge_lora(llm: LanguageModel) -> PreTrainedModel:
    """The plain model with its adapters added into the weights: nothing to compute beside them."""
    return llm.merge_and_unload() if isinstance(llm, PeftModel) else llm


def has_lora(llm: LanguageModel) -> bool:
    """Whether adapters are attached."""
    return isinstance(llm, PeftModel)


def unwrap_lora(llm: LanguageModel) -> PreTrainedModel:
    """The causal language model itself; attached adapters go on acting in its layers."""
    causal_lm = llm.get_base_model() if isinstance(llm, PeftModel) else llm
    assert isinstance(causal_lm, PreTrainedModel)
    return causal_lm


def cap_logits(logits_PV: torch.Tensor, causal_lm: PreTrainedModel) -> torch.Tensor:
    """Logits from the output of the head (Gemma 2 bounds them by a tanh).

    The order of the tokens stays, so greedy decoding does not need it.
    """
    cap = getattr(causal_lm.config, "final_logit_softcapping", None)
    return logits_PV if cap is None else cap * torch.tanh(logits_PV / cap)


def compile_layers(llm: LanguageModel, backend: str = "inductor") -> None:
    """Compile each decoder layer at its first use; equal layers share one compilation."""
    for layer in cast(nn.ModuleList, unwrap_lora(llm).base_model.layers):
        layer.compile(backend=backend)


def save_lora(
    llm: LanguageModel, checkpoint_dir: Path, base_model: str, weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the adapters of a wrapped model as a PEFT folder; a plain model has none to write.

    Args:
        llm: the language model.
        checkpoint_dir: where the folder comes to stand.
        base_model: what the folder says it belongs to: a hub id, or a folder of the user's.
        weights: the adapters' parameters by the model's names for them; None: as they are now.
    """
    if isinstance(llm, PeftModel):
        llm.peft_config["default"].base_model_name_or_path = base_model
        # To save embedding layers "auto" would ask the hub.
        llm.save_pretrained(str(checkpoint_dir / ADAPTER_DIR), save_embedding_layers=False, state_dict=weights)


def load_lora(llm: PreTrainedModel, checkpoint_dir: Path, is_trainable: bool) -> PeftModel:
    """Adapters of a checkpoint, readable by peft alone as well.

    Raises:
        ValueError: they are damaged, or of another language model.
    """
    folder = checkpoint_dir / ADAPTER_DIR
    kind = read_json(folder / _ADAPTER_FILE).get("peft_type")
    if kind != "LORA":
        raise ValueError(f"{folder / _ADAPTER_FILE} describes no adapters of LoRA but {kind!r}; restore it")
    try:
        adapters = LoraConfig.from_pretrained(str(folder))
        adapters._register_custom_module({nn.Linear: _FusedLinear})
        with _quiet_peft():
            adapted = PeftModel.from_pretrained(llm, folder, is_trainable=is_trainable, config=adapters)
        with safe_open(folder / SAFETENSORS_WEIGHTS_NAME, "pt") as file:
            _compare_adapters(set(file.keys()), adapted, folder)
    except (SafetensorError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder} is damaged: {why}; restore it or train the stage again") from error
    return adapted


def count_positions(causal_lm: PreTrainedModel) -> int | None:
    """The most positions that the model was built to read; None where its config states none."""
    return getattr(causal_lm.config.get_text_config(), "max_position_embeddings", None)


def _check_modules(llm: PreTrainedModel, wanted: Sequence[str]) -> None:
    """ValueError where not every layer has all wanted modules; peft adapts what it finds and says nothing.

    A name with a dot (`self_attn.q_proj`, `layers.0.self_attn.q_proj`) is one that chooses its layers.
    """
    num_layers = llm.config.get_text_config().num_hidden_layers
    names = [name for name, _ in llm.named_modules()]
    found = {module: sum(f".{name}".endswith(f".{module}") for name in names) for module in wanted}
    missing = [
        f"{module} (in {count or 'none'} of {num_layers} layers)"
        for module, count in found.items()
        if count < (1 if "." in module else num_layers)
    ]
    if missing:
        linear = {name: module for name, module in llm.named_modules() if isinstance(module, nn.Linear | Conv1D)}
        head = llm.get_output_embeddings()
        there = sorted({name.rsplit(".", 1)[-1] for name, module in linear.items() if module is not head})
        raise ValueError(
            f"the language model ({type(llm).__name__}) lacks layers that model.lora.target_modules names: "
            f"{', '.join(missing)}; it has model.lora.target_modules=[{','.join(there)}]"
        )


def _compare_adapters(stored: set[str], adapted: PeftModel, folder: Path) -> None:
    """ValueError where a checkpoint's adapters are not those that its language model took."""
    taken = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    strange = stored - taken or taken - stored
    if strange:
        modules = sorted({name.rsplit(".lora_", 1)[0].rsplit(".", 1)[-1] for name in strange})
        which = "has adapters that the language model has no layer for" if stored - taken else "lacks adapters"
        raise ValueError(
            f"{folder} {which}: {', '.join(modules)} ({len(strange)} tensors, such as {min(strange)}); give the "
            "language model that it was trained with (llm.source, model.lora.target_modules), or restore it"
        )


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Leave out what peft (0.21) warns of: a name of transformers, and missing adapters, which are an error here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


@contextmanager
def delayed_bars() -> Iterator[None]:
    """Show transformers' bars like those of the commands, and only where loading takes long."""
    previous = set_tqdm_hook(lambda _, args, options: progress_bar(*args, **options, delay=_BAR_AFTER_S, leave=False))
    try:
        yield
    finally:
        set_tqdm_hook(previous)


class _FusedLinear(lora.Linear):
    """peft's layer with its usual case as one operation, and without a float32 copy of every activation."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        names = self.active_adapters
        if len(names) != 1 or self.merged or self.disable_adapters or args or kwargs or names[0] in self.lora_variant:
            return super().forward(x, *args, **kwargs)
        name, base = names[0], self.get_base_layer()
        if not isinstance(self.lora_dropout[name], nn.Identity) or self.lora_bias[name] or type(base) is not nn.Linear:
            return super().forward(x)
        a_RI, b_OR = (cast(nn.Linear, part[name]).weight for part in (self.lora_A, self.lora_B))
        return apply_lora_linear(x, base.weight, base.bias, a_RI, b_OR, self.scaling[name])
