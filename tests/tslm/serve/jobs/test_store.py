import sqlite3
from pathlib import Path

import pytest

from tslm.serve.jobs.store import MAX_ATTEMPTS, JobStore, QueueFullError
from tslm.serve.jobs.tasks import JobOptions

OPTIONS = JobOptions("human", "12,40-60", "C4 - M1", ("E1", "Chin"), 30.0, "hmm", ("fs_hz=100",))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.sqlite", max_waiting=3)


def test_a_job_is_read_as_it_was_added(store: JobStore) -> None:
    job = store.add(OPTIONS, "night.edf")
    assert store.find(job.id) == job
    assert job.state == "waiting" and job.options == OPTIONS


def test_jobs_are_claimed_in_the_order_in_which_they_came(store: JobStore) -> None:
    jobs = [store.add(OPTIONS, f"{number}.edf") for number in range(3)]
    assert [store.count_before(job.id) for job in jobs] == [0, 1, 2]
    claimed = [store.claim() for _ in range(4)]
    assert [job and job.id for job in claimed] == [*(job.id for job in jobs), None]
    assert {job.state for job in claimed if job} == {"running"}


def test_no_more_jobs_wait_than_may_uploads_included(store: JobStore) -> None:
    store.add(OPTIONS, "1.edf")
    store.add(OPTIONS)
    last = store.add(OPTIONS, "3.edf")
    with pytest.raises(QueueFullError):
        store.add(OPTIONS, "4.edf")
    store.claim()  # one in work waits no more
    store.add(OPTIONS, "4.edf")
    store.delete(last.id)
    store.add(OPTIONS, "5.edf")


def test_after_a_kill_a_job_in_work_waits_again_and_half_an_upload_is_forgotten(store: JobStore) -> None:
    first, second = store.add(OPTIONS, "1.edf"), store.add(OPTIONS, "2.edf")
    upload = store.add(OPTIONS)
    store.claim()
    again = JobStore(store.path, 3)
    again.recover()
    assert again.find(upload.id) is None
    assert [job.id for job in (again.claim(), again.claim()) if job] == [first.id, second.id]


def test_a_recording_that_kills_the_service_again_and_again_is_given_up(store: JobStore) -> None:
    job = store.add(OPTIONS, "1.edf")
    for _ in range(MAX_ATTEMPTS):
        assert store.claim()
        store.recover()
    found = store.find(job.id)
    assert found is not None and found.state == "failed" and "died" in found.error


def test_a_job_that_is_released_has_not_been_tried(store: JobStore) -> None:
    job = store.add(OPTIONS, "1.edf")
    for _ in range(2 * MAX_ATTEMPTS):
        store.claim()
        store.release(job.id)
    store.recover()
    found = store.find(job.id)
    assert found is not None and (found.state, found.attempts) == ("waiting", 0)


def test_jobs_are_listed_the_newest_first_without_uploads(store: JobStore) -> None:
    first, second = store.add(OPTIONS, "1.edf"), store.add(OPTIONS, "2.edf")
    store.add(OPTIONS)
    store.claim()
    store.end(first.id, "no EEG")
    assert [job.id for job in store.list_jobs()] == [second.id, first.id]
    assert [job.error for job in store.list_jobs("failed")] == ["no EEG"]
    assert len(store.list_jobs(limit=1)) == 1


def test_other_files_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but a long enough text to be read as one" * 9)
    with pytest.raises(ValueError, match="damaged or no database"):
        JobStore(tmp_path / "text", 3)
    connection = sqlite3.connect(tmp_path / "other")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(ValueError, match="not of jobs"):
        JobStore(tmp_path / "other", 3)
