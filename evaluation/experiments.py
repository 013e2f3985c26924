r"""Experiments: a grid of trainings, interventions on what a language model reads and writes, or transfer of scorers.

Example:
    python -m evaluation.experiments run configs/experiments/phase1_small.yaml --dry_run
    python -m evaluation.experiments report configs/experiments/phase1_small.yaml
    python -m evaluation.experiments intervene --checkpoint RUN/checkpoints/best --data prepared/sim_test \\
        --out RUN/results
    python -m evaluation.experiments transfer --checkpoints human=RUN/checkpoints/best \\
        --data Fpz-Cz=prepared/sleep_edf --out docs/benchmarks
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from evaluation.generate import describe_request
from evaluation.grids import report as grid_report
from evaluation.grids import run as grid_run
from evaluation.grids import transfer
from evaluation.grids.launcher import run_training_command
from tslm.command import run_command
from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.schema import RunConfig
from tslm.files import read_json, write_json, write_text
from tslm.training.runs.folder import METRICS_FILE

_PROG = "python -m evaluation.experiments"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; 0 done, 1 a run failed or was interrupted, 2 a mistake in the call or the data."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((command for command in COMMANDS if words[:1] == [command.name]), None)
    if command is None:
        build_parser().parse_args(words)
        raise AssertionError("a parser of sub-commands ends where there is none")
    return command.run(_build_command(command).parse_intermixed_args(words[1:]))


def _intervene(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(lambda: intervene(load_checkpoint_config(arguments.checkpoint), arguments))


def intervene(trained: RunConfig, arguments: argparse.Namespace) -> str:
    """Write interventions.json and interventions.md, add the shares to a metrics.json beside them; return the table.

    Args:
        trained: config of the checkpoint.
        arguments: of the command line.
    """
    # Imported here, so that --help and a mistyped path answer at once.
    from tslm.data.samples.night_windows import load_recordings
    from tslm.data.splits.split import render_leak
    from tslm.explain.interventions.outcomes import INTERVENTIONS_FILE, build_table
    from tslm.explain.interventions.run import EDIT_NAMES, Writer, check_edits, run_interventions
    from tslm.predictions.journal import Journal
    from tslm.predictions.stager import choose_device, find_test_leak, open_stager
    from tslm.scoring.intervals import Resampling

    if not trained.writes_text:
        raise ValueError(f"{arguments.checkpoint} writes no text; give the checkpoint of a language model")
    if arguments.num_epochs < 1:
        raise ValueError(f"--num_epochs {arguments.num_epochs}: give 1 or more")
    edits = arguments.edits or EDIT_NAMES
    check_edits(trained, edits, arguments.conditions)
    config = _adapt(trained, arguments)
    leaky = find_test_leak(trained, config.stage.test_dir, config.stage.fold)
    nights = load_recordings(arguments.data, "test", config.stage.channels, config.stage.fold)
    device = choose_device(arguments.device)
    request = describe_request(config, arguments, "test", device)
    journal = Journal(arguments.out / INTERVENTIONS_FILE, request, arguments.resume)
    try:
        writer = cast(Writer, open_stager(arguments.checkpoint, device, config))
        rows = run_interventions(
            writer,
            nights,
            edits=edits,
            conditions=arguments.conditions,
            num_epochs=arguments.num_epochs,
            seed=arguments.seed,
            resampling=Resampling(arguments.num_resamples, arguments.seed),
            show_progress=True,
            done=journal.read_json_rows(),
            keep=lambda row: journal.append([row]),
        )
    finally:
        if not journal.has_rows:
            journal.discard()
    found = {
        "checkpoint": str(arguments.checkpoint),
        "data": str(arguments.data),
        "num_epochs": arguments.num_epochs,
        "seed": arguments.seed,
        "leaky": leaky,
        "edits": rows,
    }
    table = build_table(rows, render_leak(found))
    write_json(found, arguments.out / INTERVENTIONS_FILE)
    if metrics := read_json(arguments.out / METRICS_FILE):
        write_json(metrics | {"interventions": rows}, arguments.out / METRICS_FILE)
    path = arguments.out / INTERVENTIONS_FILE.replace(".json", ".md")
    write_text(table.markdown(), path)
    journal.discard()
    return f"{table.text()}\nwritten to {path}, {INTERVENTIONS_FILE} beside it"


def _adapt(config: RunConfig, arguments: argparse.Namespace) -> RunConfig:
    data = str(arguments.data)
    stage = replace(config.stage, train_dir=data, val_dir=data, test_dir=data, constrained=True)
    train = replace(config.train, eval_batch_size=arguments.batch_size or config.train.eval_batch_size)
    return replace(config, stage=stage, train=train)


def _add_intervene_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="of a language model")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared cohort with a test split")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a run's results folder, for its report to show"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the same call where it was stopped (interventions.json.partial)",
    )
    parser.add_argument("--num_epochs", type=int, default=60, help="largest number of epochs an edit")
    parser.add_argument(
        "--conditions",
        nargs="+",
        default=[],
        metavar="NAME",
        help="what follows an edit: all (signal and facts), series (signal, without facts in the prompt), facts (the "
        "facts, against the signal); default: those that the checkpoint's prompts allow",
    )
    parser.add_argument("--edits", nargs="+", default=[], metavar="NAME", help="default: all")
    parser.add_argument("--num_resamples", type=int, default=2000, help="bootstrap resamples of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the draws of epochs, edits and resamples")
    parser.add_argument("--batch_size", type=int, default=0, help="0: the checkpoint's")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1 ...; default: a GPU if there is one")


@dataclass(frozen=True)
class Command:
    """One sub-command."""

    name: str
    summary: str  # one line, shown by `--help`
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]  # returns the exit code


COMMANDS = (
    Command(
        "run",
        "train every missing run of a grid, resume what was interrupted, and write one table",
        "run configs/experiments/phase1.yaml fold=0 loss=focal --jobs 2",
        grid_run.add_arguments,
        lambda arguments: run_training_command(grid_run.run_grid, arguments),
    ),
    Command(
        "report",
        "write a research report of a grid from the files of its finished runs",
        "report configs/experiments/phase1_small.yaml --out docs/experiments/phase1",
        grid_report.add_arguments,
        lambda arguments: run_command(lambda: grid_report.write_grid_report(arguments)),
    ),
    Command(
        "intervene",
        "edit signal, facts and rationale, and measure whether text and answer follow",
        "intervene --checkpoint RUN/checkpoints/best --data prepared/sim_test --out RUN/results",
        _add_intervene_arguments,
        _intervene,
    ),
    Command(
        "transfer",
        "score every kind of night with every scorer, whole and in pieces, and write one table",
        "transfer --checkpoints human=RUN/checkpoints/best --data Fpz-Cz=prepared/sleep_edf --out docs/benchmarks",
        transfer.add_arguments,
        lambda arguments: run_command(lambda: transfer.run_transfer(arguments)),
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m evaluation.experiments` with all its sub-commands."""
    parser = argparse.ArgumentParser(
        prog=_PROG,
        description="Run experiments on trained models, or on grids of trainings.",
        epilog=f"`{_PROG} COMMAND --help` shows an example.",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparsers.add_parser(command.name, help=command.summary)
    return parser


def _build_command(command: Command) -> argparse.ArgumentParser:
    """The command line of a sub-command; argparse cannot mix positional and other arguments below another parser."""
    parser = argparse.ArgumentParser(
        prog=f"{_PROG} {command.name}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        epilog=f"example: {_PROG} {command.example}",
    )
    command.add_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
