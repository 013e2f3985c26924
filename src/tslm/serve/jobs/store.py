"""The jobs in SQLite: what was uploaded, what is done with it, and how far it is. Safe for several threads.

A job is `uploading`, then `waiting`, `running`, and at last `done` or `failed`. When the service starts again, an
upload that was not complete is forgotten, and a job in work waits again.
"""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tslm.serve.jobs.tasks import JobOptions
from tslm.sqlite_file import connect_file, make_durable, transaction, translate_sqlite_errors

STATES = ("uploading", "waiting", "running", "done", "failed")
ENDED = ("done", "failed")
MAX_ATTEMPTS = 5  # a night in whose work the service itself dies so often is given up
_APPLICATION_ID = 0x74736C6A  # "tslj", in the header of the SQLite file
_COLUMNS = "id, state, file, options, created_s, started_s, ended_s, attempts, progress, error"
_TABLE = """CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    file TEXT NOT NULL,
    options TEXT NOT NULL,
    created_s REAL NOT NULL,
    started_s REAL,
    ended_s REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    progress REAL NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT ''
)"""


@dataclass(frozen=True)
class Job:
    """One row; times in seconds since 1970, UTC.

    Attributes:
        id: 32 hexadecimal digits.
        state: one of STATES.
        file: name of the recording; empty while it is uploaded.
        options: what is done with it.
        created_s: time of the request.
        started_s: beginning of the work; None before.
        ended_s: its end; None before.
        attempts: how often the work was begun.
        progress: share of the texts that are written, 0 to 1.
        error: why it failed, one line; empty otherwise.
    """

    id: str
    state: str
    file: str
    options: JobOptions
    created_s: float
    started_s: float | None = None
    ended_s: float | None = None
    attempts: int = 0
    progress: float = 0.0
    error: str = ""


class QueueFullError(Exception):
    """As many jobs wait as may."""


