"""SIGTERM and SIGINT as a wish that training looks at after each step, instead of an end in the middle of one."""

import ctypes
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

_PATIENCE_S = 3.0  # launchers pass one signal on several times; a later one is meant again
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # prctl(2)


class StopSignals:
    """While this context is open, the first signal is noted; one that comes seconds later ends the process.

    Outside the main thread, where Python takes no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._noted_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_set(self) -> bool:
        """Whether a signal came."""
        return self._noted_at is not None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._noted_at is None:
            self._noted_at = now
            logger.warning("%s: stopping after this step, with a checkpoint", signal.Signals(number).name)
        elif now - self._noted_at > _PATIENCE_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def end_with_launcher() -> bool:
    """Have SIGTERM sent to this process when `accelerate launch`, which began it, ends; gives whether that is so.

    The launcher of a single process passes no signal on: where a scheduler or `docker stop` ends it, training would
    go on without anybody knowing. Under other parents (a shell that one logs out of) and outside Linux nothing changes.
    """
    parent = psutil.Process(os.getppid())
    if sys.platform != "linux" or not any(_names_launcher(word) for word in parent.cmdline()[:3]):
        return False
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent.pid:  # it ended in between
        signal.raise_signal(signal.SIGTERM)
    return True


def _names_launcher(word: str) -> bool:
    return Path(word).name in ("accelerate", "accelerate-launch") or word.startswith("accelerate.commands.")
