"""Reviews in one SQLite file: every change is a new row, on disk before it is confirmed.

The file belongs to one file of predictions, by its SHA-256. Rows are never changed: the newest revision of a review
counts, and earlier ones are its history. Several processes may write at once.
"""

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tslm.review.records import RATINGS, Review, SavedReview, check_review, check_reviewer
from tslm.sqlite_file import connect_file, make_durable, transaction, translate_sqlite_errors

_FIELDS = (*RATINGS, "corrected_stage", "comment")
_COLUMNS = f"reviewer, sample_id, revision, saved_at, blinded, checks_shown, {', '.join(_FIELDS)}"


class ReviewConflictError(ValueError):
    """The review has changed since it was read, in another window or process."""


class ReviewStore(AbstractContextManager["ReviewStore"]):
    """The reviews of one file of predictions; may be used from several threads."""

    def __init__(
        self,
        path: Path,
        predictions_sha256: str,
        predictions_path: Path,
        start_blinded: bool = False,
        checks_shown: bool = True,
    ) -> None:
        """Open the file, or make it where there is none.

        Args:
            path: of the SQLite file.
            predictions_sha256: of the predictions as they are now.
            predictions_path: for messages.
            start_blinded: whether a new file hides the expert's label from its reviewers.
            checks_shown: whether reviewers see the check of each claim against the measurements; saved with reviews.

        Raises:
            ValueError, OSError: as `open_database`.
        """
        self.path = path
        self._checks_shown = checks_shown
        self._connection = open_database(path, predictions_sha256, predictions_path, start_blinded)
        self._lock = threading.Lock()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @property
    def store_id(self) -> str:
        """Unique identifier of this file."""
        with self._reading() as cursor:
            return str(cursor.execute("SELECT store_id FROM run").fetchone()[0])

    @property
    def is_blinded(self) -> bool:
        """Whether the expert's label is hidden from the reviewers of this file."""
        with self._reading() as cursor:
            return bool(cursor.execute("SELECT blinded FROM run").fetchone()[0])

    def unblind(self) -> None:
        """Show the expert's label from now on; earlier reviews stay marked as blinded."""
        with self._writing() as cursor:
            cursor.execute("UPDATE run SET blinded = 0")

    def save(
        self, reviewer: str, sample_id: str, review: Review, options: Sequence[str], base_revision: int
    ) -> SavedReview:
        """Add a revision; an unchanged review adds none, so a save may be repeated.

        Args:
            reviewer: name; a new one is added, case does not matter.
            sample_id: of an epoch of the run; the caller checks it.
            review: the ratings, stage and comment.
            options: sleep stages that the run may answer with.
            base_revision: the revision that the reviewer saw; 0: none.

        Raises:
            ValueError: as `check_reviewer` and `check_review`, or an empty first review.
            ReviewConflictError: there is another revision than `base_revision`, of other content.
            OSError: the file cannot be written.
        """
        name, review = check_reviewer(reviewer), check_review(review, options)
        with self._writing() as cursor:
            known = _find_latest(cursor, name, sample_id)
            if known is not None and known.review == review:
                return known
            current = 0 if known is None else known.revision
            if base_revision != current:
                found = f"revision {current}, not {base_revision}"
                raise ReviewConflictError(f"{sample_id} was changed elsewhere meanwhile ({found}); load it again")
            if known is None and review.is_empty:
                raise ValueError("the review is empty; give a rating, a stage or a comment")
            cursor.execute(
                "INSERT INTO reviewer (name, name_key, created_at) VALUES (?, ?, ?) ON CONFLICT (name_key) DO NOTHING",
                (name, name.casefold(), format_now()),
            )
            cursor.execute(
                f"INSERT INTO review (reviewer_id, sample_id, revision, {', '.join(_FIELDS)}, "
                "blinded, checks_shown, saved_at) "
                f"SELECT reviewer.id, ?, ?, {', '.join('?' * len(_FIELDS))}, run.blinded, ?, ? "
                "FROM reviewer, run WHERE name_key = ?",
                (
                    sample_id,
                    current + 1,
                    *(getattr(review, field) for field in _FIELDS),
                    int(self._checks_shown),
                    format_now(),
                    name.casefold(),
                ),
            )
            saved = _find_latest(cursor, name, sample_id)
        assert saved is not None
        return saved

    def find(self, reviewer: str, sample_id: str) -> SavedReview | None:
        """The newest revision, or None. ValueError as `check_reviewer`."""
        name = check_reviewer(reviewer)
        with self._reading() as cursor:
            return _find_latest(cursor, name, sample_id)

    def list_latest(self, reviewer: str | None = None) -> list[SavedReview]:
        """Newest revisions, of one reviewer or of all, in the order of their saving."""
        condition, values = ("", ()) if reviewer is None else ("WHERE name_key = ?", (_key(reviewer),))
        with self._reading() as cursor:
            rows = cursor.execute(f"SELECT {_COLUMNS} FROM latest {condition} ORDER BY id", values)
            return [_read_row(row) for row in rows]

    def list_history(self, reviewer: str, sample_id: str) -> list[SavedReview]:
        """All revisions of one review, the oldest first."""
        with self._reading() as cursor:
            rows = cursor.execute(
                f"SELECT {_COLUMNS} FROM revision WHERE name_key = ? AND sample_id = ? ORDER BY revision",
                (_key(reviewer), sample_id),
            )
            return [_read_row(row) for row in rows]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, _translate_errors(self.path):
            yield self._connection.cursor()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, _translate_errors(self.path), transaction(self._connection) as cursor:
            yield cursor


def _find_latest(cursor: sqlite3.Cursor, name: str, sample_id: str) -> SavedReview | None:
    row = cursor.execute(
        f"SELECT {_COLUMNS} FROM latest WHERE name_key = ? AND sample_id = ?", (name.casefold(), sample_id)
    ).fetchone()
    return None if row is None else _read_row(row)


def _key(reviewer: str) -> str:
    return check_reviewer(reviewer).casefold()


def _read_row(row: tuple[object, ...]) -> SavedReview:
    reviewer, sample_id, revision, saved_at, blinded, checks_shown, *fields = row
    review = Review(*fields)  # type: ignore[arg-type]
    return SavedReview(
        str(reviewer), str(sample_id), int(str(revision)), str(saved_at), bool(blinded), bool(checks_shown), review
    )


SCHEMA_VERSION = 1
_APPLICATION_ID = 0x74736C72  # "tslr", in the header of the SQLite file
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


_translate_errors = partial(translate_sqlite_errors, kind="reviews", advice="give another file with --db")


def open_database(path: Path, predictions_sha256: str, predictions_path: Path, blinded: bool) -> sqlite3.Connection:
    """Open the file, or create it.

    Raises:
        ValueError: a database of something else, of other predictions or of another version, or no database.
        OSError: it cannot be opened or made.
    """
    with _translate_errors(path):
        connection = connect_file(path)
        with ExitStack() as on_failure:
            on_failure.callback(connection.close)
            with transaction(connection) as cursor:
                if not cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    _create(cursor, predictions_sha256, predictions_path, blinded)
                _check(cursor, path, predictions_sha256)
            make_durable(connection)
            on_failure.pop_all()
    return connection


def format_now() -> str:
    """UTC as ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _create(cursor: sqlite3.Cursor, predictions_sha256: str, predictions_path: Path, blinded: bool) -> None:
    for statement in _TABLES:
        cursor.execute(statement)
    cursor.execute(
        "INSERT INTO run VALUES (1, ?, ?, ?, ?, ?)",
        (uuid.uuid4().hex, predictions_sha256, str(predictions_path), int(blinded), format_now()),
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
