"""Nights from predictions: hypnograms of the expert and of each system on the same epochs; names of sleep stages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tslm.hypnogram import Hypnogram
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.predictions.scorings import Scoring, collect_samples, render_system, select_recording

EXPERT = "Expert"
DEFAULT_EPOCH_S = 30.0
_MAX_EPOCHS = 2_000_000  # of a recording: four months of epochs of 5 s
STAGE_OF_ANSWER = {name: sleep_stage for sleep_stage, name in ANSWER_NAMES.items()}
SHORT_NAMES = {each: each.value for each in SleepStage} | {SleepStage.REM: "REM", SleepStage.MOVEMENT: "Mov"}
_LEVELS = (
    SleepStage.MOVEMENT,
    SleepStage.WAKE,
    SleepStage.REM,
    SleepStage.NREM,
    SleepStage.N1,
    SleepStage.N2,
    SleepStage.N3,
)


@dataclass(frozen=True)
class Night:
    """One recording as scored by the expert, where one did, and by each system, over the same epochs."""

    recording: str
    onset_s: float  # of the first epoch shown
    hypnograms: Mapping[str, Hypnogram]  # by scorer, an expert first; unscored where missing or not parsed
    num_predicted: Mapping[str, int]  # epochs with a row of each system

    num_compared: Mapping[str, int]  # those of them that the expert scored

    @property
    def expert(self) -> Hypnogram | None:
        """The expert's scoring; None where no epoch has one."""
        return self.hypnograms.get(EXPERT)

    @property
    def num_epochs(self) -> int:
        """Epochs from the first to the last shown."""
        return next(iter(self.hypnograms.values())).num_epochs

    def count_same(self, scorer: str) -> int:
        """Number of epochs in which a scorer agrees with the expert."""
        truths = self.expert.sleep_stages if self.expert else (SleepStage.UNSCORED,) * self.num_epochs
        pairs = zip(truths, self.hypnograms[scorer].sleep_stages, strict=True)
        return sum(truth is answer for truth, answer in pairs if truth is not SleepStage.UNSCORED)


def build_nights(scorings: Mapping[str, Scoring]) -> list[Night]:
    """One night per recording, in the order of the rows; empty if the task is not sleep staging.

    Raises:
        ValueError: two samples name the same epoch of a recording.
    """
    staged = {
        name: scoring.select(idx for idx, row in enumerate(scoring.rows) if "epoch_idx" in row and is_staging([row]))
        for name, scoring in scorings.items()
    }
    recordings = dict.fromkeys(sample.get("recording", "") for sample in collect_samples(staged))
    return [_build_night(name, select_recording(staged, name)) for name in recordings]


def check_span(num_epochs: float, recording: str) -> None:
    """ValueError where the rows of a recording lie too far apart to draw every epoch between them."""
    if num_epochs > _MAX_EPOCHS:
        raise ValueError(
            f"the rows of recording {recording!r} span {num_epochs:.0f} epochs; mend epoch_idx and onset_s"
        )


def is_staging(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every answer that the rows allow is a sleep stage."""
    return all(row["options"] and all(option in STAGE_OF_ANSWER for option in row["options"]) for row in rows)


def find_epoch_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """Length of the scoring epoch: the step of onset per step of index within recordings; 30 s where unknown.

    Rows may come in any order. A gap only makes a step longer, so it is the median of the steps that hold none.
    """
    timed = sorted(
        (row.get("recording", ""), row["epoch_idx"], row["onset_s"])
        for row in rows
        if row.get("epoch_idx") is not None and row.get("onset_s") is not None
    )
    steps = [
        (onset_b - onset_a) / (idx_b - idx_a)
        for (recording_a, idx_a, onset_a), (recording_b, idx_b, onset_b) in pairwise(timed)
        if recording_a == recording_b and idx_b > idx_a and onset_b > onset_a
    ]
    shortest = min(steps, default=DEFAULT_EPOCH_S)
    return float(np.median([step for step in steps if step < 1.5 * shortest] or [shortest]))


def short_label(label: str) -> str:
    """Code of a sleep stage's answer name ("N2"), any other label cut to fit a column head."""
    if label in STAGE_OF_ANSWER:
        return SHORT_NAMES[STAGE_OF_ANSWER[label]]
    return label if len(label) <= 12 else label[:11] + "…"


def pick_levels(sleep_stages: Sequence[SleepStage]) -> list[SleepStage]:
    """Sleep stages from the top of a hypnogram to its bottom; unscored has no level."""
    return [level for level in _LEVELS if level in sleep_stages]


def shown_levels(rows: Sequence[Mapping[str, Any]]) -> list[SleepStage]:
    """Levels of the hypnograms: the sleep stages that the task allows."""
    return pick_levels([STAGE_OF_ANSWER[option] for option in rows[0]["options"]])


def _build_night(recording: str, scorings: Mapping[str, Scoring]) -> Night:
    samples = sorted(collect_samples(scorings), key=lambda sample: sample["epoch_idx"])
    idx = np.array([sample["epoch_idx"] for sample in samples])
    repeated = np.flatnonzero(np.diff(idx) == 0)
    if len(repeated):
        raise ValueError(f"epoch {idx[repeated[0]]} of recording {recording!r} stands in two rows; keep one of them")
    check_span(idx[-1] - idx[0], recording)
    epoch_s = find_epoch_s(samples)
    truths = {row["epoch_idx"]: row["truth"] for row in samples}
    answers: dict[str, dict[int, str | None]] = {EXPERT: truths} if any(truths.values()) else {}
    for name, scoring in scorings.items():
        rows = zip(scoring.rows, scoring.answers, strict=True)
        answers[render_system(name)] = {row["epoch_idx"]: answer for row, answer in rows}
    hypnograms = {}
    for scorer, of_epoch in answers.items():
        names = [of_epoch.get(epoch) for epoch in range(idx[0], idx[-1] + 1)]
        sleep_stages = tuple(STAGE_OF_ANSWER[name] if name is not None else SleepStage.UNSCORED for name in names)
        hypnograms[scorer] = Hypnogram(sleep_stages, epoch_s)
    onset_s = samples[0].get("onset_s", float(idx[0]) * epoch_s)
    num_predicted = {render_system(name): len(scoring.rows) for name, scoring in scorings.items()}
    num_compared = {render_system(name): len(scoring.select_referenced().rows) for name, scoring in scorings.items()}
    return Night(recording, onset_s, hypnograms, num_predicted, num_compared)
