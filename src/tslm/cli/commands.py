"""What a sub-command of `tslm` is. Its module imports what is heavy only when it runs."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One row of the table in tslm.cli.main."""

    name: str
    summary: str  # one line, shown by `tslm --help`
    example: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], str]  # gives the text to print; errors as tslm.command.run_command takes them
