"""SIGTERM and SIGINT as a wish that training looks at after each step, instead of an end in the middle of one."""

import logging
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

logger = logging.getLogger(__name__)

_PATIENCE_S = 3.0  # launchers pass one signal on several times; a later one is meant again
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
