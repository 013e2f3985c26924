import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from tests.factories.servers.nights import build_service
from tests.factories.servers.odd_worker import run_odd_worker
from tslm.serve.jobs.pool import JobFolders, NightPool, PoolLimits
from tslm.serve.jobs.store import Job, JobStore
from tslm.serve.jobs.tasks import JobOptions

pytestmark = pytest.mark.server
PATIENCE_S = 120


class Nights:
    """A pool of one odd worker (`tests.factories.servers.odd_worker`)."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.ended: list[str] = []
        self.pool = NightPool(
            JobStore(folder / "jobs.sqlite", 9),
            JobFolders(folder / "jobs"),
            {},
            PoolLimits(**limits),  # type: ignore[arg-type]
            on_end=lambda state, _: self.ended.append(state),
            target=run_odd_worker,
        )

    def add(self, name: str) -> str:
        job = self.pool.store.add(JobOptions(), f"{name}.edf")
        self.pool.folders.upload(job.id).mkdir(parents=True)
        return job.id

    def wait(self, job_id: str, *states: str) -> Job | None:
        until_s = time.monotonic() + PATIENCE_S
        while True:
            job = self.pool.store.find(job_id)
            if job is None or job.state in (states or ("done", "failed")):
                return job
            assert time.monotonic() < until_s, job
            time.sleep(0.02)

    def read(self, job_id: str) -> str:
        return (self.pool.folders.result(job_id) / "night.json").read_text()


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Nights]:
    made = Nights(tmp_path, timeout_s=5, memory_bytes=200_000_000)
    made.pool.start()
    yield made
    made.pool.stop()


def test_nights_that_hang_crash_or_grow_fail_and_the_next_is_staged(nights: Nights) -> None:
    ids = {name: nights.add(name) for name in ("good", "again", "hang", "crash", "grow", "fail", "last")}
    ended = {name: nights.wait(job_id) for name, job_id in ids.items()}
    errors = {name: job.error for name, job in ended.items() if job}
    assert "after 5 s" in errors.pop("hang")
    assert "crashed" in errors.pop("crash")
    assert "GB of memory" in errors.pop("grow")
    assert errors == {"good": "", "again": "", "fail": "no EEG", "last": ""}
    assert nights.read(ids["good"]) == nights.read(ids["again"]) != nights.read(ids["last"])  # a process for several
    assert nights.pool.is_alive
    assert nights.ended == ["done", "done", "failed", "failed", "failed", "failed", "done"]
    assert not list(nights.pool.folders.root.glob("*/work"))


def test_a_job_that_is_deleted_in_work_is_ended_and_leaves_nothing(nights: Nights) -> None:
    first, second = nights.add("hang"), nights.add("good")
    nights.wait(first, "running")
    nights.pool.store.delete(first)
    assert nights.wait(second).state == "done"  # type: ignore[union-attr]
    assert [path.name for path in nights.pool.folders.root.iterdir()] == [second]


def test_a_worker_dies_with_its_pool_and_the_night_waits(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.pool.start()
    job_id = nights.add("hang")
    nights.wait(job_id, "running")
    while not nights.pool.measure_memory_bytes():
        time.sleep(0.02)
    pid = nights.pool._workers[0]._process.pid
    nights.pool.stop()
    job = nights.pool.store.find(job_id)
    assert job is not None and (job.state, job.attempts) == ("waiting", 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_jobs_are_forgotten_when_they_are_old(tmp_path: Path) -> None:
    nights = Nights(tmp_path, keep_s=0.5)
    nights.pool.start()
    job_id = nights.add("good")
    nights.wait(job_id, "done")
    assert nights.wait(job_id, "never") is None
    nights.pool.stop()
    assert not (nights.pool.folders.root / job_id).exists()


def test_a_start_removes_what_belongs_to_no_job(tmp_path: Path) -> None:
    service = build_service(tmp_path)
    kept = service.store.add(JobOptions(), "n.edf").id
    lost = service.store.add(JobOptions()).id
    for job_id in (kept, lost, "stray"):
        service.folders.upload(job_id).mkdir(parents=True)
    build_service(tmp_path)
    assert [path.name for path in service.folders.root.iterdir()] == [kept]
