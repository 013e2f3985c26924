"""How a command ends: its result on stdout, or one line on stderr, and an exit code."""

import sys
from collections.abc import Callable


def run_command(action: Callable[[], str], after_interrupt: str = "run the same command again") -> int:
    """Run what a command does and print the text it returns.

    Returns:
        0 done; 1 a file, a connection or an optional package failed, or Ctrl-C; 2 a mistake in the call or the data.
    """
    try:
        result = action()
    except KeyboardInterrupt:
        return fail(f"interrupted; {after_interrupt}", 1)
    except (ValueError, FileNotFoundError) as error:
        return fail(str(error), 2)
    except (OSError, ImportError) as error:
        return fail(str(error), 1)
    sys.stdout.write(f"{result}\n")
    return 0


def fail(message: str, exit_code: int) -> int:
    """Say in one line what went wrong; gives the exit code back."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return exit_code
