"""Output of commands: a result on stdout, an error as one line on stderr, the exit code, and rows of benchmarks."""

import math
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("accelerate", "huggingface_hub", "peft", "torch", "transformers")  # beginnings of their modules' names


class OutputError(OSError):
    """The result of a command cannot be printed: its reader has gone (`| head -1`), or the disk is full."""


def run_command(action: Callable[[], str], after_interrupt: str = "run the same command again") -> int:
    """Run the action of a command and print its text; return the exit code as `run_to_code` does."""

    def print_result() -> int:
        _print(action())
        return 0

    return run_to_code(print_result, after_interrupt)


def run_to_code(action: Callable[[], int], after_interrupt: str) -> int:
    """Run the action of a command and report an error in one line.

    Announcements of other packages to their developers (FutureWarning) are not shown, unless `python -W` asks for them.

    Returns:
        The exit code of the action; 1 if a file, a connection, an optional package or the output failed, or after an
        interrupt; 2 for a mistake in the command or the data.
    """
    if not sys.warnoptions:
        for package in _PACKAGES:
            warnings.filterwarnings("ignore", category=FutureWarning, module=package)
    try:
        exit_code = action()
        _print()
        return exit_code
    except KeyboardInterrupt as error:
        return fail(f"{str(error) or 'interrupted'}; {after_interrupt}", 1)
    except (BrokenPipeError, OutputError) as error:
        if sys.stdout is not None:
            with Path(os.devnull).open("w") as nowhere:  # Python flushes once more when it ends
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return fail(f"not all of the output could be written: {error.strerror}", 1)
    except (ValueError, FloatingPointError, FileNotFoundError, NotADirectoryError) as error:
        return fail(str(error), 2)
    except (OSError, ImportError) as error:
        return fail(str(error), 1)
    except MemoryError as error:
        return fail(f"not enough memory ({error}); give shorter recordings or fewer at once, or another machine", 1)


def fail(message: str, exit_code: int) -> int:
    """Print an error in one line and return the exit code; control characters of a damaged file become "?"."""
    printable = "".join(sign if sign.isprintable() else "?" for sign in " ".join(message.split()))
    if sys.stderr is not None:  # None: it was closed from the start
        sys.stderr.write(f"error: {printable}\n")
    return exit_code


def advise(action: str, command: str) -> str:
    """What a message advises to do, by a command that only a checkout of the project has.

    Args:
        action: what is to be done, such as "make it".
        command: module of an application and its arguments, such as "data_prep.prepare COHORT --out DIR".

    Returns:
        The action with the command, or, where the package is installed without a checkout, with where it is done.
    """
    if find_spec(command.split(".")[0]) is None:
        return f"{action} in a checkout of tslm-sleep"
    return f"{action} with: python -m {command}"


def _print(text: str = "") -> None:
    """Print what a command has to say, or what it has printed itself and is held back; OutputError if that fails."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{text}\n" if text else "")
        sys.stdout.flush()
    except OSError as error:
        raise OutputError(error.errno, error.strerror) from error


@dataclass(frozen=True)
class Row:
    """Row of a benchmark table: a figure, its target, and whether the target is met.

    A row without value shows the reason in its note; a row without limits has no target.
    """

    name: str
    value: float | None
    unit: str = ""
    least: float = 0.0
    most: float = math.inf
    note: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name:52}  skipped: {self.note}"
        note = f"  {self.note}" if self.note else ""
        return f"{self.name:52}{self.value:9.4g} {self.unit:9} {self._verdict():23}{note}".rstrip()

    def _verdict(self) -> str:
        if self.least <= 0 and math.isinf(self.most):
            return ""
        wanted = f"{self.least:g}-{self.most:g}" if self.least > 0 else f"<= {self.most:g}"
        if math.isinf(self.most):
            wanted = f">= {self.least:g}"
        verdict = "met" if self.least <= self.value <= self.most else "MISSED"  # type: ignore[operator]
        return f"wanted {wanted:10} {verdict}"
