"""`tslm import-opentslm`: a checkpoint of the published OpenTSLM as a checkpoint folder of ours."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tslm.cli.commands import Command

if TYPE_CHECKING:
    from tslm.config import RunConfig
    from tslm.models.opentslm_import import OpenTslmCheckpoint


def import_opentslm(arguments: argparse.Namespace) -> str:
    """Write the checkpoint folder and say what was read.

    Raises:
        ValueError, OSError: what is wrong with the file, the language model or the call.
    """
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        raise ValueError(f"{arguments.out} exists; remove it or choose another --out")
    if not arguments.checkpoint.is_file():
        raise FileNotFoundError(f"there is no file {arguments.checkpoint}")

    from tslm.compose import compose_config

    guide = compose_config(arguments.stage, "guide", arguments.llm, "soft_prompt")

    import torch

    from tslm.models import build_model
    from tslm.models.opentslm_import import adapt_config, fill_model, read_opentslm
    from tslm.models.text_model import TextModel
    from tslm.training.checkpoint import save_checkpoint

    checkpoint = read_opentslm(arguments.checkpoint)
    config = adapt_config(guide, checkpoint, arguments.num_heads, arguments.lora_alpha)
    torch.manual_seed(config.seed)  # for the parts that the file does not have, which nothing reads
    model = build_model(config)
    assert isinstance(model, TextModel)
    fill_model(model, checkpoint, config)
    state = {
        "imported_from": arguments.checkpoint.name,
        "train_epoch": checkpoint.train_epoch,
        "val_loss": checkpoint.val_loss,
    }
    save_checkpoint(model, config, state, arguments.out)
    return "\n".join([*_describe(checkpoint, config, arguments), f"written: {arguments.out}"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tslm import-opentslm`."""
    parser.add_argument("checkpoint", type=Path, metavar="best_model.pt", help="file of OpenTSLM-SP")
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
        "--num_heads", type=int, default=8, help="attention heads of its encoder; the file does not tell (default: 8)"
    )
    parser.add_argument(
        "--lora_alpha", type=int, help="alpha of its adapters (default: the file's, or where it does not tell, 32)"
    )


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
            source = "OpenTSLM's default, the file does not tell; --lora_alpha sets another"
        lines.append(f"adapters: rank {lora.rank} on {', '.join(lora.target_modules)}; alpha {lora.alpha} ({source})")
    else:
        lines.append("adapters: none in the file")
    if config.model.fs_hz:
        lines.append(
            f"nights: {config.model.epoch_s:g}-s epochs at {config.model.fs_hz:g} Hz, as OpenTSLM's; prepare data with "
            f"fs_hz={config.model.fs_hz:g}"
        )
    lines.append("prompts are worded as ours, not as OpenTSLM's: expect worse answers until trained on a little")
    return lines


IMPORT_OPENTSLM = Command(
    name="import-opentslm",
    summary="bring in a soft-prompt checkpoint of the published OpenTSLM",
    example="tslm import-opentslm best_model.pt --llm llama-3.2-1b --out checkpoints/opentslm",
    add_arguments=add_arguments,
    run=import_opentslm,
)
