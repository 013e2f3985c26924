"""Trackers: what the log says, sent on to MLflow or TensorBoard as well (`tracking=mlflow`, `tracking=tensorboard`).

The log (tslm.training.runs.log) is the record of a run, a tracker a view of it. So a tracker that cannot be reached
stops a run before it starts, but not after: figures wait in a queue of their own thread, are sent again later, and
what could not be sent by the end is warned of.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tslm.config.files import one_line
from tslm.config.schema import RunConfig

if TYPE_CHECKING:
    from tslm.training.trackers.figures import Figure

RETRY_AFTER_S = 30.0
MAX_DRAIN_S = 60.0  # at the end of a run: how long to wait for figures that were not sent yet

logger = logging.getLogger(__name__)


class Store(Protocol):
    """Where a tracker keeps a run. Every method raises OSError when the store cannot be reached."""

    run_id: str  # by which the run is found again; empty where the run's folder says it

    def log_metrics(self, metrics: Mapping[str, float], step: int, time_s: float) -> None:
        """Add numbers; `time_s` is when they were measured, in seconds since 1970."""

    def log_figure(self, name: str, figure: "Figure") -> None:
        """Keep a drawing."""

    def keep_checkpoint(self, checkpoint_dir: Path, step: int, score: float) -> None:
        """Keep a copy of a checkpoint if it is among the best."""

    def close(self, is_finished: bool) -> None:
        """The last call."""


class Tracker:
    """A store behind a queue: training never waits for it and never fails because of it."""

    def __init__(self, store: Store, retry_after_s: float = RETRY_AFTER_S, max_drain_s: float = MAX_DRAIN_S) -> None:
        self._store, self._retry_after_s, self._max_drain_s = store, retry_after_s, max_drain_s
        self._pending: queue.Queue[tuple[dict[str, float], int, float] | None] = queue.Queue()
        self._closing, self._is_down = threading.Event(), threading.Event()
        self._sender = threading.Thread(target=self._send, name="tracker", daemon=True)
        self._sender.start()

    @property
    def run_id(self) -> str:
        """By which the store finds the run again when it is resumed."""
        return self._store.run_id

    def log(self, record: Mapping[str, Any]) -> None:
        """Send the numbers of a record of the log that belongs to a step; an event has no place there."""
        if "step" in record and "event" not in record:
            metrics = list_numbers({key: value for key, value in record.items() if key != "step"})
            self._pending.put((metrics, int(record["step"]), time.time()))

    def log_figure(self, name: str, figure: "Figure") -> None:
        """Send a drawing, e.g. `hypnograms/SC4001E0`."""
        self._send_now(name, lambda: self._store.log_figure(name, figure))

    def keep_checkpoint(self, checkpoint_dir: Path, step: int, score: float) -> None:
        """Send a checkpoint, whose place is taken by a better one when there are enough of these."""
        self._send_now(str(checkpoint_dir), lambda: self._store.keep_checkpoint(checkpoint_dir, step, score))

    def close(self, is_finished: bool = True) -> None:
        """Send what is left and end the run there: as finished, or as failed."""
        self._closing.set()
        self._pending.put(None)
        self._sender.join(self._max_drain_s)
        if self._sender.is_alive() or not self._pending.empty():
            logger.warning("tracker: not all figures could be sent; the run's log has them")
        self._is_down.clear()
        self._send_now("the end of the run", lambda: self._store.close(is_finished))

    def _send(self) -> None:
        while (item := self._pending.get()) is not None:
            while (error := _attempt(lambda item=item: self._store.log_metrics(*item))) is not None:  # type: ignore[misc]
                if not self._is_down.is_set():
                    logger.warning("tracker: %s; tried again every %g s", error, self._retry_after_s)
                self._is_down.set()
                if self._closing.is_set():
                    return
                self._closing.wait(self._retry_after_s)
            self._is_down.clear()

    def _send_now(self, what: str, send: Callable[[], None]) -> None:
        """Send what is not worth waiting for; not tried while the store does not answer, which may take its time."""
        error = "it does not answer" if self._is_down.is_set() else _attempt(send)
        if error is not None:
            logger.warning("tracker: %s was not sent: %s", what, error)


def _attempt(send: Callable[[], None]) -> str | None:
    """What went wrong, in one line; None where nothing did."""
    try:
        send()
    except OSError as error:
        return one_line(error)
    return None


def open_tracker(config: RunConfig, run_dir: Path, run_id: str = "", tags: Mapping[str, str] | None = None) -> Tracker:
    """The tracker that `config.tracking` names; call it on the main process only, and where it is not `none`.

    Args:
        config: sent as the run's parameters.
        run_dir: folder of the run.
        run_id: of the run that is gone on with, as the tracker named it; empty: a new run.
        tags: words by which the run is found: commit, stage, fold.

    Raises:
        ImportError: the package is missing; names the extra to install.
        OSError: the store cannot be reached.
        ValueError: it has no run of that id.
    """
    if find_spec("matplotlib") is None:  # found missing now, not when the first drawing is due
        raise ImportError(f"tracking={config.tracking} needs matplotlib: pip install 'tslm-sleep[{config.tracking}]'")
    store: Store
    if config.tracking == "mlflow":
        from tslm.training.trackers.mlflow_store import MLflowStore

        store = MLflowStore(config, run_id, tags or {})
    else:
        from tslm.training.trackers.tensorboard_store import TensorBoardStore

        store = TensorBoardStore(config, run_dir, tags or {})
    return Tracker(store)


def list_numbers(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a nested record by `outer/inner`, those of a list by its position; anything else is left out."""
    numbers: dict[str, float] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            numbers |= list_numbers(value, f"{name}/")
        elif isinstance(value, list | tuple):
            numbers |= list_numbers({str(idx): item for idx, item in enumerate(value)}, f"{name}/")
        elif isinstance(value, int | float):
            numbers[name] = float(value)
    return numbers
