"""Soft-prompt checkpoints of the published OpenTSLM as models of ours.

The architecture is the guide's, so every weight has its place: the names differ, the numbers do not. Sizes are read
from the shapes. What shapes do not tell (attention heads, the adapters' alpha) is that of OpenTSLM's constructors
unless said otherwise. Its text differs from ours: see docs/decisions/022-opentslm-checkpoints.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tslm.config.schema import EncoderConfig, LoRAConfig, RunConfig
from tslm.models.llm.backbone import attach_lora, word_embeddings
from tslm.models.opentslm.file import InertRecord, read_state
from tslm.models.text_model import TextModel

NUM_HEADS = 8  # TransformerCNNEncoder's
LORA_ALPHA = 32  # enable_lora's
SLEEP_FS_HZ, SLEEP_EPOCH_S = 50.0, 30.0  # its sleep data: 1,500 samples an epoch
_KNOWN_KEYS = {
    *("encoder_state", "projector_state", "lora_state", "lora_enabled", "lora_config"),
    *("optimizer_state", "scheduler_state", "val_loss", "epoch"),
}
_LORA_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.default\.weight")


@dataclass(frozen=True)
class OpenTslmCheckpoint:
    """The parts of a file that are read, under their own names."""

    path: Path
    encoder: dict[str, Tensor]
    projector: dict[str, Tensor]
    lora: dict[str, Tensor]  # empty without adapters
    lora_rank: int = 0
    lora_alpha: int | None = None  # None: the file does not tell
    train_epoch: int | None = None
    val_loss: float | None = None


def read_soft_prompt(content: Mapping[str, Any], path: Path) -> OpenTslmCheckpoint:
    """The parts of an OpenTSLM-SP file's content that are read (tslm.models.opentslm.file).

    Raises:
        ValueError: it is of another model, or its adapters are missing or of several ranks.
    """
    if unknown := set(content) - _KNOWN_KEYS:
        raise ValueError(f"{path} holds {', '.join(sorted(map(str, unknown)))}, which OpenTSLM-SP does not save")
    lora: dict[str, Tensor] = {}
    if content.get("lora_enabled") or content.get("lora_state"):
        if not content.get("lora_state"):
            raise ValueError(f"{path} says that adapters were trained, but its lora_state is missing")
        lora = read_state(content, "lora_state", path)
    rank = _read_rank(lora, path) if lora else 0
    train_epoch, val_loss = content.get("epoch"), content.get("val_loss")
    return OpenTslmCheckpoint(
        path=path,
        encoder=read_state(content, "encoder_state", path),
        projector=read_state(content, "projector_state", path),
        lora=lora,
        lora_rank=rank,
        lora_alpha=_read_alpha(content.get("lora_config"), rank, path) if lora else None,
        train_epoch=train_epoch if isinstance(train_epoch, int) else None,
        val_loss=float(val_loss) if isinstance(val_loss, float | int) else None,
    )


def adapt_config(
    config: RunConfig, checkpoint: OpenTslmCheckpoint, num_heads: int = NUM_HEADS, lora_alpha: int | None = None
) -> RunConfig:
    """The guide's configuration with the sizes of a checkpoint.

    Args:
        config: the guide's, for the language model that the checkpoint was trained with.
        checkpoint: gives the sizes.
        num_heads: of the encoder's attention; the file does not tell.
        lora_alpha: None takes the file's, or where it does not tell, OpenTSLM's.

    Raises:
        ValueError: weights that tell a size are missing or of the wrong shape.
    """
    state, path = checkpoint.encoder, checkpoint.path
    d_model, _, patch_size = read_shape(state, "patch_embed.weight", 3, path)
    layers = {int(match[1]) for name in state if (match := re.match(r"encoder\.layers\.(\d+)\.", name))}
    if num_heads < 1 or d_model % num_heads:
        raise ValueError(f"{path}: a width of {d_model} cannot be shared by {num_heads} attention heads")
    encoder = EncoderConfig(
        front_end="conv",
        patch_size=patch_size,
        d_model=d_model,
        num_layers=max(layers, default=-1) + 1,
        num_heads=num_heads,
        d_ff=read_shape(state, "encoder.layers.0.linear1.weight", 2, path)[0],
        max_patches=read_shape(state, "pos_embed", 3, path)[1],
    )
    model = replace(config.model, encoder=encoder)
    if config.stage.task.startswith("sleep"):
        model = replace(model, fs_hz=SLEEP_FS_HZ, epoch_s=SLEEP_EPOCH_S)
    trained: tuple[str, ...] = ("encoder", "projector")
    if checkpoint.lora:
        found = {match[1].rsplit(".", 1)[-1] for match in map(_LORA_NAME.fullmatch, checkpoint.lora) if match}
        usual = [name for name in LoRAConfig().target_modules if name in found]
        alpha = next(known for known in (lora_alpha, checkpoint.lora_alpha, LORA_ALPHA) if known is not None)
        modules = (*usual, *sorted(found - set(usual)))
        model = replace(model, lora=LoRAConfig(rank=checkpoint.lora_rank, alpha=alpha, target_modules=modules))
        trained = (*trained, "lora")
    return replace(config, model=model, stage=replace(config.stage, trained=trained))


def fill_model(model: TextModel, checkpoint: OpenTslmCheckpoint, config: RunConfig) -> None:
    """Put a checkpoint's weights into a model built from `adapt_config`'s configuration; adapters are attached.

    Raises:
        ValueError: the language model is another than the checkpoint's, or weights are missing, unknown or of
            another shape (named).
    """
    path, llm_name = checkpoint.path, config.llm.name
    width, has = (
        read_shape(checkpoint.projector, "projector.1.weight", 2, path)[0],
        word_embeddings(model.llm).embedding_dim,
    )
    if width != has:
        raise ValueError(
            f"{path} was trained with a language model of width {width}, {llm_name} has {has}; give another --llm"
        )
    fill_module(model.reader.encoder, checkpoint.encoder, published_encoder_name, f"{path}: encoder_state")
    projector: Any = model.fusion.projector
    fill_module(projector, checkpoint.projector, _published_projector_name, f"{path}: projector_state")
    if checkpoint.lora:
        modules = {name for name, _ in model.llm.named_modules()}
        strange = [name for name, match in _match_lora(checkpoint.lora).items() if not match or match[1] not in modules]
        if strange:
            raise ValueError(
                f"{path}: lora_state holds {strange[0]}, for which {llm_name} has no place; give another --llm"
            )
        model.llm = attach_lora(model.llm, config.model.lora)  # type: ignore[arg-type]
        adapters = {name: param for name, param in model.llm.named_parameters() if "lora_" in name}
        _copy_all(adapters, checkpoint.lora, f"{path}: lora_state")


def fill_module(module: nn.Module, state: Mapping[str, Tensor], published_name: Any, where: str) -> None:
    """Copy a published state dict into a module of ours; every weight on either side has its counterpart.

    Args:
        module: to fill.
        state: published name to tensor.
        published_name: our name to theirs.
        where: what the state is, for messages.

    Raises:
        ValueError: a weight is missing, unknown or of another shape.
    """
    _copy_all({published_name(name): param for name, param in module.named_parameters()}, state, where)


def published_encoder_name(name: str) -> str:
    """OpenTSLM's name of a weight of our PatchEncoder."""
    fixed = {"front_end.patch.weight": "patch_embed.weight", "positions_1ND": "pos_embed"}
    return fixed.get(name, re.sub(r"^layers\.layers\.", "encoder.layers.", name))


