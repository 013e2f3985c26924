"""Reviews of explanations: their fields, their checks, and their CSV file."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tslm.review.run_epochs import ReviewRun
from tslm.table import Table

RATINGS = ("accuracy", "completeness", "coherence")
RATING_VALUES = (1, 2, 3, 4, 5)
RATING_TITLES = {
    "accuracy": "Accuracy of the facts",
    "completeness": "Completeness of the evidence",
    "coherence": "Coherence",
}
RATING_QUESTIONS = {
    "accuracy": "Is what it says of the signal true?",
    "completeness": "Does it name what decides the stage?",
    "coherence": "Does the answer follow from the text?",
}
MAX_COMMENT_LENGTH = 4000
MAX_NAME_LENGTH = 64
_CONTROL = ("Cc", "Cs")  # Unicode categories: control characters, halves of surrogates


@dataclass(frozen=True)
class Review:
    """One reviewer's judgement of one epoch's explanation; None and empty: not given yet."""

    accuracy: int | None = None  # of the facts, 1 poor to 5 excellent
    completeness: int | None = None  # of the evidence
    coherence: int | None = None
    corrected_stage: str | None = None  # the stage in the reviewer's opinion, one of the run's options
    comment: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether all ratings and the stage are given."""
        return self.corrected_stage is not None and all(getattr(self, rating) is not None for rating in RATINGS)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is given."""
        return self == Review()


@dataclass(frozen=True)
class SavedReview:
    """A review in the store."""

    reviewer: str
    sample_id: str
    revision: int  # from 1; one more with every change
    saved_at: str  # UTC, ISO 8601 with milliseconds
    blinded: bool  # the expert's label was hidden when it was given
    checks_shown: bool  # each claim of the text was marked by whether the measurements support it
    review: Review


def parse_review(body: Mapping[str, Any]) -> tuple[str, str, int, Review]:
    """Parse (reviewer, sample_id, base_revision, review) from a JSON object; the values are checked elsewhere.

    Raises:
        ValueError: a key that is missing, unknown or of another type.
    """
    types: dict[str, tuple[type, ...]] = {
        "reviewer": (str,),
        "sample_id": (str,),
        "base_revision": (int,),
        "corrected_stage": (str, type(None)),
        "comment": (str,),
    } | {rating: (int, type(None)) for rating in RATINGS}
    unknown = [name for name in body if name not in types]
    if unknown:
        raise ValueError(f"unknown key {unknown[0][:80]!r}; known are: {', '.join(types)}")
    for name, allowed in types.items():
        if name not in body or not isinstance(body[name], allowed) or isinstance(body[name], bool):
            raise ValueError(f"{name} is missing or not of type {allowed[0].__name__}")
    review = Review(**{field.name: body[field.name] for field in fields(Review)})
    return body["reviewer"], body["sample_id"], body["base_revision"], review


def check_review(review: Review, options: Sequence[str]) -> Review:
    """Check a review, and return it with its comment trimmed.

    Args:
        review: as it came.
        options: stages that the run may answer with.

    Raises:
        ValueError: a rating that is not 1 to 5, a stage that is none of the options, or a comment that is too long
            or holds control characters.
    """
    for name in RATINGS:
        value = getattr(review, name)
        if value is not None and (isinstance(value, bool) or value not in RATING_VALUES):
            raise ValueError(f"{name} is {value!r}; give a whole number from 1 to 5, or none")
    if review.corrected_stage is not None and review.corrected_stage not in options:
        raise ValueError(f"corrected_stage {review.corrected_stage!r} is none of: {', '.join(options)}")
    comment = unicodedata.normalize("NFC", review.comment.replace("\r\n", "\n")).strip()
    if len(comment) > MAX_COMMENT_LENGTH:
        raise ValueError(f"the comment has {len(comment)} characters; {MAX_COMMENT_LENGTH} is the most")
    if any(unicodedata.category(letter) in _CONTROL for letter in comment if letter not in "\n\t"):
        raise ValueError("the comment holds characters that cannot be printed; remove them")
    return Review(review.accuracy, review.completeness, review.coherence, review.corrected_stage, comment)


def check_reviewer(name: str) -> str:
    """Check a reviewer's name, and return it with single spaces.

    Raises:
        ValueError: empty, longer than 64 characters, or with characters that cannot be printed.
    """
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not 1 <= len(cleaned) <= MAX_NAME_LENGTH or not cleaned.isprintable():
        raise ValueError(f"a reviewer's name has 1 to {MAX_NAME_LENGTH} printable characters, not {name[:80]!r}")
    return cleaned


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
        run: the reviewed run.
        with_expert: whether the expert's label has a column.
    """
    columns = [*_COLUMNS, *[_EXPERT_COLUMN] * with_expert]
    rows = [_build_row(saved, run) for saved in reviews]
    return Table(columns, [[row[name] for name in columns] for row in rows]).csv()


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
        _EXPERT_COLUMN: row["truth"] or "",
    }
