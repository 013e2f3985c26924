"""Nights out of predictions: hypnograms of expert and scorers over the same epochs, and how their stages are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tslm.hypnogram import Hypnogram
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.predictions.rows import PredictionRow, parse_predictions, pick_classifier_answers

EXPERT, LANGUAGE_MODEL, CLASSIFIER = "Expert", "Language model", "Classifier"
DEFAULT_EPOCH_S = 30.0
STAGE_OF_ANSWER = {name: stage for stage, name in ANSWER_NAMES.items()}
SHORT_NAMES = {stage: stage.value for stage in SleepStage} | {SleepStage.REM: "REM", SleepStage.MOVEMENT: "Mov"}
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
    """One recording as scored by the expert and by each system, over the same epochs."""

    recording: str
    onset_s: float  # of the first epoch shown
    hypnograms: Mapping[str, Hypnogram]  # by scorer, expert first; unscored where missing or not parsed
    num_predicted: int

    @property
    def expert(self) -> Hypnogram:
        """The expert's scoring."""
        return self.hypnograms[EXPERT]

    def count_same(self, scorer: str) -> int:
        """Epochs in which a scorer gives the expert's stage."""
        pairs = zip(self.expert.sleep_stages, self.hypnograms[scorer].sleep_stages, strict=True)
        return sum(truth is answer for truth, answer in pairs if truth is not SleepStage.UNSCORED)


def build_nights(rows: Sequence[PredictionRow], scorer: str = LANGUAGE_MODEL) -> list[Night]:
    """One night a recording, in the order of the rows; none when the task is not sleep staging.

    `scorer` is the name of the system that gave the answers.

    Raises:
        ValueError: two rows name the same epoch of a recording.
    """
    staged = [row for row in rows if "epoch_idx" in row and is_staging([row])]
    recordings = dict.fromkeys(row.get("recording", "") for row in staged)
    return [
        _build_night(name, [row for row in staged if row.get("recording", "") == name], scorer) for name in recordings
    ]


def is_staging(rows: Sequence[PredictionRow]) -> bool:
    """Whether every answer that the rows allow is a sleep stage."""
    return all(row["options"] and all(option in STAGE_OF_ANSWER for option in row["options"]) for row in rows)


def find_epoch_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """Length of the scoring epoch: the step of onset by step of index within recordings; 30 s where none tells.

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
    """Stages from the top of a hypnogram to its bottom; unscored has no level."""
    return [stage for stage in _LEVELS if stage in sleep_stages]


def shown_levels(rows: Sequence[PredictionRow]) -> list[SleepStage]:
    """Levels of the hypnograms: the stages that the task allows."""
    return pick_levels([STAGE_OF_ANSWER[option] for option in rows[0]["options"]])


def _build_night(recording: str, rows: Sequence[PredictionRow], scorer: str) -> Night:
    rows = sorted(rows, key=lambda row: row["epoch_idx"])
    idx = np.array([row["epoch_idx"] for row in rows])
    repeated = np.flatnonzero(np.diff(idx) == 0)
    if len(repeated):
        raise ValueError(f"epoch {idx[repeated[0]]} of recording {recording!r} stands in two rows; keep one of them")
    epoch_s = find_epoch_s(rows)
    answers: dict[str, Sequence[str | None]] = {
        EXPERT: [row["truth"] for row in rows],
        scorer: parse_predictions(rows),
    }
    classifier_answers = pick_classifier_answers(rows)
    if classifier_answers is not None:
        answers[CLASSIFIER] = classifier_answers
    hypnograms = {}
    for system, names in answers.items():
        stages = [SleepStage.UNSCORED] * int(idx[-1] - idx[0] + 1)
        for position, name in zip(idx - idx[0], names, strict=True):
            stages[position] = STAGE_OF_ANSWER[name] if name is not None else SleepStage.UNSCORED
        hypnograms[system] = Hypnogram(tuple(stages), epoch_s)
    return Night(recording, rows[0].get("onset_s", float(idx[0]) * epoch_s), hypnograms, len(rows))
