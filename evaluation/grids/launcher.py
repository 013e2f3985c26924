"""Processes that train the runs of a grid; a failed run stops no other, an interrupt stops all."""

import argparse
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
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from tqdm.contrib.logging import logging_redirect_tqdm

from tslm.command import fail, run_to_code
from tslm.files import write_json
from tslm.progress_bar import progress_bar

LOG_FILE = "train.log"
RECORD_FILE = "experiment.json"
_STOP_TIMEOUT_S = 120.0  # a stopped run writes its last checkpoint
_NUM_LAST_LINES = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One training by train.py."""

    name: str  # in messages
    folder: Path  # of the log and the record
    arguments: tuple[str, ...]  # of train.py
    fold: int  # that is tested; -1: no folds
    seed: int
    metrics_pattern: str  # of the scores, below the folder
    cell: Mapping[str, str] = field(default_factory=dict)  # axis of the grid -> value

    @property
    def metrics_path(self) -> Path | None:
        """Scores of the finished run; None as long as it is not."""
        return next(self.folder.glob(self.metrics_pattern), None)


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


def run_training_command(action: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command that trains runs, and return its exit code; SIGTERM interrupts it as Ctrl-C does."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, _interrupt)

    def run() -> int:
        if arguments.jobs < 1:
            raise ValueError(f"--jobs {arguments.jobs}: give 1 or more")
        return action(arguments)

    return run_to_code(run, "the same command goes on where it was stopped")


def find_missing(runs: Sequence[Run]) -> list[Run]:
    """The runs that have no scores yet."""
    return [run for run in runs if run.metrics_path is None]


def train_runs(
    runs: Sequence[Run],
    launch: Sequence[str],
    num_jobs: int,
    title: str,
    num_complete: int = 0,
    on_done: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Train runs, each in a process of its own with its output in `train.log`, and return those that failed.

    Args:
        runs: in this order.
        launch: words that start train.py; `python` is this interpreter.
        num_jobs: processes at once; they share the processor's cores.
        title: of the progress bar.
        num_complete: runs that were complete before.
        on_done: called after each run that succeeds, one at a time.

    Raises:
        KeyboardInterrupt: after every process was asked to stop and has ended; all runs can be resumed.
    """
    failed: list[Outcome] = []
    children, pool, num_runs = _Children(), ThreadPoolExecutor(num_jobs), len(runs) + num_complete
    with logging_redirect_tqdm(), progress_bar(total=num_runs, initial=num_complete, desc=title, unit="run") as bar:
        try:
            futures = [pool.submit(children.train, run, launch, num_jobs) for run in runs]
            for future in as_completed(futures):
                outcome = future.result()
                bar.update(1)
                if outcome.is_done:
                    on_done()
                    continue
                failed.append(outcome)
                logger.warning("%s failed (exit code %d):\n%s", outcome.run.name, outcome.exit_code, outcome.last_lines)
        finally:
            children.stop()
            pool.shutdown(cancel_futures=True)
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
        record = {"cell": dict(run.cell), "fold": run.fold, "seed": run.seed, "exit_code": exit_code}
        write_json(record | {"seconds": round(seconds, 1), "command": shlex.join(words)}, run.folder / RECORD_FILE)
        return Outcome(run, exit_code, "" if exit_code == 0 else _read_end(log_path))

    def stop(self) -> None:
        """Ask every process to stop, and kill those that do not."""
        with self._lock:
            self._is_stopped = True
            running = list(self._running)
        for child in running:
            _signal_group(child, signal.SIGTERM)
        until_s = time.monotonic() + _STOP_TIMEOUT_S
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


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
