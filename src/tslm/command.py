"""End of a command: its result on stdout, or one line on stderr, and an exit code."""

import sys
from collections.abc import Callable


def run_command(action: Callable[[], str], after_interrupt: str = "run the same command again") -> int:
    """Run the action of a command and print its text; return the exit code as `run_to_code` does."""

    def print_result() -> int:
        sys.stdout.write(f"{action()}\n")
        return 0

    return run_to_code(print_result, after_interrupt)


def run_to_code(action: Callable[[], int], after_interrupt: str) -> int:
    """Run the action of a command and report an error in one line.

    Returns:
        The exit code of the action; 1 if a file, a connection or an optional package failed, or after an interrupt;
        2 for a mistake in the command or the data.
    """
    try:
        return action()
    except KeyboardInterrupt as error:
        return fail(f"{str(error) or 'interrupted'}; {after_interrupt}", 1)
    except (ValueError, FloatingPointError, FileNotFoundError, NotADirectoryError) as error:
        return fail(str(error), 2)
    except (OSError, ImportError) as error:
        return fail(str(error), 1)


def fail(message: str, exit_code: int) -> int:
    """Print an error in one line and return the exit code."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return exit_code
