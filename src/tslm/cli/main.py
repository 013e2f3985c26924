"""The `tslm` command: a table of sub-commands, each in a module of its own."""

import argparse
import logging
from collections.abc import Sequence

from tslm import __version__
from tslm.cli.commands import Command
from tslm.cli.export_merged import EXPORT_MERGED
from tslm.cli.import_opentslm import IMPORT_OPENTSLM
from tslm.cli.inspect import INSPECT
from tslm.cli.review import REVIEW
from tslm.cli.score import SCORE
from tslm.command import run_command

COMMANDS: tuple[Command, ...] = (SCORE, REVIEW, INSPECT, IMPORT_OPENTSLM, EXPORT_MERGED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 a file or package failed, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_args(argv)
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
