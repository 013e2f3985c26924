"""`tslm export-merged`: a checkpoint that needs no other folder, its adapter added into the language model."""

import argparse
from pathlib import Path

from tslm.cli.commands import Command


def export_merged(arguments: argparse.Namespace) -> str:
    """Write the export and name its files; errors as TSLMTextModel's `from_pretrained` and `save_pretrained`."""
    from tslm.hub import TSLMTextModel

    model = TSLMTextModel.from_pretrained(arguments.checkpoint, merge_adapter=True)
    model.save_pretrained(arguments.out)
    return (
        f"written: {arguments.out}; AutoModelForCausalLM loads {arguments.out / 'llm'} alone, AutoModel the whole "
        "after `import tslm.hub`"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `tslm export-merged`."""
    parser.add_argument("checkpoint", help="folder of a text model's checkpoint, or a hub id owner/name")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")


EXPORT_MERGED = Command(
    name="export-merged",
    summary="a checkpoint with its adapter merged into the language model, in one folder that needs no other",
    example="tslm export-merged results/smollm2-135m/soft_prompt/stage4_sleep_cot/checkpoints/best --out stager",
    add_arguments=add_arguments,
    run=export_merged,
)
