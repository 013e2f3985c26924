"""Reviews as a CSV file, one row each, safe to open in a spreadsheet."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tslm.files import write_beside
from tslm.review.records import RATINGS, SavedReview
from tslm.review.run_epochs import ReviewRun
from tslm.table import Table

_COLUMNS = (
    "run",
    "predictions_sha256",
    "sample_id",
    "recording",
    "epoch_idx",
    "onset_s",
    "model_answer",
    "reviewer",
    *RATINGS,
    "corrected_stage",
    "differs_from_model",
    "comment",
    "is_complete",
    "blinded",
    "checks_shown",
    "revision",
    "saved_at",
)
_EXPERT_COLUMN = "expert_label"


def render_reviews(reviews: Iterable[SavedReview], run: ReviewRun, with_expert: bool) -> str:
    """The CSV text with a header.

    Args:
        reviews: the newest revision of each.
        run: what they are of.
        with_expert: whether the expert's label has a column.
    """
    columns = [*_COLUMNS, *[_EXPERT_COLUMN] * with_expert]
    rows = [_build_row(saved, run) for saved in reviews]
    return Table(columns, [[row[name] for name in columns] for row in rows]).csv()


def write_reviews(text: str, path: Path) -> None:
    """Write what `render_reviews` gave beside `path`, then rename. OSError when it cannot be written."""
    with write_beside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _build_row(saved: SavedReview, run: ReviewRun) -> dict[str, Any]:
    row, review, answer = run.row_of[saved.sample_id], saved.review, run.answers[saved.sample_id]
    return {
        "run": str(run.predictions_path),
        "predictions_sha256": run.predictions_sha256,
        "sample_id": saved.sample_id,
        "recording": row.get("recording", ""),
        "epoch_idx": row.get("epoch_idx", ""),
        "onset_s": row.get("onset_s", ""),
        "model_answer": answer or "",
        "reviewer": saved.reviewer,
        **{rating: getattr(review, rating) for rating in RATINGS},
        "corrected_stage": review.corrected_stage or "",
        "differs_from_model": "" if review.corrected_stage is None else int(review.corrected_stage != answer),
        "comment": review.comment,
        "is_complete": int(review.is_complete),
        "blinded": int(saved.blinded),
        "checks_shown": int(saved.checks_shown),
        "revision": saved.revision,
        "saved_at": saved.saved_at,
        _EXPERT_COLUMN: row["truth"],
    }
