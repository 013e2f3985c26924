"""Flamingo checkpoints of the published OpenTSLM as models of ours, as far as they fit.

They hold the whole language model (opentslm 0.1.0 on open_flamingo 2.0.1: `OpenTSLMFlamingo.store_to_file` and the
curriculum script), most of it twice, by the names of its wrappers. Patches, perceiver and gated cross-attention are
ours in structure; the word embeddings were trained along and have tokens that our language models do not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tslm.config.schema import EncoderConfig, FlamingoConfig, RunConfig
from tslm.models.llm.backbone import unwrap_lora
from tslm.models.opentslm.file import read_state
from tslm.models.opentslm.soft_prompt import SLEEP_EPOCH_S, SLEEP_FS_HZ, fill_module, published_encoder_name, read_shape
from tslm.models.text_model import TextModel
from tslm.nn.resampler import number_series

FLAMINGO_KEYS = ("llm", "model_state")  # one of them holds the state, by who saved it
_NUM_HEADS = 8  # of open_flamingo's perceiver and cross-attention
_PARTS = ("vision_encoder.", "perceiver.", "lang_encoder.")
_BLOCK = "lang_encoder.gated_cross_attn_layers."
_RESAMPLER_NAMES = {"token_norm": "0.norm_media", "latent_norm": "0.norm_latents"}
_ATTENTION_NAMES = {"to_query": "to_q", "to_key_value": "to_kv", "out": "to_out"}
_REASONS = (
    (r"embed_tokens|lm_head", "word embeddings were trained along and have tokens of their own; --llm's stay"),
    (
        r"old_decoder_blocks|model\.layers\.|model\.norm|rotary",
        "frozen layers of the language model; --llm's are the same",
    ),
)


@dataclass(frozen=True)
class FlamingoCheckpoint:
    """The parts of a file that are read, under their own names without those of wrappers."""

    path: Path
    state: dict[str, Tensor]  # patches, perceiver and gated cross-attention
    left_out: dict[str, str]  # every other tensor -> why
    train_epoch: int | None = None
    val_loss: float | None = None


def read_flamingo(content: Mapping[str, Any], path: Path) -> FlamingoCheckpoint:
    """The parts of an OpenTSLM-Flamingo file's content that are read (tslm.models.opentslm.file).

    Raises:
        ValueError: it holds no state, or weights that are not finite.
    """
    key = next(key for key in FLAMINGO_KEYS if key in content)
    named = content[key]
    if not isinstance(named, Mapping):
        raise ValueError(f"{path}: {key} is a {type(named).__name__}; wanted a state dict")
    wanted: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name, tensor in named.items():
        plain = _strip_wrappers(str(name))
        if plain.startswith(("vision_encoder.", "perceiver.", _BLOCK)):
            wanted[plain] = tensor  # a second time under another wrapper's name it is the same tensor
        elif "gated_cross_attn_layer." not in plain:  # the blocks again, at their place in the decoder
            left_out[plain] = next((why for pattern, why in _REASONS if re.search(pattern, plain)), "unknown here")
    train_epoch, val_loss = content.get("epoch"), content.get("val_loss")
    return FlamingoCheckpoint(
        path=path,
        state=read_state({key: wanted}, key, path),
        left_out=left_out,
        train_epoch=train_epoch if isinstance(train_epoch, int) else None,
        val_loss=float(val_loss) if isinstance(val_loss, float | int) else None,
    )


def adapt_flamingo_config(config: RunConfig, checkpoint: FlamingoCheckpoint) -> RunConfig:
    """The configuration of our flamingo with the sizes of a checkpoint.

    Raises:
        ValueError: weights that tell a size are missing or of the wrong shape.
    """
    state, path = checkpoint.state, checkpoint.path
    d_model, _, patch_size = read_shape(state, "vision_encoder.patch_embed.weight", 3, path)
    max_patches = read_shape(state, "vision_encoder.pos_embed", 3, path)[1]
    inner = read_shape(state, "perceiver.layers.0.0.to_q.weight", 2, path)[0]
    if inner % _NUM_HEADS:
        raise ValueError(f"{path}: {inner} attention features cannot be shared by {_NUM_HEADS} heads")
    flamingo = FlamingoConfig(
        num_latents=read_shape(state, "perceiver.latents", 2, path)[0],
        resampler_layers=1 + max(_numbers(state, r"perceiver\.layers\.(\d+)\.")),
        num_heads=_NUM_HEADS,
        head_size=inner // _NUM_HEADS,
        ff_factor=read_shape(state, "perceiver.layers.0.1.1.weight", 2, path)[0] // d_model,
        every_n_layers=1 + min(_numbers(state, rf"{re.escape(_BLOCK)}(\d+)\."), default=0),
        relative_gates=False,
    )
    encoder = EncoderConfig(
        front_end="conv", patch_size=patch_size, d_model=d_model, num_layers=0, max_patches=max_patches
    )
    model = replace(config.model, encoder=encoder, flamingo=flamingo)
    if config.stage.task.startswith("sleep"):
        model = replace(model, fs_hz=SLEEP_FS_HZ, epoch_s=SLEEP_EPOCH_S)
    return replace(config, model=model, stage=replace(config.stage, trained=("encoder", "projector")))


def fill_flamingo(model: TextModel, checkpoint: FlamingoCheckpoint, config: RunConfig) -> None:
    """Put a checkpoint's weights into a model built from `adapt_flamingo_config`'s configuration.

    Raises:
        ValueError: the language model is another than the checkpoint's, or weights are missing, unknown or of
            another shape (named).
    """
    state, path, every = checkpoint.state, checkpoint.path, config.model.flamingo.every_n_layers
    num_layers = unwrap_lora(model.llm).config.get_text_config().num_hidden_layers
    numbers = _numbers(state, rf"{re.escape(_BLOCK)}(\d+)\.")
    if numbers != set(range(every - 1, num_layers, every)):
        said = f"cross-attention before layers {sorted(number + 1 for number in numbers)}"
        raise ValueError(f"{path} has {said}, {config.llm.name} has {num_layers} layers; give another --llm")
    parts = {part: _cut_prefix(state, part) for part in ("vision_encoder.", "perceiver.", _BLOCK)}
    fill_module(model.reader.encoder, parts["vision_encoder."], published_encoder_name, f"{path}: vision_encoder")
    fusion: Any = model.fusion
    fill_module(fusion.resampler, parts["perceiver."], published_resampler_name, f"{path}: perceiver")
    with torch.no_grad():  # we number the series of a sample; the first one's number is taken off again here
        fusion.resampler.norm.bias -= number_series(1, fusion.resampler.width)[0]
    fill_module(
        fusion.blocks,
        parts[_BLOCK],
        lambda name: published_block_name(name, every),
        f"{path}: gated_cross_attn_layers",
    )


def published_resampler_name(name: str) -> str:
    """open_flamingo's name of a weight of our Resampler."""
    match = re.fullmatch(r"layers\.(\d+)\.(\w+)\.(.+)", name)
    if match is None:
        return {"latents_MD": "latents"}.get(name, name)
    number, part, rest = match.groups()
    if part == "feed_forward":
        return f"layers.{number}.1.{rest}"
    inner = _RESAMPLER_NAMES.get(part) or f"0.{_ATTENTION_NAMES[part]}"
    return f"layers.{number}.{inner}.{rest}"


def published_block_name(name: str, every_n_layers: int) -> str:
    """open_flamingo's name of a weight of our blocks; it counts all layers of the decoder."""
    number, part, *rest = name.split(".")
    place = str((int(number) + 1) * every_n_layers - 1)
    gates = {"attention_gate": "attn_gate", "feed_forward_gate": "ff_gate", "feed_forward": "ff"}
    return ".".join([place, gates.get(part) or f"attn.{_ATTENTION_NAMES.get(part, part)}", *rest])


def _strip_wrappers(name: str) -> str:
    """`model.`, `llm.` and `module.` before a part of the model taken off."""
    stripped = re.sub(r"^(?:(?:model|llm|module)\.)+", "", name)
    return stripped if stripped.startswith(_PARTS) else name


def _numbers(state: Mapping[str, Tensor], pattern: str) -> set[int]:
    return {int(match[1]) for name in state if (match := re.match(pattern, name))}


def _cut_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
