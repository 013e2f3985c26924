"""Progress bars of all commands: tqdm on a terminal, a line each ten seconds in a log."""

import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

LOG_EVERY_S = 10.0


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A bar on stderr, with tqdm's options.

    Where stderr is no terminal, it writes a line at most each `LOG_EVERY_S`, and one at its end.
    """
    if sys.stderr is None:  # it was closed from the start
        options["disable"] = True
    elif not sys.stderr.isatty():
        options |= {"file": _LogFile(sys.stderr), "position": 0}  # bars inside others would move the cursor
    return tqdm(iterable, **options)


class _LogFile:
    """What tqdm writes to: it draws a bar again and again after a carriage return, and closes it with a line feed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._written_s = time.monotonic()
        self._state = self._written = ""  # of the bar: the last one, and the last that was written

    def write(self, text: str) -> None:
        is_closed = text == "\n"
        self._state = self._state if is_closed else text.strip()  # blanks wipe out a bar that is not left
        is_due = is_closed or time.monotonic() - self._written_s >= LOG_EVERY_S
        if is_due and self._state not in ("", self._written):
            self._file.write(f"{self._state}\n")
            self._file.flush()
            self._written, self._written_s = self._state, time.monotonic()

    def flush(self) -> None:
        self._file.flush()
