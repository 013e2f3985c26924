"""Bootstrap resamples of people, or of stretches of one person's nights, and the intervals that they give.

Epochs of one person resemble each other, so an interval over single epochs says far less than it promises. What is
drawn with replacement is whole subjects (the cluster bootstrap, Davison & Hinkley 1997, section 3.8); of one subject
it is blocks of consecutive epochs (the circular block bootstrap, Politis & Romano 1992), which then speak of other
stretches of the same nights and not of other people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

SUBJECTS, RECORDINGS, BLOCKS, QUESTIONS = "subjects", "recordings", "blocks of epochs", "questions"
FEW_UNITS = 5  # with fewer people than that, an interval is too narrow and should be read so


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn.

    Attributes:
        num_resamples: how many resamples.
        seed: of the draws; the same seed draws the same units for every system on the same samples.
        level: share of the resamples inside an interval.
        block_samples: length of a block, used for one subject; 20 epochs of 30 s are 10 minutes.
        unit: what the names given as subjects stand for.
    """

    num_resamples: int = 2000
    seed: int = 0
    level: float = 0.95
    block_samples: int = 20
    unit: str = SUBJECTS

    def __post_init__(self) -> None:
        if self.num_resamples < 1 or self.block_samples < 1 or not 0 < self.level < 1:
            raise ValueError("num_resamples and block_samples must be at least 1 and level between 0 and 1")


DEFAULT_RESAMPLING = Resampling()


class Resamples:
    """Draws for samples of known subjects; sums anything counted per sample within each draw.

    Args:
        num_samples: how many samples there are, in time order where they are of one subject.
        subjects: whose each sample is; None, or one and the same for all: blocks of samples are drawn.
        resampling: how.
    """

    def __init__(self, num_samples: int, subjects: Sequence[str] | None, resampling: Resampling) -> None:
        if subjects is not None and len(subjects) != num_samples:
            raise ValueError(f"{len(subjects)} subjects but {num_samples} samples; name one a sample")
        self.resampling = resampling
        names, unit_idx = np.unique(
            np.asarray(subjects if subjects is not None else [""] * num_samples), return_inverse=True
        )
        self.num_subjects, self.block_samples = len(names), 0
        if len(names) > 1:
            self.num_units = num_drawn = len(names)
            sample_idx = np.arange(num_samples)
        else:
            # Where fewer than ten blocks would fit, blocks are a tenth of the samples.
            self.block_samples = max(1, min(resampling.block_samples, num_samples // 10))
            self.num_units = num_drawn = -(-num_samples // self.block_samples)
            starts = np.arange(num_samples)
            sample_idx = ((starts[:, None] + np.arange(self.block_samples)) % num_samples).ravel()
            unit_idx = np.repeat(starts, self.block_samples)
        num_choices = int(unit_idx.max()) + 1
        self._members = _count_matrix(unit_idx, sample_idx, (num_choices, num_samples))
        rng = np.random.default_rng(resampling.seed)
        drawn = rng.integers(num_choices, size=(resampling.num_resamples, num_drawn), dtype=np.int32)
        rows = np.arange(0, drawn.size + 1, num_drawn)
        self._draws = scipy.sparse.csr_matrix(
            (np.ones(drawn.size), drawn.ravel(), rows), shape=(resampling.num_resamples, num_choices)
        )

    def sum(self, counted_NM: "np.ndarray | scipy.sparse.spmatrix") -> np.ndarray:
        """(num_samples, M) numbers per sample -> (num_resamples, M) float64, their sums within each resample."""
        per_unit = self._members @ counted_NM
        per_unit_UM = per_unit.toarray() if scipy.sparse.issparse(per_unit) else per_unit
        return np.asarray(self._draws @ per_unit_UM)

    def find_interval(self, values_R: np.ndarray) -> list[float | None]:
        """Percentile interval of a statistic over the resamples where it is defined; [None, None] where nowhere."""
        defined = values_R[np.isfinite(values_R)]
        tail = (1 - self.resampling.level) / 2
        return [float(bound) for bound in np.quantile(defined, [tail, 1 - tail])] if len(defined) else [None, None]

    def describe(self) -> dict[str, Any]:
        """Describe the intervals: unit, num_units, level, num_resamples, seed, and block_samples for blocks."""
        is_over_blocks = bool(self.block_samples)
        return {
            "unit": BLOCKS if is_over_blocks else self.resampling.unit,
            "num_units": self.num_units,
            "level": self.resampling.level,
            **({"block_samples": self.block_samples} if is_over_blocks else {}),
            "num_resamples": self.resampling.num_resamples,
            "seed": self.resampling.seed,
        }


def find_subjects(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str] | None, str]:
    """Find the unit of each row: its subject, or its recording if any row names no subject.

    None where a row names neither.
    """
    for key, unit in (("subject", SUBJECTS), ("recording", RECORDINGS)):
        names = [row.get(key) for row in rows]
        if all(names):
            return [str(name) for name in names], unit
    return None, RECORDINGS


def find_units(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """Find the unit of each row that answers a question: as `find_subjects`, else the question itself."""
    subjects, unit = find_subjects(rows)
    return ([str(row["sample_id"]) for row in rows], QUESTIONS) if subjects is None else (subjects, unit)


def render_unit(intervals: dict[str, Any]) -> str:
    """Describe the units of the intervals, and their limits, in one line."""
    unit, num_units = intervals["unit"], intervals["num_units"]
    text = f"{100 * intervals['level']:g} % intervals over {num_units} {unit}"
    if unit == BLOCKS:
        return f"{text} ({intervals['block_samples']} each) of one subject: they say nothing about other people"
    if unit == RECORDINGS:
        text += ", taken for people as the predictions name no subjects"
    if unit == QUESTIONS:
        text += ", taken as independent"
    return f"{text}; so few that they are too narrow" if num_units < FEW_UNITS else text


def _count_matrix(row_idx: np.ndarray, column_idx: np.ndarray, shape: tuple[int, int]) -> "scipy.sparse.csr_matrix":
    return scipy.sparse.csr_matrix((np.ones(len(row_idx)), (row_idx, column_idx)), shape=shape)