def _published_projector_name(name: str) -> str:
    return name.replace("layers.", "projector.", 1)


@torch.no_grad()
def _copy_all(params: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str) -> None:
    for said, names in (("lacks", set(params) - set(state)), ("holds unknown", set(state) - set(params))):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ValueError(f"{where} {said} {shown}")
    for name, param in params.items():
        if param.shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)}, wanted {tuple(param.shape)}"
            raise ValueError(f"{where} has {name} of shape {shapes}")
        param.copy_(state[name])


def _match_lora(lora: Mapping[str, Tensor]) -> dict[str, re.Match[str] | None]:
    return {name: _LORA_NAME.fullmatch(name) for name in lora}


def _read_rank(lora: Mapping[str, Tensor], path: Path) -> int:
    ranks = {
        tensor.shape[0 if match[2] == "A" else 1]
        for name, tensor in lora.items()
        if (match := _LORA_NAME.fullmatch(name)) and tensor.ndim == 2
    }
    if len(ranks) != 1:
        said = ", ".join(map(str, sorted(ranks))) or "none by their names"
        raise ValueError(f"{path}: the adapters of lora_state are of ranks {said}; wanted one rank for all")
    return ranks.pop()


def _read_alpha(config: Any, rank: int, path: Path) -> int | None:
    """Alpha of peft's settings in the file; None where it has none.

    Raises:
        ValueError: settings that change what the adapters do beyond rank and alpha.
    """
    if isinstance(config, Mapping):
        config = config.get("default", config)
    settings = vars(config) if isinstance(config, InertRecord) else config
    if not isinstance(settings, Mapping) or "lora_alpha" not in settings:
        return None
    for name in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "layer_replication", "lora_bias"):
        if settings.get(name):
            raise ValueError(f"{path}: lora_config sets {name}, which is not supported here")
    if settings.get("r") not in (None, rank):
        raise ValueError(f"{path}: lora_config says rank {settings['r']}, the weights of lora_state have {rank}")
    return int(settings["lora_alpha"])


def read_shape(state: Mapping[str, Tensor], name: str, num_dims: int, path: Path) -> tuple[int, ...]:
    """Shape of a weight; ValueError where it is missing or has another number of dimensions."""
    if name not in state:
        raise ValueError(f"{path} lacks {name}; it is no checkpoint of OpenTSLM")
    if state[name].ndim != num_dims:
        raise ValueError(f"{path} has {name} of shape {tuple(state[name].shape)}; wanted {num_dims} dimensions")
    return tuple(state[name].shape)
