"""The `tslm` command: a table of sub-commands."""

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tslm import __version__
from tslm.cli import checkpoints, inspect, models, review, score, serve, stage
from tslm.command import run_command


@dataclass(frozen=True)
class Command:
    """One sub-command; its module imports heavy packages only when it runs."""

    name: str
    summary: str  # one line, shown by `tslm --help`
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], str]  # returns the text to print; errors as in tslm.command.run_command


COMMANDS = (
    Command(
        "stage",
        "recordings to stages, probabilities, checked explanations and a report, without preparation or training",
        "tslm stage NIGHT.edf --out staged",
        stage.add_arguments,
        stage.stage,
    ),
    Command(
        "score",
        "the fast classifier alone: a recording to a hypnogram with probabilities, in seconds",
        "tslm score NIGHT.edf",
        score.add_arguments,
        score.score,
    ),
    Command(
        "serve",
        "a REST service and a page: recordings come in by HTTP, nights are staged in worker processes",
        "tslm serve --data served --workers 2",
        serve.add_arguments,
        serve.serve,
    ),
    Command(
        "models",
        "the trained models of the package: what each reads, its size and its scores",
        "tslm models --json",
        models.add_arguments,
        models.list_models,
    ),
    Command(
        "review",
        "a local page on which clinicians judge the explanations, with export and agreement of reviewers",
        "tslm review results/smollm2-135m/soft_prompt/stage4_sleep_cot --data prepared/sleep_edf --blind",
        review.add_arguments,
        review.review,
    ),
    Command(
        "inspect",
        "settings, code, packages, data, progress and scores of a run or a checkpoint",
        "tslm inspect results/smollm2-135m/soft_prompt/stage4_sleep_cot",
        inspect.add_arguments,
        inspect.inspect,
    ),
    Command(
        "import-opentslm",
        "bring in a checkpoint of the published OpenTSLM",
        "tslm import-opentslm best_model.pt --llm llama-3.2-1b --out checkpoints/opentslm",
        checkpoints.add_import_arguments,
        checkpoints.import_opentslm,
    ),
    Command(
        "export",
        "a checkpoint for use elsewhere: a scorer as ONNX, or a language model with its adapter merged",
        "tslm export results/no_llm/classifier/stage0_encoder/checkpoints/best --format onnx --out scorer_onnx",
        checkpoints.add_export_arguments,
        checkpoints.export,
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 a file or package failed, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin beside a busy neighbour take minutes
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: arguments.run(arguments))


def build_parser() -> argparse.ArgumentParser:
    """Command line of `tslm` with all its sub-commands."""
    parser = argparse.ArgumentParser(
        prog="tslm",
        description="Stage sleep with a trained model, straight from a recording.",
        epilog="`tslm COMMAND --help` shows an example.",
    )
    parser.add_argument("--version", action="version", version=f"tslm {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=f"example: {command.example}",
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser
