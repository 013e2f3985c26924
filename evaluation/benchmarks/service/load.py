"""Clients that upload simulated recordings while the service is killed, or that send damaged files."""

import logging
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from evaluation.benchmarks.service.client import Answer, ServiceClient
from evaluation.benchmarks.service.damage import damage_request
from tslm.command import Row
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.progress_bar import progress_bar
from tslm.serve.app import listen

_LOGGER = logging.getLogger(__name__)
_KILLED_AFTER = 0.4  # share of the nights after which the last kill comes; the rest shows the memory
_CHANNELS = {"EEG Fpz-Cz": 20.0, "EOG horizontal": 30.0, "EMG submental": 5.0}  # amplitude in uV
_FS_HZ = 100
_ENDED = ("done", "failed")
_POLL_S = 0.5
_SAMPLE_S = 1.0


@dataclass(frozen=True)
class LoadOptions:
    """What is asked of the service."""

    nights: int = 60
    hours: float = 1.0
    clients: int = 8
    workers: int = 1
    waiting: int = 8
    kills: int = 2
    damaged: int = 0
    seed: int = 0


class Service:
    """The command in a process of its own, started again after each kill."""

    def __init__(self, folder: Path, options: LoadOptions) -> None:
        with listen("127.0.0.1", 0) as free:
            self.port = free.getsockname()[1]
        words = ["--data", str(folder), "--port", str(self.port), "--workers", str(options.workers)]
        self._command = [sys.executable, "-m", "tslm", "serve", *words, "--waiting", str(options.waiting)]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, env=environment)
        client = ServiceClient(self.port)
        while client.ask("GET", "/ready").status != 200:
            if self._process.poll() is not None:
                raise OSError("the service has ended; its error stands above")
            time.sleep(_POLL_S)

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it as an accident does (SIGKILL)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def measure_mb(self) -> tuple[float, float]:
        """Resident memory of the service and of its workers."""
        assert self._process is not None
        try:
            service = psutil.Process(self._process.pid)
            workers = [
                process.memory_info().rss for process in service.children() if "spawn_main" in str(process.cmdline())
            ]
            return service.memory_info().rss / 1e6, sum(workers) / 1e6
        except psutil.Error:  # it is being killed
            return 0.0, 0.0


@dataclass
class Load:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    jobs: dict[str, str] = field(default_factory=dict)  # id to its last state
    unreachable: int = 0  # requests while the service was down
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, answer: Answer) -> None:
        """Count an answer."""
        with self.lock:
            if answer.status:
                self.statuses[answer.status] += 1
            else:
                self.unreachable += 1

    @property
    def num_ended(self) -> int:
        """Jobs that are done or failed."""
        with self.lock:
            return sum(state in _ENDED for state in self.jobs.values())


def write_night(path: Path, hours: float, seed: int) -> bytes:
    """An EDF recording of noise with slow waves in turn; its bytes."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(hours * 3600 * _FS_HZ)) / _FS_HZ
    slow = 60 * np.sin(2 * np.pi * time_s) * (time_s // 1200 % 2)
    signals = {
        name: RawSignal(
            (rng.normal(0, uv, len(time_s)) + (slow if name.startswith("EEG") else 0)).astype(np.float32), _FS_HZ
        )
        for name, uv in _CHANNELS.items()
    }
    write_edf(RawRecording(path.stem, "", signals, (), 30.0), path, path.with_suffix(".hyp"))
    return path.read_bytes()


def measure_load(options: LoadOptions, folder: Path) -> Iterator[Row]:
    """Let clients upload nights and wait for them, kill the service in between, and count what was lost."""
    content = write_night(folder / "night.edf", options.hours, options.seed)
    load = Load()
    with Service(folder / "served", options) as service:
        numbers = iter(range(options.nights))
        started_s = time.monotonic()
        clients = [
            threading.Thread(target=_upload_nights, args=(service.port, content, numbers, load), daemon=True)
            for _ in range(options.clients)
        ]
        for client in clients:
            client.start()
        kill_at = [
            round(_KILLED_AFTER * options.nights * (number + 1) / max(1, options.kills))
            for number in range(options.kills)
        ]
        samples: list[tuple[float, float]] = []
        with progress_bar(total=options.nights, unit="night") as bar:
            while any(client.is_alive() for client in clients):
                time.sleep(_SAMPLE_S)
                bar.update(load.num_ended - bar.n)
                if kill_at and load.num_ended >= kill_at[0]:
                    kill_at.pop(0)
                    service.kill()
                    service.start()
                    samples.clear()
                samples.append(service.measure_mb())
        wall_s = time.monotonic() - started_s
        jobs = ServiceClient(service.port).ask("GET", "/v1/jobs?limit=1000").json()["jobs"]
    there = {job["id"]: job["state"] for job in jobs}
    size = f"{options.nights} nights of {options.hours:g} h, {options.clients} clients, {options.workers} workers"
    yield Row(
        "service: nights done", sum(state == "done" for state in load.jobs.values()), "", options.nights, note=size
    )
    yield Row("service: nights taken (202) and lost", sum(there.get(each) != "done" for each in load.jobs), "", most=0)
    errors = {status: number for status, number in load.statuses.items() if status not in (200, 202, 429)}
    yield Row("service: errors but 429", sum(errors.values()), "", most=0, note=str(errors) if errors else "")
    yield Row("service: refused with 429 and sent again", load.statuses[429])
    yield Row("service: requests while it was killed", load.unreachable, note=f"{options.kills} kills")
    yield Row("service: throughput", 3600 * len(load.jobs) / wall_s, "nights/h")
    for name, idx in {"service": 0, "workers": 1}.items():
        yield from _compare_memory(name, [sample[idx] for sample in samples if sample[idx]])


def _compare_memory(name: str, samples_mb: list[float]) -> Iterator[Row]:
    """Memory after the last kill: the last third against the second, as models load in the first."""
    third = len(samples_mb) // 3
    if not third:
        yield Row(f"service: memory of the {name}", None, note="too few samples")
        return
    middle, last = statistics.median(samples_mb[third : 2 * third]), statistics.median(samples_mb[2 * third :])
    note = f"{middle:.0f} MB, then {last:.0f} MB; at most {max(samples_mb):.0f} MB"
    yield Row(f"service: memory of the {name}, change", abs(100 * (last / middle - 1)), "%", most=10, note=note)


def _upload_nights(port: int, content: bytes, numbers: Iterator[int], load: Load) -> None:
    """A client: it uploads a night, waits for its end, and takes the next."""
    client = ServiceClient(port)
    while True:
        with load.lock:
            number = next(numbers, None)
        if number is None:
            return
        job_id = ""
        while not job_id:
            answer = client.upload(f"night{number}.edf", content)
            load.count(answer)
            if answer.status == 202:
                job_id = answer.json()["id"]
            else:
                time.sleep(min(5.0, float(answer.headers.get("retry-after", 1))))
        with load.lock:
            load.jobs[job_id] = "waiting"
        while load.jobs[job_id] not in _ENDED:
            time.sleep(_POLL_S)
            answer = client.ask("GET", f"/v1/jobs/{job_id}")
            load.count(answer)
            if answer.status == 404:  # it was lost: this is counted at the end
                load.jobs[job_id] = "failed"
            elif answer.status == 200:
                load.jobs[job_id] = answer.json()["state"]


def measure_damaged(options: LoadOptions, folder: Path) -> Iterator[Row]:
    """Upload damaged recordings and forms; count answers that are not documented, and crashes."""
    rng = np.random.default_rng(options.seed)
    content = write_night(folder / "short.edf", 6 / 60, options.seed)
    with Service(folder / "served_damaged", options) as service:
        client = ServiceClient(service.port)
        documented = {
            int(code) for code in client.ask("GET", "/openapi.json").json()["paths"]["/v1/jobs"]["post"]["responses"]
        }
        statuses: Counter[int] = Counter()
        for _ in progress_bar(range(options.damaged), unit="file"):
            request = damage_request(rng, content)
            while (answer := client.ask("POST", *request)).status == 429:
                time.sleep(_POLL_S)
            statuses[answer.status] += 1
        answers = ", ".join(f"{status} x {number}" for status, number in sorted(statuses.items()))
        _LOGGER.warning("%s", f"answers {answers}; the jobs are worked on")
        states: Counter[str] = Counter()
        while True:
            jobs = client.ask("GET", "/v1/jobs?limit=1000").json()["jobs"]
            states = Counter(job["state"] for job in jobs)
            if not states["waiting"] and not states["running"]:
                break
            time.sleep(_POLL_S)
        crashed = [job for job in jobs if "crashed" in (job["error"] or "")]
        for job in crashed:
            _LOGGER.warning("%s", f"{job['file']}: {job['error']}")
        is_ready = client.ask("GET", "/ready").status == 200
    undocumented = sum(number for status, number in statuses.items() if status not in documented)
    yield Row("damaged uploads", options.damaged, note=f"answers {answers}; jobs {dict(states)}")
    yield Row("damaged uploads: answers not documented", undocumented, most=0)
    yield Row("damaged uploads: crashes of workers", len(crashed), most=0)
    yield Row("damaged uploads: service not ready at the end", int(not is_ready), most=0)
