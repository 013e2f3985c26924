"""`tslm import-opentslm` and `tslm export`: checkpoints from the published OpenTSLM, and for use elsewhere."""

import argparse
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tslm.files import swap_in

if TYPE_CHECKING:
    from tslm.config.schema import RunConfig
    from tslm.models.opentslm.flamingo import FlamingoCheckpoint
    from tslm.models.opentslm.soft_prompt import OpenTslmCheckpoint
    from tslm.models.text_model import TextModel


def import_opentslm(arguments: argparse.Namespace) -> str:
    """Write the checkpoint folder and describe the imported model.

    Raises:
        ValueError, OSError: an error in the file, the language model or the call.
    """
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        raise ValueError(f"{arguments.out} exists; remove it or choose another --out")
    if not arguments.checkpoint.is_file():
        raise FileNotFoundError(f"there is no file {arguments.checkpoint}")

    from tslm.models.opentslm.file import read_torch_file
    from tslm.models.opentslm.flamingo import FLAMINGO_KEYS

    content = read_torch_file(arguments.checkpoint)
    is_flamingo = any(key in content for key in FLAMINGO_KEYS)
    lines = (_import_flamingo if is_flamingo else _import_soft_prompt)(content, arguments)
    return "\n".join([*lines, f"written: {arguments.out}"])


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tslm import-opentslm`."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="best_model.pt", help="file of OpenTSLM-SP or OpenTSLM-Flamingo"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint folder to write")
    parser.add_argument(
        "--llm",
        required=True,
        metavar="NAME",
        help="language model it was trained with: a short name, hub id or folder",
    )
    parser.add_argument(
        "--stage", default="stage4_sleep_cot", help="curriculum stage it was trained in (default: %(default)s)"
    )
    parser.add_argument(
        "--num_heads", type=int, default=8, help="attention heads of its encoder, which the file lacks (default: 8)"
    )
    parser.add_argument(
        "--lora_alpha", type=int, help="alpha of its adapters (default: the file's, or 32 if it has none)"
    )


def export(arguments: argparse.Namespace) -> str:
    """Write a checkpoint for use elsewhere.

    Raises:
        ValueError, OSError, ImportError: an error in the checkpoint or the call, or a missing extra.
    """
    return FORMATS[arguments.format](arguments)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tslm export`."""
    parser.add_argument("checkpoint", help="folder of a checkpoint; merged: or a hub id owner/name")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        required=True,
        help="merged: a language model with its adapter merged, which needs no other folder; onnx: a scorer or an "
        "encoder, which runs without torch",
    )


def _export_merged(arguments: argparse.Namespace) -> str:
    from tslm.hub import TSLMTextModel

    model = TSLMTextModel.from_pretrained(arguments.checkpoint, merge_adapter=True)
    model.save_pretrained(arguments.out)
    return (
        f"written: {arguments.out}; AutoModelForCausalLM loads {arguments.out / 'llm'} alone, AutoModel the whole "
        "after `import tslm.hub`"
    )


def _export_onnx(arguments: argparse.Namespace) -> str:
    from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE
    from tslm.data.novelty import NOVELTY_FILE
    from tslm.predictions.calibration import CALIBRATION_FILE
    from tslm.predictions.transitions import TRANSITIONS_FILE
    from tslm.training.checkpoints.checkpoint import load_checkpoint
    from tslm.training.checkpoints.model_card import CARD_FILE
    from tslm.training.checkpoints.onnx_graphs import export_graphs

    folder, out = Path(arguments.checkpoint), arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists; remove it or choose another --out")
    model, config = load_checkpoint(folder)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        written = export_graphs(model, config, partial)
        for name in (CHECKPOINT_CONFIG_FILE, CALIBRATION_FILE, TRANSITIONS_FILE, NOVELTY_FILE, CARD_FILE):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, partial / name)
        swap_in(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sizes = ", ".join(f"{path.name} {(out / path.name).stat().st_size / 1e6:.1f} MB" for path in written)
    return f"written: {out}: {sizes}"


FORMATS: dict[str, Callable[[argparse.Namespace], str]] = {"merged": _export_merged, "onnx": _export_onnx}


def _import_soft_prompt(content: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    from tslm.config.compose import compose_config
    from tslm.models.opentslm.soft_prompt import adapt_config, fill_model, read_soft_prompt

    guide = compose_config(arguments.stage, "guide", arguments.llm, "soft_prompt")
    checkpoint = read_soft_prompt(content, arguments.checkpoint)
    config = adapt_config(guide, checkpoint, arguments.num_heads, arguments.lora_alpha)
    model = _build_text_model(config)
    fill_model(model, checkpoint, config)
    _save(model, config, checkpoint, arguments)
    return _describe(checkpoint, config, arguments)


def _import_flamingo(content: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    from tslm.config.compose import compose_config
    from tslm.models.opentslm.flamingo import adapt_flamingo_config, fill_flamingo, read_flamingo

    guide = compose_config(arguments.stage, "guide", arguments.llm, "flamingo")
    checkpoint = read_flamingo(content, arguments.checkpoint)
    config = adapt_flamingo_config(guide, checkpoint)
    model = _build_text_model(config)
    fill_flamingo(model, checkpoint, config)
    _save(model, config, checkpoint, arguments)
    flamingo = config.model.flamingo
    lines = [
        f"flamingo: patches of {config.model.encoder.patch_size} samples, {flamingo.num_latents} latents from "
        f"{flamingo.resampler_layers} layers, every {flamingo.every_n_layers}. layer of {config.llm.name} reads them",
        f"{len(checkpoint.state)} tensors mapped, {len(checkpoint.left_out)} not:",
        *(f"  {name} ({number}): {why}" for (name, why), number in _count_left_out(checkpoint.left_out).items()),
        "several series a sample are read one by one here, together there",
    ]
    return [*lines, *_describe_input(config)]


def _count_left_out(left_out: dict[str, str]) -> Counter[tuple[str, str]]:
    """Number of tensors by name (without the layer's number) and reason."""
    return Counter((re.sub(r"\.\d+\.", ".*.", name), why) for name, why in left_out.items())


def _build_text_model(config: "RunConfig") -> "TextModel":
    import torch

    from tslm.models import build_text_model

    torch.manual_seed(config.seed)  # for unused parts that the file lacks
    return build_text_model(config)


def _save(
    model: "TextModel",
    config: "RunConfig",
    checkpoint: "OpenTslmCheckpoint | FlamingoCheckpoint",
    arguments: argparse.Namespace,
) -> None:
    from tslm.training.checkpoints.checkpoint import save_checkpoint

    state = {
        "imported_from": checkpoint.path.name,
        "train_epoch": checkpoint.train_epoch,
        "val_loss": checkpoint.val_loss,
    }
    save_checkpoint(model, config, state, arguments.out)


def _describe(checkpoint: "OpenTslmCheckpoint", config: "RunConfig", arguments: argparse.Namespace) -> list[str]:
    encoder, lora = config.model.encoder, config.model.lora
    lines = [
        f"encoder: {encoder.num_layers} layers of width {encoder.d_model} ({encoder.num_heads} heads, {encoder.d_ff} "
        f"feed-forward), patches of {encoder.patch_size} samples, {encoder.max_patches} at most",
        f"projector: to {config.llm.name}",
    ]
    if checkpoint.lora:
        source = "given" if arguments.lora_alpha is not None else "of the file"
        if arguments.lora_alpha is None and checkpoint.lora_alpha is None:
            source = "OpenTSLM's default, as the file has none; --lora_alpha sets another"
        lines.append(f"adapters: rank {lora.rank} on {', '.join(lora.target_modules)}; alpha {lora.alpha} ({source})")
    else:
        lines.append("adapters: none in the file")
    return [*lines, *_describe_input(config)]


def _describe_input(config: "RunConfig") -> list[str]:
    lines = []
    if config.model.fs_hz:
        lines.append(
            f"nights: {config.model.epoch_s:g}-s epochs at {config.model.fs_hz:g} Hz, as OpenTSLM's; prepare data with "
            f"fs_hz={config.model.fs_hz:g}"
        )
    lines.append("prompts are worded as ours, not as OpenTSLM's: expect worse answers until trained on a little")
    return lines
