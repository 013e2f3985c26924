"""Processes that train the runs of a grid; a failed run stops no other, an interrupt stops all."""

import fcntl
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from tslm.command import fail
from tslm.files import write_beside

LOG_FILE = "train.log"
RECORD_FILE = "experiment.json"
_PATIENCE_S = 120.0  # for a stopped run to write its last checkpoint
_NUM_LAST_LINES = 3

logger = logging.getLogger(__name__)


class Run(Protocol):
    """One training by train.py."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def folder(self) -> Path:
        """Folder of the log and the record."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of train.py."""

    @property
    def cell(self) -> Mapping[str, str]:
        """Value of each axis of the grid."""

    @property
    def fold(self) -> int:
        """Fold of the test split."""

    @property
    def seed(self) -> int:
        """Of its training."""

    @property
    def metrics_path(self) -> Path | None:
        """Scores of the finished run; None as long as it is not."""


@dataclass(frozen=True)
class Outcome:
    """How a run's process ended."""

    run: Run
    exit_code: int
    last_lines: str = ""  # of the log of a run that failed

    @property
    def is_done(self) -> bool:
        """Whether the run has metrics."""
        return self.exit_code == 0 and self.run.metrics_path is not None


def train_runs(
    runs: Sequence[Run], launch: Sequence[str], num_jobs: int, on_finished: Callable[[Outcome], None]
) -> list[Outcome]:
    """Train runs, `num_jobs` at a time, each in a process of its own with its output in `train.log`.

    Args:
        runs: in this order.
        launch: the words that start train.py; `python` is this interpreter.
        num_jobs: processes at once; they share the processor's cores.
        on_finished: called with each outcome, one at a time.

    Raises:
        KeyboardInterrupt: after every process has been told to stop and has ended; all can be resumed.
    """
    children = _Children()
    outcomes = []
    pool = ThreadPoolExecutor(num_jobs)
    try:
        futures = [pool.submit(children.train, run, launch, num_jobs) for run in runs]
        for future in as_completed(futures):
            outcomes.append(future.result())
            on_finished(outcomes[-1])
    finally:
        children.stop()
        pool.shutdown(cancel_futures=True)
    return outcomes


def train_with_progress(
    runs: Sequence[Run],
    launch: Sequence[str],
    num_jobs: int,
    what: str,
    num_complete: int = 0,
    on_done: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Run `train_runs` with a progress bar, log each failure, and return the runs that failed.

    Args:
        runs: to train.
        launch: the words that start train.py.
        num_jobs: processes at once.
        what: the runs are, for the bar.
        num_complete: runs that were done before.
        on_done: called after each run that has come to its end.
    """
    failed: list[Outcome] = []
    num_runs = len(runs) + num_complete
    with logging_redirect_tqdm(), tqdm(total=num_runs, initial=num_complete, desc=what, unit="run") as bar:

        def report(outcome: Outcome) -> None:
            bar.update(1)
            if outcome.is_done:
                on_done()
            else:
                failed.append(outcome)
                logger.warning("%s failed (exit code %d):\n%s", outcome.run.name, outcome.exit_code, outcome.last_lines)

        train_runs(runs, launch, num_jobs, report)
    return sorted(failed, key=lambda outcome: (outcome.run.fold, outcome.run.seed))


def report_failures(failed: Sequence[Outcome]) -> int:
    """Print one line per failed run with its error and log, and return the exit code."""
    for outcome in failed:
        last = outcome.last_lines.splitlines()[-1] if outcome.last_lines else f"exit code {outcome.exit_code}"
        if outcome.exit_code < 0:
            last = f"ended by {signal.Signals(-outcome.exit_code).name}; the same command goes on with it"
        fail(f"{outcome.run.name}: {last}; all of it: {outcome.run.folder / LOG_FILE}", 1)
    return 1 if failed else 0


def read_seconds(run: Run) -> float | None:
    """Return the duration of a finished run over all its attempts."""
    path = run.folder / RECORD_FILE
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]) if path.is_file() else None


class _Children:
    """Child processes in progress."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen] = set()
        self._is_stopped = False

    def train(self, run: Run, launch: Sequence[str], num_jobs: int) -> Outcome:
        """Run train.py to its end."""
        run.folder.mkdir(parents=True, exist_ok=True)
        words = [*(sys.executable if word == "python" else word for word in launch), *run.arguments]
        environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // num_jobs)), **os.environ}
        log_path, started_s = run.folder / LOG_FILE, time.monotonic()
        with log_path.open("a", encoding="utf-8") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the child inherits it, and holds it if we are killed
            except BlockingIOError:
                return Outcome(run, 1, "another process trains this run already; wait for it or stop it")
            log.write(f"$ {shlex.join(words)}\n")
            log.flush()
            with self._lock:
                if self._is_stopped:
                    return Outcome(run, 1, "stopped")
                # A session of its own: Ctrl-C reaches the child through us, once.
                child = subprocess.Popen(
                    words, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
                )
                self._running.add(child)
            exit_code = child.wait()
            with self._lock:
                self._running.discard(child)
        seconds = time.monotonic() - started_s + (read_seconds(run) or 0.0)
        with write_beside(run.folder / RECORD_FILE) as partial:
            record = {"cell": dict(run.cell), "fold": run.fold, "seed": run.seed, "exit_code": exit_code}
            record |= {"seconds": round(seconds, 1), "command": shlex.join(words)}
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return Outcome(run, exit_code, "" if exit_code == 0 else _read_end(log_path))

    def stop(self) -> None:
        """Ask every process to stop, and kill those that do not."""
        with self._lock:
            self._is_stopped = True
            running = list(self._running)
        for child in running:
            _signal_group(child, signal.SIGTERM)
        until_s = time.monotonic() + _PATIENCE_S
        for child in running:
            try:
                child.wait(max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen, number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return  # it has ended by itself


def _read_end(log_path: Path) -> str:
    lines = log_path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    return "\n".join([line.strip() for line in lines if line.strip()][-_NUM_LAST_LINES:])