class JobStore:
    """The database; a commit is on disk when a method returns.

    Args:
        path: of the file; it is made.
        max_waiting: jobs that may be waiting or on their way at a time.

    Raises:
        ValueError: a database of something else, or damaged.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, max_waiting: int) -> None:
        self.path, self.max_waiting = path, max_waiting
        self._lock = threading.RLock()
        with self._errors():
            self._connection = connect_file(path)
            (application,) = self._connection.execute("PRAGMA application_id").fetchone()
            (num_tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if num_tables and application != _APPLICATION_ID:
                self._connection.close()
                raise ValueError(f"{path} is a database, but not of jobs; give another folder by --data")
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            make_durable(self._connection)
            self._connection.execute(_TABLE)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def recover(self) -> None:
        """After a start: forget half uploads, let jobs in work wait again, give up what killed the service often."""
        with self._change() as change:
            change.execute("DELETE FROM job WHERE state = 'uploading'")
            change.execute(
                "UPDATE job SET state = 'failed', ended_s = ?, error = ? WHERE state = 'running' AND attempts >= ?",
                (time.time(), f"the service died {MAX_ATTEMPTS} times while it staged this recording", MAX_ATTEMPTS),
            )
            change.execute("UPDATE job SET state = 'waiting', progress = 0 WHERE state = 'running'")

    def add(self, options: JobOptions, file: str = "") -> Job:
        """A new job; with a file it waits, without one it is being uploaded.

        Raises:
            QueueFullError: as many wait already as may.
        """
        job = Job(uuid.uuid4().hex, "waiting" if file else "uploading", file, options, time.time())
        with self._change() as change:
            if self.count("uploading", "waiting") >= self.max_waiting:
                raise QueueFullError
            change.execute(
                "INSERT INTO job (id, state, file, options, created_s) VALUES (?, ?, ?, ?, ?)",
                (job.id, job.state, job.file, json.dumps(options.to_dict()), job.created_s),
            )
        return job

    def confirm(self, job_id: str, file: str) -> None:
        """The upload is complete: the job waits."""
        with self._change() as change:
            change.execute("UPDATE job SET state = 'waiting', file = ? WHERE id = ?", (file, job_id))

    def claim(self) -> Job | None:
        """The job that has waited longest, now in work; None where none waits."""
        with self._change() as change:
            row = change.execute("SELECT id FROM job WHERE state = 'waiting' ORDER BY number LIMIT 1").fetchone()
            if row is None:
                return None
            change.execute(
                "UPDATE job SET state = 'running', started_s = ?, attempts = attempts + 1 WHERE id = ?",
                (time.time(), row[0]),
            )
            return self.find(row[0])

    def release(self, job_id: str) -> None:
        """A job in work waits again: the service stops."""
        with self._change() as change:
            change.execute(
                "UPDATE job SET state = 'waiting', attempts = attempts - 1, progress = 0 WHERE id = ?", (job_id,)
            )

    def report(self, job_id: str, progress: float) -> None:
        """How far a job in work is."""
        with self._change() as change:
            change.execute("UPDATE job SET progress = ? WHERE id = ?", (progress, job_id))

    def end(self, job_id: str, error: str = "") -> None:
        """A job is done, or failed with an error."""
        with self._change() as change:
            change.execute(
                "UPDATE job SET state = ?, ended_s = ?, error = ?, progress = 1 WHERE id = ?",
                ("failed" if error else "done", time.time(), error, job_id),
            )

    def find(self, job_id: str) -> Job | None:
        """A job; None where there is none."""
        found = self._list("WHERE id = ?", (job_id,))
        return found[0] if found else None

    def list_jobs(self, state: str = "", limit: int = -1) -> list[Job]:
        """Jobs, the newest first; of one state, or of all that are uploaded."""
        where = "WHERE state = ?" if state else "WHERE state != ?"
        return self._list(f"{where} ORDER BY number DESC LIMIT ?", (state or "uploading", limit))

    def list_ended_before(self, time_s: float) -> list[Job]:
        """Jobs that ended before a time."""
        return self._list("WHERE ended_s < ?", (time_s,))

    def delete(self, job_id: str) -> bool:
        """Forget a job; whether there was one."""
        with self._change() as change:
            return change.execute("DELETE FROM job WHERE id = ?", (job_id,)).rowcount > 0

    def count(self, *states: str) -> int:
        """Number of jobs in these states."""
        marks = ", ".join("?" * len(states))
        with self._lock, self._errors():
            return int(
                self._connection.execute(f"SELECT count(*) FROM job WHERE state IN ({marks})", states).fetchone()[0]
            )

    def count_before(self, job_id: str) -> int:
        """Number of waiting jobs before a waiting one."""
        with self._lock, self._errors():
            return int(
                self._connection.execute(
                    "SELECT count(*) FROM job WHERE state = 'waiting' AND number < "
                    "(SELECT number FROM job WHERE id = ?)",
                    (job_id,),
                ).fetchone()[0]
            )

    def measure_night_s(self, num_nights: int = 20) -> float:
        """Mean seconds of the last nights' work; 10 where none is done."""
        with self._lock, self._errors():
            (mean_s,) = self._connection.execute(
                "SELECT avg(ended_s - started_s) FROM "
                "(SELECT * FROM job WHERE state = 'done' ORDER BY ended_s DESC LIMIT ?)",
                (num_nights,),
            ).fetchone()
        return 10.0 if mean_s is None else float(mean_s)

    def list_ids(self) -> set[str]:
        """All ids."""
        with self._lock, self._errors():
            return {row[0] for row in self._connection.execute("SELECT id FROM job")}

    def _list(self, clause: str, values: tuple[object, ...]) -> list[Job]:
        with self._lock, self._errors():
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM job {clause}", values).fetchall()
        return [Job(row[0], row[1], row[2], JobOptions.from_dict(json.loads(row[3])), *row[4:]) for row in rows]

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Cursor]:
        """A transaction, which is rolled back if the block fails."""
        with self._lock, self._errors(), transaction(self._connection) as cursor:
            yield cursor

    def _errors(self) -> AbstractContextManager[None]:
        return translate_sqlite_errors(self.path, "jobs", "move it away")
