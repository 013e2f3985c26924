"""Reviews in one SQLite file: each change a new row, on the disk before the reviewer is told so.

The file belongs to one file of predictions, by its SHA-256. Rows are only ever added: the newest revision of a
reviewer's review counts, the earlier ones are its history. Several processes may write at once.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tslm.review.records import RATINGS, Review, SavedReview, check_review, check_reviewer
from tslm.review.store_schema import now_text, open_database, told_as_file_errors, transaction

_FIELDS = (*RATINGS, "corrected_stage", "comment")
_COLUMNS = f"reviewer, sample_id, revision, saved_at, blinded, checks_shown, {', '.join(_FIELDS)}"


class ReviewConflictError(ValueError):
    """The review has changed since it was read, in another window or process."""


class ReviewStore:
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
            predictions_path: for messages alone.
            start_blinded: of a new file, whether the expert's label is hidden from its reviewers.
            checks_shown: whether reviewers see what the measurements say of each claim; kept with what is saved.

        Raises:
            ValueError, OSError: as `open_database`.
        """
        self.path = path
        self._checks_shown = checks_shown
        self._connection = open_database(path, predictions_sha256, predictions_path, start_blinded)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @property
    def store_id(self) -> str:
        """A name of this file that no other has."""
        with self._reading() as cursor:
            return str(cursor.execute("SELECT store_id FROM run").fetchone()[0])

    @property
    def is_blinded(self) -> bool:
        """Whether the expert's label is hidden from the reviewers of this file."""
        with self._reading() as cursor:
            return bool(cursor.execute("SELECT blinded FROM run").fetchone()[0])

    def unblind(self) -> None:
        """Show the expert's label from now on; reviews keep what they were given under."""
        with self._writing() as cursor:
            cursor.execute("UPDATE run SET blinded = 0")

    def save(
        self, reviewer: str, sample_id: str, review: Review, options: Sequence[str], base_revision: int
    ) -> SavedReview:
        """Add a revision; the same review again adds none, so a save may be repeated when its answer was lost.

        Args:
            reviewer: name; a new one is added, letters' case does not matter.
            sample_id: of an epoch of the run, which the caller has checked.
            review: what was said.
            options: stages that the run may answer with.
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
                raise ReviewConflictError(
                    f"{sample_id} was changed elsewhere meanwhile (revision {current}, not {base_revision}); "
                    "load it again"
                )
            if known is None and review.is_empty:
                raise ValueError("the review is empty; give a rating, a stage or a comment")
            cursor.execute(
                "INSERT INTO reviewer (name, name_key, created_at) VALUES (?, ?, ?) ON CONFLICT (name_key) DO NOTHING",
                (name, name.casefold(), now_text()),
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
                    now_text(),
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
        with self._lock, told_as_file_errors(self.path):
            yield self._connection.cursor()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, told_as_file_errors(self.path), transaction(self._connection) as cursor:
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
