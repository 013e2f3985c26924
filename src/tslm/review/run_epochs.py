"""Epochs under review: predictions of a run, hiding of the expert's label, and order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tslm.files import hash_file
from tslm.predictions.nights import is_staging
from tslm.predictions.rows import PredictionRow
from tslm.predictions.scorings import Scoring, join_scorings, read_scorings
from tslm.scoring.probabilities import measure_entropy
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
        """The expert's label by sample_id, where there is one."""
        return {row["sample_id"]: row["truth"] for row in self.rows if row["truth"] is not None}


def read_review_run(run: Path, classifier: Path | None = None) -> ReviewRun:
    """Read the epochs of a run.

    Args:
        run: folder of a run, or its file of predictions.
        classifier: the same, of a classifier (or several systems) that scored the same epochs.

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
    """Hide the expert's label in the rows of all systems: no row has a `truth`."""
    return {
        name: replace(scoring, rows=tuple(_hide_label(row) for row in scoring.rows))
        for name, scoring in scorings.items()
    }


def _hide_label(row: PredictionRow) -> PredictionRow:
    hidden: Any = {name: value for name, value in row.items() if name in _SHOWN_BLINDED}
    return hidden | {"truth": None}


# Excludes the expert's label, the reference text, and keys that later versions may add.
_SHOWN_BLINDED = (
    "system",
    "sample_id",
    "recording",
    "epoch_idx",
    "onset_s",
    "options",
    "generated",
    "struck",
    "answer",
    "probabilities",
    "smoothing",
    "evidence",
    "events",
)


ORDERS = ("uncertainty", "time", "random")


def measure_uncertainty(run: ReviewRun) -> list[float | None]:
    """Measure the uncertainty of the systems on each epoch: 0 certain, 1 uniform; None if unknown.

    Entropy of the probabilities over its maximum, as the mean over systems with probabilities. If another system
    disagrees with the reviewed one, the mean of this and 1. An unreadable answer has 1.
    """
    entropies: dict[str, list[float]] = {}
    others: dict[str, set[str]] = {}
    for scoring in run.scorings.values():
        for row, answer in zip(scoring.rows, scoring.answers, strict=True):
            if row.get("probabilities") is not None:
                entropy = measure_entropy(np.asarray([row["probabilities"]], dtype=np.float64))[0]
                entropies.setdefault(row["sample_id"], []).append(float(entropy))
            if answer is not None:
                others.setdefault(row["sample_id"], set()).add(answer)
    measured: list[float | None] = []
    for sample_id, answer in run.answers.items():
        if answer is None:
            measured.append(1.0)
        elif sample_id not in entropies:
            measured.append(None)
        else:
            mean = float(np.mean(entropies[sample_id]))
            measured.append((1 + mean) / 2 if others[sample_id] - {answer} else mean)
    return measured


def order_epochs(run: ReviewRun, order: str, seed: int = 0, limit: int | None = None) -> list[int]:
    """Order the rows to review, as positions; the same call gives the same order.

    Args:
        run: the reviewed run.
        order: one of ORDERS. Epochs of equal or unknown uncertainty are in time order.
        seed: of the random order.
        limit: maximum number; None: all.

    Raises:
        ValueError: an unknown order, a limit below 1, or the order of uncertainty without probabilities.
    """
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; one of: {', '.join(ORDERS)}")
    if limit is not None and limit < 1:
        raise ValueError(f"the limit is {limit}; review one epoch at least")
    rows = run.rows
    in_time = sorted(
        range(len(rows)), key=lambda idx: (rows[idx].get("recording", ""), rows[idx].get("epoch_idx", idx))
    )
    if order == "random":
        in_time = [in_time[position] for position in np.random.default_rng(seed).permutation(len(in_time))]
    elif order == "uncertainty":
        measured = measure_uncertainty(run)
        if all(value is None for value in measured):
            raise ValueError(
                "these predictions do not say how certain they are; add a classifier's with --classifier, "
                "or choose another order with --order time"
            )
        uncertainty = [-math.inf if value is None else value for value in measured]
        in_time.sort(key=uncertainty.__getitem__, reverse=True)
    return in_time[:limit]
