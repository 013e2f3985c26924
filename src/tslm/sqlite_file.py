"""SQLite files of which every commit is on disk: connection, transaction, and errors in one line."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK_TIMEOUT_S = 10.0  # while another process writes
# Readers do not wait for a writer, and a commit is on disk when it returns.
_DURABLE = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


def connect_file(path: Path) -> sqlite3.Connection:
    """Open the file, or create it; several threads may share the connection under a lock of theirs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, check_same_thread=False, isolation_level=None)


def make_durable(connection: sqlite3.Connection) -> None:
    """Let commits be on disk when they return; called when the file is known to be one's own."""
    for pragma in _DURABLE:
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """Run the block as one transaction; no other process writes meanwhile."""
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    with connection:  # commits, or rolls back
        yield cursor


@contextmanager
def translate_sqlite_errors(path: Path, kind: str, advice: str) -> Iterator[None]:
    """Translate SQLite's errors into OSError (locked, read-only, full) or ValueError (damaged).

    Args:
        path: of the file.
        kind: what it should hold, such as reviews.
        advice: what to do where it is damaged.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(
            f"{path}: {error}; close other programs that use it, or check the folder's permissions and space"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} is damaged or no database of {kind} ({error}); {advice}") from error
