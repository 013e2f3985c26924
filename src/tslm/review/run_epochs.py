"""The epochs of a run that reviewers judge: its predictions, with or without the expert's label."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tslm.files import hash_file
from tslm.predictions.nights import is_staging
from tslm.predictions.rows import PredictionRow
from tslm.predictions.scorings import Scoring, join_scorings, read_scorings
from tslm.training.runs.folder import find_predictions


class NotInRunError(LookupError):
    """The run has no such epoch or recording."""


@dataclass(frozen=True)
class ReviewRun:
    """Predictions of a sleep-staging run."""

    predictions_path: Path
    predictions_sha256: str
    scorings: Mapping[str, Scoring]

    @property
    def reviewed(self) -> Scoring:
        """The system under review: the first that writes texts, or else the first."""
        return next((one for one in self.scorings.values() if one.writes_text), next(iter(self.scorings.values())))

    @property
    def rows(self) -> tuple[PredictionRow, ...]:
        """The rows under review."""
        return self.reviewed.rows

    @property
    def options(self) -> tuple[str, ...]:
        """Stages that the run may answer with."""
        return tuple(self.rows[0]["options"])

    @cached_property
    def row_of(self) -> dict[str, PredictionRow]:
        """Row by sample_id."""
        return {row["sample_id"]: row for row in self.rows}

    @cached_property
    def answers(self) -> dict[str, str | None]:
        """The model's answer by sample_id; None where it cannot be read."""
        return dict(zip(self.row_of, self.reviewed.answers, strict=True))

    @property
    def expert(self) -> dict[str, str]:
        """The expert's label by sample_id."""
        return {row["sample_id"]: row["truth"] for row in self.rows}


def read_review_run(run: Path, classifier: Path | None = None) -> ReviewRun:
    """The epochs of a run.

    Args:
        run: folder of a run, or its file of predictions.
        classifier: likewise, of a classifier (or several systems) that scored the same epochs.

    Raises:
        FileNotFoundError: no predictions there.
        ValueError: a damaged file, or a task other than sleep staging.
    """
    path = find_predictions(run)
    scorings = read_scorings(path)
    rows = [row for scoring in scorings.values() for row in scoring.rows]
    if not is_staging(rows) or len({tuple(row["options"]) for row in rows}) > 1:
        raise ValueError(f"{path} is not of sleep staging with one set of stages; review a run of stage4_sleep_cot")
    if any("epoch_idx" not in row for row in rows):
        raise ValueError(f"{path} does not say which epochs it is of; generate the predictions again")
    if classifier is not None:
        scorings = join_scorings(scorings, read_scorings(find_predictions(classifier)))
    return ReviewRun(path, hash_file(path), scorings)


def hide_expert(scorings: Mapping[str, Scoring]) -> dict[str, Scoring]:
    """The systems with nothing in their rows that tells the expert's label: every `truth` is the first option."""
    return {
        name: replace(scoring, rows=tuple(_hide_label(row) for row in scoring.rows))
        for name, scoring in scorings.items()
    }


def _hide_label(row: PredictionRow) -> PredictionRow:
    hidden: Any = {name: value for name, value in row.items() if name in _SHOWN_BLINDED}
    return hidden | {"truth": row["options"][0]}


# Neither the expert's label nor the reference text, nor what a later version may add to a row.
_SHOWN_BLINDED = (
    "system",
    "sample_id",
    "recording",
    "epoch_idx",
    "onset_s",
    "options",
    "generated",
    "answer",
    "probabilities",
    "smoothing",
    "evidence",
)
