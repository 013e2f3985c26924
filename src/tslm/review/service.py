"""Requests of the review page, without HTTP: queue, review, progress, export."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from tslm.review.records import Review, SavedReview, check_reviewer, parse_review, render_reviews
from tslm.review.run_epochs import NotInRunError, ReviewRun, measure_uncertainty
from tslm.review.store import ReviewConflictError, ReviewStore
from tslm.serve.app import Route

STATUS_OF_ERROR: dict[type[Exception], int] = {ReviewConflictError: 409, NotInRunError: 404}


class ReviewService:
    """The review of one run; each route calls one method."""

    def __init__(self, run: ReviewRun, store: ReviewStore, queue: Sequence[int], reviewer: str | None = None) -> None:
        """Set up the service.

        Args:
            run: the reviewed run.
            store: of the reviews.
            queue: positions of the rows to review, in order.
            reviewer: the only reviewer accepted; None: anyone who gives a name.
        """
        self._run, self._store = run, store
        self._reviewer = None if reviewer is None else check_reviewer(reviewer)
        uncertainty = measure_uncertainty(run)
        self._queue: list[dict[str, Any]] = [
            {
                "sample_id": run.rows[idx]["sample_id"],
                "recording": run.rows[idx].get("recording", ""),
                "epoch_idx": run.rows[idx].get("epoch_idx"),
                "onset_s": run.rows[idx].get("onset_s"),
                "uncertainty": uncertainty[idx],
            }
            for idx in queue
        ]
        self._queued = {entry["sample_id"] for entry in self._queue}

    def describe(self) -> dict[str, Any]:
        """Describe the store for the form."""
        return {"store_id": self._store.store_id, "blinded": self._store.is_blinded, "reviewer": self._reviewer}

    def list_queue(self, reviewer: str) -> dict[str, Any]:
        """List the epochs to review in order, each with this reviewer's state."""
        saved = {review.sample_id: review for review in self._store.list_latest(self._check(reviewer))}
        entries = [entry | {"state": _state(saved.get(entry["sample_id"]))} for entry in self._queue]
        return {"epochs": entries, "num_complete": sum(entry["state"] == "complete" for entry in entries)}

    def get_review(self, reviewer: str, sample_id: str) -> dict[str, Any]:
        """The reviewer's review of an epoch, empty at revision 0 where there is none."""
        name = self._check(reviewer)
        self._find_row(sample_id)
        saved = self._store.find(name, sample_id)
        return _render(saved) if saved is not None else {"revision": 0, "saved_at": None, **asdict(Review())}

    def put_review(self, body: dict[str, Any]) -> dict[str, Any]:
        """Save a review: reviewer, sample_id, base_revision and the fields of `Review`."""
        reviewer, sample_id, base_revision, review = parse_review(body)
        name = self._check(reviewer)
        self._find_row(sample_id)
        return _render(self._store.save(name, sample_id, review, self._run.options, base_revision))

    def get_progress(self) -> dict[str, Any]:
        """Count the complete epochs of the queue by reviewer."""
        complete = Counter(
            saved.reviewer
            for saved in self._store.list_latest()
            if saved.review.is_complete and saved.sample_id in self._queued
        )
        return {"num_epochs": len(self._queue), "num_complete": dict(sorted(complete.items()))}

    def export_own(self, reviewer: str) -> str:
        """CSV of the reviewer's own reviews; those of others stay hidden, for independent reviews."""
        name = self._check(reviewer)
        return render_reviews(self._store.list_latest(name), self._run, with_expert=not self._store.is_blinded)

    def build_routes(self, page: Callable[[str | None], str]) -> list[Route]:
        """The addresses of the server; `page` gives the HTML of a recording."""
        return [
            Route("GET", "/", page, "text/html; charset=utf-8"),
            Route("GET", "/api/run", self.describe),
            Route("GET", "/api/queue", self.list_queue),
            Route("GET", "/api/review", self.get_review),
            Route("PUT", "/api/review", self.put_review),
            Route("GET", "/api/progress", self.get_progress),
            Route("GET", "/api/export.csv", self.export_own, "text/csv; charset=utf-8"),
        ]

    def _check(self, reviewer: str) -> str:
        name = check_reviewer(reviewer)
        if self._reviewer is not None and name.casefold() != self._reviewer.casefold():
            raise ValueError(f"this server was started for {self._reviewer}; start it without --reviewer for others")
        return name

    def _find_row(self, sample_id: str) -> None:
        if sample_id not in self._run.row_of:
            raise NotInRunError(f"there is no epoch {sample_id[:80]!r} in this run")


def _state(saved: SavedReview | None) -> str:
    return "open" if saved is None or saved.review.is_empty else "complete" if saved.review.is_complete else "begun"


def _render(saved: SavedReview) -> dict[str, Any]:
    return {"revision": saved.revision, "saved_at": saved.saved_at, **asdict(saved.review)}
