"""How a command ends: its result on stdout, or one line on stderr, and an exit code."""

import sys
from collections.abc import Callable


def run_command(action: Callable[[], str], after_interrupt: str = "run the same command again") -> int:
    """Run what a command does and print the text it returns; the exit code is that of `run_to_code`."""

    def print_result() -> int:
        sys.stdout.write(f"{action()}\n")
        return 0

    return run_to_code(print_result, after_interrupt)


def run_to_code(action: Callable[[], int], after_interrupt: str) -> int:
    """Run what a command does, for the exit code it returns; what stops it is said in one line.

    Returns:
        The action's own code; 1 a file, a connection or an optional package failed, or Ctrl-C; 2 a mistake in the call
        or the data.
    """
    try:
        return action()
    except KeyboardInterrupt:
        return fail(f"interrupted; {after_interrupt}", 1)
    except (ValueError, FileNotFoundError) as error:
        return fail(str(error), 2)
    except (OSError, ImportError) as error:
        return fail(str(error), 1)


def fail(message: str, exit_code: int) -> int:
    """Say in one line what went wrong; gives the exit code back."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return exit_code
