"""A reviewer's hypnogram: the model's sleep stages with the reviewer's corrections."""

from collections.abc import Iterable
from typing import Any

from tslm.export.rows import render_probabilities
from tslm.labels import SleepStage
from tslm.predictions.nights import STAGE_OF_ANSWER, find_epoch_s
from tslm.predictions.rows import PredictionRow
from tslm.review.records import SavedReview
from tslm.review.run_epochs import ReviewRun


def build_reviewed_hypnograms(
    reviews: Iterable[SavedReview], run: ReviewRun, reviewer: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Rows of hypnogram.csv by recording, from its first to its last epoch in the run.

    Columns are those of `tslm.export.rows.build_hypnogram_rows` that a run of predictions can fill: `stage` is the
    reviewer's, or the model's where the reviewer gave none; `stage_model` is the model's, and `is_reviewed` 1 where the
    reviewer gave a stage. An epoch that is not in the run is UNSCORED.

    Args:
        reviews: the newest revision of each.
        run: the reviewed run.
        reviewer: whose stages count; None: those of the only reviewer.

    Raises:
        ValueError: no reviews of that reviewer, or several reviewers to choose from.
    """
    reviews = list(reviews)
    names = sorted({saved.reviewer for saved in reviews})
    if reviewer is None and len(names) == 1:
        reviewer = names[0]
    if reviewer not in names:
        asked = "one reviewer makes a hypnogram" if reviewer is None else f"there are no reviews of {reviewer!r}"
        raise ValueError(f"{asked}; choose with --reviewer one of: {', '.join(names) or 'none'}")
    given = {
        saved.sample_id: STAGE_OF_ANSWER[saved.review.corrected_stage]
        for saved in reviews
        if saved.reviewer == reviewer and saved.review.corrected_stage is not None
    }
    of_recording: dict[str, list[PredictionRow]] = {}
    for row in run.rows:
        of_recording.setdefault(row.get("recording", ""), []).append(row)
    epoch_s = find_epoch_s(run.rows)
    return {name: _build_rows(rows, run, given, epoch_s) for name, rows in of_recording.items()}


def _build_rows(
    rows: list[PredictionRow], run: ReviewRun, given: dict[str, SleepStage], epoch_s: float
) -> list[dict[str, Any]]:
    options = [STAGE_OF_ANSWER[option] for option in run.options]
    filled = {}
    for row in rows:
        answer = run.answers[row["sample_id"]]
        by_model = SleepStage.UNSCORED if answer is None else STAGE_OF_ANSWER[answer]
        filled[round(row.get("onset_s", row["epoch_idx"] * epoch_s) / epoch_s)] = {
            "stage": given.get(row["sample_id"], by_model).value,
            "stage_model": by_model.value,
            "is_reviewed": int(row["sample_id"] in given),
            **render_probabilities(row.get("probabilities"), options),
        }
    unscored = SleepStage.UNSCORED.value
    absent = {"stage": unscored, "stage_model": unscored, "is_reviewed": 0, **render_probabilities(None, options)}
    return [
        {"epoch_idx": epoch, "onset_s": epoch * epoch_s, "duration_s": epoch_s} | filled.get(epoch, absent)
        for epoch in range(min(filled), max(filled) + 1)
    ]
