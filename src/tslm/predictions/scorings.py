"""A file of predictions by system: rows of each system with their parsed answers.

Code that scores, draws or compares predictions takes a mapping from name to `Scoring`, for any number of systems. The
first system of a file comes first in tables and pages.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tslm.predictions.rows import SAMPLE_KEYS, PredictionRow, parse_row_answer, read_predictions


@dataclass(frozen=True)
class Scoring:
    """The answers of one system."""

    system: str
    rows: tuple[PredictionRow, ...]
    answers: tuple[str | None, ...]  # one a row; None where a text does not parse, or the system gave no answer

    @property
    def truth(self) -> list[str]:
        """The reference answer of each row; every row must have one (`select_referenced`)."""
        truth = [row["truth"] for row in self.rows if row["truth"] is not None]
        assert len(truth) == len(self.rows)
        return truth

    @property
    def options(self) -> list[str]:
        """Answers that the first row allows."""
        return list(self.rows[0]["options"])

    @property
    def writes_text(self) -> bool:
        """Whether the system wrote texts."""
        return any("generated" in row for row in self.rows)

    @property
    def smoothing(self) -> dict[str, Any] | None:
        """Method and settings of smoothing over time; None: not smoothed."""
        return self.rows[0].get("smoothing")

    @property
    def is_leaky(self) -> bool:
        """Whether any row is marked `leaky`."""
        return any(row.get("leaky") for row in self.rows)

    def select(self, positions: Iterable[int]) -> "Scoring":
        """The same system on some of the rows, in the order of their positions."""
        chosen = list(positions)
        return Scoring(self.system, tuple(self.rows[idx] for idx in chosen), tuple(self.answers[idx] for idx in chosen))

    def select_referenced(self) -> "Scoring":
        """The same system on the rows that have a reference answer."""
        return self.select(idx for idx, row in enumerate(self.rows) if row["truth"] is not None)

    def sort_by_time(self) -> "Scoring":
        """Rows by recording and onset; in their present order if a row lacks either."""
        if not all({"recording", "onset_s"} <= row.keys() for row in self.rows):
            return self
        return self.select(
            sorted(range(len(self.rows)), key=lambda idx: (self.rows[idx]["recording"], self.rows[idx]["onset_s"]))
        )

    def read_probabilities(self, labels: Sequence[str]) -> tuple[np.ndarray, list[int]]:
        """Probabilities in the order of `labels`, (num, num_labels) float64, and the positions of the rows with some.

        Raises:
            ValueError: a row with other options.
        """
        positions = [idx for idx, row in enumerate(self.rows) if row.get("probabilities") is not None]
        found = []
        for idx in positions:
            row = self.rows[idx]
            of_option = dict(zip(row["options"], row["probabilities"] or [], strict=True))
            if of_option.keys() != set(labels):
                raise ValueError(
                    f"{row['sample_id']} has the options {', '.join(row['options'])}, not {', '.join(labels)}"
                )
            found.append([of_option[label] for label in labels])
        return np.array(found, dtype=np.float64).reshape(len(found), len(labels)), positions


def read_scorings(path: Path) -> dict[str, Scoring]:
    """The systems of a file in the order in which they first occur; errors as `read_predictions`."""
    return parse_scorings(read_predictions(path))


def parse_scorings(rows: Iterable[PredictionRow]) -> dict[str, Scoring]:
    """The systems of some rows in the order in which they first occur.

    Raises:
        ValueError: a sample_id that repeats within one system.
    """
    by_system: dict[str, list[PredictionRow]] = {}
    for row in rows:
        by_system.setdefault(row["system"], []).append(row)
    scorings = {}
    for system, own in by_system.items():
        repeated = [sample_id for sample_id, count in Counter(row["sample_id"] for row in own).items() if count > 1]
        if repeated:
            raise ValueError(f"sample_id {repeated[0]!r} stands in several rows of {system}; keep one row a sample")
        scorings[system] = Scoring(system, tuple(own), tuple(map(parse_row_answer, own)))
    return scorings


def collect_samples(scorings: Mapping[str, Scoring]) -> list[dict[str, Any]]:
    """Facts of each sample from the rows of all systems, in the order of the rows."""
    samples: dict[str, dict[str, Any]] = {}
    for scoring in scorings.values():
        for row in scoring.rows:
            facts = {
                name: value for name, value in row.items() if name in (*SAMPLE_KEYS, "target", "evidence", "events")
            }
            samples[row["sample_id"]] = facts | samples.get(row["sample_id"], {})
    return list(samples.values())


def count_unreferenced(scorings: Mapping[str, Scoring]) -> int:
    """Number of samples with options but without a reference answer."""
    return sum(bool(sample["options"]) and sample["truth"] is None for sample in collect_samples(scorings))


def render_unreferenced(num_epochs: int) -> str:
    """Line on epochs without a reference; empty where there are none."""
    return (
        f"no reference: {num_epochs} epochs without an expert's stage; figures that need one are left out"
        if num_epochs
        else ""
    )


def select_recording(scorings: Mapping[str, Scoring], recording: str) -> dict[str, Scoring]:
    """The same systems on one recording; those without a row of it are left out."""
    positions = {
        name: [idx for idx, row in enumerate(scoring.rows) if row.get("recording", "") == recording]
        for name, scoring in scorings.items()
    }
    return {name: scoring.select(positions[name]) for name, scoring in scorings.items() if positions[name]}


def join_scorings(scorings: Mapping[str, Scoring], others: Mapping[str, Scoring]) -> dict[str, Scoring]:
    """The systems of two files on the samples of the first; one of `others` replaces another of the same name.

    Raises:
        ValueError: one of `others` lacks a sample, or answers it with other options.
    """
    samples = collect_samples(scorings)
    joined = dict(scorings)
    for name, scoring in others.items():
        position_of = {row["sample_id"]: idx for idx, row in enumerate(scoring.rows)}
        for sample in samples:
            idx = position_of.get(sample["sample_id"])
            if idx is None:
                raise ValueError(f"the predictions of {name} lack {sample['sample_id']}; score the same data with both")
            if list(scoring.rows[idx]["options"]) != list(sample["options"]):
                raise ValueError(
                    f"{sample['sample_id']}: the options of {name} are {scoring.rows[idx]['options']}, not "
                    f"{sample['options']}"
                )
        joined[name] = scoring.select(position_of[sample["sample_id"]] for sample in samples)
    return joined


def render_system(system: str) -> str:
    """Name of a system for people, such as "Language model" or "Classifier+hmm"."""
    return f"{system[:1].upper()}{system[1:].replace('_', ' ')}"
