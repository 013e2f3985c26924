"""The SQLite file of reviews: its tables, how it is opened, and how its errors are told."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x74736C72  # "tslr": what this file is, in the header that SQLite keeps for it
_WAIT_S = 10.0  # for another process that writes
_TABLES = (
    """CREATE TABLE run (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        store_id TEXT NOT NULL,
        predictions_sha256 TEXT NOT NULL,
        predictions_path TEXT NOT NULL,
        blinded INTEGER NOT NULL CHECK (blinded IN (0, 1)),
        created_at TEXT NOT NULL
    )""",
    """CREATE TABLE reviewer (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        name_key TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL
    )""",
    """CREATE TABLE review (
        id INTEGER PRIMARY KEY,
        reviewer_id INTEGER NOT NULL REFERENCES reviewer (id),
        sample_id TEXT NOT NULL,
        revision INTEGER NOT NULL CHECK (revision >= 1),
        accuracy INTEGER CHECK (accuracy BETWEEN 1 AND 5),
        completeness INTEGER CHECK (completeness BETWEEN 1 AND 5),
        coherence INTEGER CHECK (coherence BETWEEN 1 AND 5),
        corrected_stage TEXT,
        comment TEXT NOT NULL,
        blinded INTEGER NOT NULL CHECK (blinded IN (0, 1)),
        checks_shown INTEGER NOT NULL CHECK (checks_shown IN (0, 1)),
        saved_at TEXT NOT NULL,
        UNIQUE (reviewer_id, sample_id, revision)
    )""",
    """CREATE VIEW revision AS
        SELECT reviewer.name AS reviewer, reviewer.name_key AS name_key, review.*
        FROM review JOIN reviewer ON reviewer.id = review.reviewer_id""",
    """CREATE VIEW latest AS SELECT * FROM revision WHERE revision = (
        SELECT max(revision) FROM review AS other
        WHERE other.reviewer_id = revision.reviewer_id AND other.sample_id = revision.sample_id
    )""",
)


def open_database(path: Path, predictions_sha256: str, predictions_path: Path, blinded: bool) -> sqlite3.Connection:
    """A connection to the file, which is made where there is none.

    Raises:
        ValueError: a database of something else, of other predictions or of another version, or no database.
        OSError: it cannot be opened or made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with told_as_file_errors(path):
        connection = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None)
        with ExitStack() as on_failure:
            on_failure.callback(connection.close)
            with transaction(connection) as cursor:
                if not cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    _create(cursor, predictions_sha256, predictions_path, blinded)
                _check(cursor, path, predictions_sha256)
            # Nobody who reads waits for who writes, and a commit is on the disk when it returns.
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            on_failure.pop_all()
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """All of the block or nothing of it; no other process writes meanwhile."""
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    with connection:  # commits, or rolls back what is left of it
        yield cursor


@contextmanager
def told_as_file_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as OSError (locked, read-only, full) or ValueError (damaged)."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"{path}: {error}; close what else uses it, or look at its folder's rights and space") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} is damaged or no database of reviews ({error}); give another file by --db") from error


def now_text() -> str:
    """UTC as ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _create(cursor: sqlite3.Cursor, predictions_sha256: str, predictions_path: Path, blinded: bool) -> None:
    for statement in _TABLES:
        cursor.execute(statement)
    cursor.execute(
        "INSERT INTO run VALUES (1, ?, ?, ?, ?, ?)",
        (uuid.uuid4().hex, predictions_sha256, str(predictions_path), int(blinded), now_text()),
    )
    cursor.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check(cursor: sqlite3.Cursor, path: Path, predictions_sha256: str) -> None:
    application, version = (
        cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != _APPLICATION_ID:
        raise ValueError(f"{path} is a database, but not of reviews; give another file by --db")
    if version != SCHEMA_VERSION:
        raise ValueError(f"{path} is of version {version}, not {SCHEMA_VERSION}; use the tslm that wrote it")
    sha256, reviewed = cursor.execute("SELECT predictions_sha256, predictions_path FROM run").fetchone()
    if sha256 != predictions_sha256:
        raise ValueError(
            f"{path} holds reviews of other predictions (of {reviewed} as it was then); give another file by --db, "
            "or the predictions that were reviewed"
        )
