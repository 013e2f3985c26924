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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tslm.files import swap_in
from tslm.serve.jobs.store import Job, JobStore
from tslm.serve.jobs.tasks import Ended, NightTask, Progress
from tslm.serve.jobs.worker import run_worker

_LOGGER = logging.getLogger(__name__)
_LOOK_S = 0.2  # between two looks at a night in work
_START_S = 600.0  # of a process, until it begins with its first night
_REPORT_S = 1.0  # between two reports of progress
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
        target: what a worker process runs.
    """

    store: JobStore
    folders: JobFolders
    menu: Mapping[str, Path]
    limits: PoolLimits
    device: str = ""
    on_end: Callable[[str, float], None] = lambda _state, _wall_s: None
    target: Callable[[Any], None] = run_worker
    stopping: threading.Event = field(default_factory=threading.Event)
    waking: threading.Condition = field(default_factory=threading.Condition)
    _workers: "list[_Worker]" = field(default_factory=list)

    def start(self) -> None:
        """Start the workers; each loads its models with its first night."""
        for _ in range(self.limits.num_workers):
            self._workers.append(_Worker(self))
            self._workers[-1].start()

    def stop(self) -> None:
        """End the workers; nights in work wait for the next start."""
        self.stopping.set()
        self.wake()
        for worker in self._workers:
            worker.join(_STOP_S)

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
        return len(self._workers) == self.limits.num_workers and all(worker.is_alive() for worker in self._workers)

    def measure_memory_bytes(self) -> int:
        """Resident memory of all worker processes."""
        return sum(worker.measure_bytes() for worker in self._workers)

    def build_task(self, job: Job) -> NightTask:
        """What a worker is handed of a job."""
        recording = self.folders.upload(job.id) / job.file
        return NightTask(recording, job.options, dict(self.menu), self.folders.work(job.id), self.device)


class _Worker(threading.Thread):
    """A thread with a process."""

    def __init__(self, pool: NightPool) -> None:
        super().__init__(daemon=True)
        self._pool = pool
        self._pipe: Any = None
        self._process: Any = None
        self._num_nights = 0  # of the process
        self._job_id = ""  # in work

    def run(self) -> None:
        pool = self._pool
        while not pool.stopping.is_set():
            try:
                self._release()
                pool.forget_old()
                job = pool.store.claim()
                if job is not None:
                    self._stage(job)
                    continue
            except OSError as error:  # a full disk: the next look may find it better
                _LOGGER.warning("%s", error)
                self._end_process()
            with pool.waking:
                pool.waking.wait(_IDLE_S)
        self._end_process()
        self._release()

    def measure_bytes(self) -> int:
        """Resident memory of the process."""
        process = self._process
        try:
            return 0 if process is None else int(psutil.Process(process.pid).memory_info().rss)
        except psutil.Error:  # it has just ended
            return 0

    def _release(self) -> None:
        """Let a night that was not ended wait again."""
        if self._job_id:
            self._pool.store.release(self._job_id)
            self._job_id = ""

    def _stage(self, job: Job) -> None:
        pool, folders = self._pool, self._pool.folders
        self._job_id, started_s = job.id, time.monotonic()
        shutil.rmtree(folders.work(job.id), ignore_errors=True)
        error = self._wait_for_end(job)
        if error is None:
            self._end_process()
            if pool.stopping.is_set():
                return
        if error is None or pool.store.find(job.id) is None:  # it was deleted
            self._job_id = ""
            folders.remove(job.id)
            return
        if not error:
            try:
                swap_in(folders.work(job.id), folders.result(job.id))
            except OSError as swap_error:
                error = f"its results could not be written: {swap_error.strerror}"
        shutil.rmtree(folders.work(job.id), ignore_errors=True)
        pool.store.end(job.id, error)
        self._job_id = ""
        pool.on_end("failed" if error else "done", time.monotonic() - started_s)

    def _wait_for_end(self, job: Job) -> str | None:
        """Let the process stage a night: its error, empty where there is none; None: it is not wanted any more."""
        pool, limits = self._pool, self._pool.limits
        self._send(pool.build_task(job))
        started_s, reported_s, longest_s = time.monotonic(), 0.0, _START_S
        while True:
            message = self._receive(job.id)
            if isinstance(message, Ended):
                self._num_nights += 1
                if self._num_nights >= _NIGHTS_A_PROCESS:
                    self._end_process()
                return message.error
            now_s = time.monotonic()
            if message is not None and longest_s == _START_S:  # the process has started, and begins with the night
                started_s, longest_s = now_s, limits.timeout_s
            if message is not None and now_s - reported_s > _REPORT_S:
                pool.store.report(job.id, message.share)
                reported_s = now_s
            if pool.stopping.is_set() or pool.store.find(job.id) is None:
                return None
            if now_s - started_s > longest_s:
                self._end_process()
                return f"it was not staged after {longest_s:g} s, the longest time of a night here"
            if self.measure_bytes() > limits.memory_bytes:
                self._end_process()
                return f"its staging needs more than {limits.memory_bytes / 1024**3:g} GB of memory"

    def _send(self, task: NightTask) -> None:
        """Hand a night to the process, a new one where there is none or it has died."""
        if self._process is None or not self._process.is_alive():
            self._end_process()
            context = multiprocessing.get_context("spawn")  # a fork would hold this process's sockets and locks
            self._pipe, other = context.Pipe()
            process = context.Process(target=self._pool.target, args=(other,), daemon=True)
            process.start()
            self._process = process
            other.close()  # so that the end of the process ends the pipe
            self._num_nights = 0
        with suppress(BrokenPipeError):  # it died this moment: `_receive` says so
            self._pipe.send(task)

    def _receive(self, job_id: str) -> Progress | Ended | None:
        """What the process has to say; None: nothing yet."""
        try:
            return self._pipe.recv() if self._pipe.poll(_LOOK_S) else None
        except (EOFError, ConnectionError):
            self._process.join(_STOP_S)
            _LOGGER.warning("%s", f"job {job_id}: the worker ended with exit code {self._process.exitcode}")
            self._end_process()
            return Ended("the process that staged it crashed; the log of the service says more")

    def _end_process(self) -> None:
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process = None
