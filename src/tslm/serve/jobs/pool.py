"""Worker processes: each stages a night at a time, and is ended where it takes too long, needs too much or crashes.

A thread of the service stands for each worker. It takes the job that has waited longest, hands it to its process, and
waits for the end. A process that has gone wrong is replaced; the service and the other nights go on.
"""

import logging
import multiprocessing
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tslm.files import swap_in
from tslm.serve.jobs.store import Job, JobStore
from tslm.serve.jobs.worker import Ended, NightTask, run_worker

_LOGGER = logging.getLogger(__name__)
_LOOK_S = 0.2  # between two looks at a night in work
_IDLE_S = 1.0  # between two looks for a job, if nobody says that there is one
_NIGHTS_A_PROCESS = 50  # then it is replaced, whatever its packages keep
_STOP_S = 10.0


@dataclass(frozen=True)
class JobFolders:
    """The files of jobs, in a folder each: `upload` and, when it is done, `result`; `work` until then."""

    root: Path

    def upload(self, job_id: str) -> Path:
        """Folder of the uploaded files."""
        return self.root / job_id / "upload"

    def result(self, job_id: str) -> Path:
        """Folder of the results; it is there when they are complete."""
        return self.root / job_id / "result"

    def work(self, job_id: str) -> Path:
        """Folder in which results are written."""
        return self.root / job_id / "work"

    def remove(self, job_id: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self.root / job_id, ignore_errors=True)

    def keep_only(self, job_ids: set[str]) -> None:
        """Remove the folders of all other jobs."""
        for path in self.root.iterdir() if self.root.is_dir() else ():
            if path.name not in job_ids:
                self.remove(path.name)


@dataclass(frozen=True)
class PoolLimits:
    """Limits of the work.

    Attributes:
        num_workers: nights at a time.
        timeout_s: longest time of one night.
        memory_bytes: most memory of one worker.
        keep_s: so long after its end a job is kept, with its files.
    """

    num_workers: int = 1
    timeout_s: float = 3600.0
    memory_bytes: int = 8 * 1024**3
    keep_s: float = 7 * 86400.0


@dataclass
class NightPool:
    """The workers of a service.

    Attributes:
        store: the jobs.
        folders: their files.
        menu: scorers by name.
        limits: of the work.
        device: cpu, cuda ...; empty: a GPU if there is one.
        on_end: called with the state and the seconds of each night that ended.
    """

    store: JobStore
    folders: JobFolders
    menu: Mapping[str, Path]
    limits: PoolLimits
    device: str = ""
    on_end: Callable[[str, float], None] = lambda _state, _wall_s: None
    stopping: threading.Event = field(default_factory=threading.Event)
    waking: threading.Condition = field(default_factory=threading.Condition)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start the workers; each loads its models with its first night."""
        for number in range(self.limits.num_workers):
            thread = threading.Thread(target=_Worker(self).run, name=f"night-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End the workers; nights in work wait for the next start."""
        self.stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join(_STOP_S)

    def wake(self) -> None:
        """Say that a job waits."""
        with self.waking:
            self.waking.notify_all()

    def forget_old(self) -> None:
        """Remove the jobs that ended too long ago."""
        for job in self.store.list_ended_before(time.time() - self.limits.keep_s):
            self.store.delete(job.id)
            self.folders.remove(job.id)

    @property
    def is_alive(self) -> bool:
        """Whether all workers are there."""
        return len(self._threads) == self.limits.num_workers and all(thread.is_alive() for thread in self._threads)

    def measure_memory_bytes(self) -> int:
        """Resident memory of all worker processes."""
        return sum(_measure_bytes(process.pid) for process in multiprocessing.active_children())

    def build_task(self, job: Job) -> NightTask:
        """What a worker is handed of a job."""
        recording = self.folders.upload(job.id) / job.file
        return NightTask(recording, job.options, dict(self.menu), self.folders.work(job.id), self.device)


class _Worker:
    """A thread with a process."""

    def __init__(self, pool: NightPool) -> None:
        self._pool, self._num_nights = pool, 0
        self._process: Any = None

    def run(self) -> None:
        pool = self._pool
        while not pool.stopping.is_set():
            try:
                pool.forget_old()
                job = pool.store.claim()
                if job is not None:
                    self._stage(job)
                    continue
            except OSError as error:  # a full disk: the next look may find it better
                _LOGGER.warning("%s", error)
            with pool.waking:
                pool.waking.wait(_IDLE_S)
        self._end_process()

    def _stage(self, job: Job) -> None:
        pool, folders = self._pool, self._pool.folders
        started_s = time.monotonic()
        shutil.rmtree(folders.work(job.id), ignore_errors=True)
        error = self._wait_for(job)
        if error is None and pool.stopping.is_set():
            pool.store.release(job.id)
            return
        if error is None or pool.store.find(job.id) is None:  # it was deleted
            folders.remove(job.id)
            return
        if not error:
            try:
                swap_in(folders.work(job.id), folders.result(job.id))
            except OSError as swap_error:
                error = f"its results could not be written: {swap_error.strerror}"
        shutil.rmtree(folders.work(job.id), ignore_errors=True)
        pool.store.end(job.id, error)
        pool.on_end("failed" if error else "done", time.monotonic() - started_s)

    def _wait_for(self, job: Job) -> str | None:
        """Let the process stage a night: its error, empty where there is none; None: it is not wanted any more."""
        pool, limits = self._pool, self._pool.limits
        if self._process is None:
            self._start_process()
        assert self._process is not None
        started_s, reported_s = time.monotonic(), 0.0
        try:
            self._pipe.send(pool.build_task(job))
            while True:
                if self._pipe.poll(_LOOK_S):
                    message = self._pipe.recv()
                    if isinstance(message, Ended):
                        self._num_nights += 1
                        if self._num_nights >= _NIGHTS_A_PROCESS:
                            self._end_process()
                        return message.error
                    if time.monotonic() - reported_s > 1:
                        pool.store.report(job.id, message.share)
                        reported_s = time.monotonic()
                if pool.stopping.is_set() or pool.store.find(job.id) is None:
                    self._end_process()
                    return None
                if time.monotonic() - started_s > limits.timeout_s:
                    self._end_process()
                    return f"it was not staged after {limits.timeout_s:g} s, the longest time of a night here"
                if _measure_bytes(self._process.pid) > limits.memory_bytes:
                    self._end_process()
                    return f"its staging needs more than {limits.memory_bytes / 1024**3:g} GB of memory"
        except (EOFError, OSError):
            process = self._process
            process.join(_STOP_S)
            _LOGGER.warning("%s", f"job {job.id}: the worker ended with exit code {process.exitcode}")
            self._end_process()
            return "the process that staged it crashed; the log of the service says more"

    def _start_process(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would hold this process's sockets and locks
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=run_worker, args=(other,), daemon=True)
        self._process.start()
        other.close()  # so that the end of the process ends the pipe
        self._num_nights = 0

    def _end_process(self) -> None:
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process = None


def _measure_bytes(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0
