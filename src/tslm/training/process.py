"""The training process and its operating system: stop signals, the launcher, and unused memory.

The two calls of the C library stand here and nowhere else (docs/decisions/025-several-processes.md).
"""

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import psutil

logger = logging.getLogger(__name__)

_PATIENCE_S = 3.0  # launchers forward one signal several times; a later signal is a new one
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # prctl(2)


class StopSignals:
    """Record the first SIGTERM or SIGINT, so that training can stop after its step.

    A signal that arrives some seconds later ends the process. Outside the main thread, where Python cannot handle
    signals, the context does nothing.
    """

    def __init__(self) -> None:
        self._received_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._record) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_set(self) -> bool:
        """Return whether a signal was received."""
        return self._received_at is not None

    def _record(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._received_at is None:
            self._received_at = now
            logger.warning("%s: stopping after this step, with a checkpoint", signal.Signals(number).name)
        elif now - self._received_at > _PATIENCE_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def end_with_launcher() -> bool:
    """Ask the kernel for a SIGTERM when the parent, `accelerate launch`, ends; return whether it was asked.

    The launcher of a single process does not forward signals: if a scheduler or `docker stop` ends it, training would
    continue unnoticed. Nothing is done under other parents (a login shell) or outside Linux.
    """
    parent = psutil.Process(os.getppid())
    if sys.platform != "linux" or not any(_is_launcher(word) for word in parent.cmdline()[:3]):
        return False
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent.pid:  # the parent has ended meanwhile
        signal.raise_signal(signal.SIGTERM)
    return True


def _is_launcher(word: str) -> bool:
    return Path(word).name in ("accelerate", "accelerate-launch") or word.startswith("accelerate.commands.")


def release_memory() -> None:
    """Return the memory of a finished part of a run to the system before the next part allocates as much again.

    Wrapped modules are reference cycles, so they wait for the garbage collector. The C library keeps the pages of many
    tensors of changing size, about 1 GB a curriculum stage, until it is told to trim them.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
