"""Rows of predictions smoothed over time: their answers change, what the models said stays beside them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tslm.answers.grammar import render_answer
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.predictions.nights import find_epoch_s
from tslm.predictions.rows import PredictionRow, pick_classifier_answers
from tslm.predictions.smoothing import Smoothing, smooth_probabilities
from tslm.predictions.transitions import Transitions

_STAGE_OF_ANSWER = {name: stage for stage, name in ANSWER_NAMES.items()}
_PREFIXES = ("", "classifier_")  # of what smoothing adds: to the language model's answers, to the classifier's
_DIGITS = 6
_TIME = ("recording", "epoch_idx", "onset_s")


def smooth_predictions(
    rows: Sequence[PredictionRow], smoothing: Smoothing, transitions: Transitions | None = None
) -> list[PredictionRow]:
    """The rows in their order, each with `smoothed_answer`, `classifier_smoothed_answer` or both, and `smoothing`.

    Where the method gives probabilities (median, posterior) these stand beside the answers.

    A system is smoothed by its own probabilities: the language model by `label_probabilities`, the classifier by
    `classifier_probabilities`; in a file of the classifier alone they also give the main answer. Text and
    probabilities stay as they were, so smoothing twice is smoothing once. Each stretch of a recording between gaps,
    which epochs without a row or without probabilities are too, is smoothed by itself.

    Raises:
        ValueError: rows that are no epochs of nights, have no probabilities or no neighbours, or other stages than
            the transitions.
    """
    rows = [_forget(row) for row in rows]
    if missing := [name for name in _TIME if any(row.get(name) is None for row in rows)]:
        raise ValueError(f"rows without {missing[0]!r} cannot be smoothed over time; score nights, not questions")
    sleep_stages = transitions.sleep_stages if transitions else _read_stages(rows[0])
    _check_neighbours(rows)
    epoch_s = find_epoch_s(rows)
    found = {
        kind: _smooth_system(rows, f"{kind}_probabilities", sleep_stages, epoch_s, smoothing, transitions)
        for kind in ("label", "classifier")
        if any(row.get(f"{kind}_probabilities") is not None for row in rows)
    }
    if not found:
        raise ValueError("no row has label_probabilities or classifier_probabilities; generate them with constraints")
    smoothed: list[Any] = [{**row, "smoothing": smoothing.describe()} for row in rows]
    of_classifier_alone = "label" not in found and is_classifier_alone(rows)
    for kind, prefix in zip(("label", "classifier"), _PREFIXES, strict=True):
        for row, probabilities in zip(smoothed, found.get(kind, [None] * len(rows)), strict=True):
            if probabilities is None:
                continue
            answer = max(probabilities, key=probabilities.__getitem__)
            row[f"{prefix}smoothed_answer"] = answer
            if kind == "classifier" and of_classifier_alone:
                row["smoothed_answer"] = answer
            if smoothing.gives_probabilities:
                values = [round(probabilities[name], _DIGITS) for name in row["options"]]
                row[f"{prefix}smoothed_probabilities"] = values
    return smoothed


def count_changed(rows: Sequence[PredictionRow]) -> int:
    """Rows whose main answer, or else the classifier's, is another one after smoothing."""
    key, probabilities = (
        ("smoothed_answer", "label_probabilities")
        if any(row.get("label_probabilities") is not None for row in rows)
        else ("classifier_smoothed_answer", "classifier_probabilities")
    )
    rows_: Sequence[Any] = rows
    return sum(row[key] != row["options"][int(np.argmax(row[probabilities]))] for row in rows_ if key in row)


def is_classifier_alone(rows: Sequence[PredictionRow]) -> bool:
    """Whether the main answers, as they were before any smoothing, are nothing but the classifier's."""
    chosen = pick_classifier_answers([_forget(row) for row in rows])
    return chosen is not None and all(
        answer and row["generated"] == render_answer(answer) for row, answer in zip(rows, chosen, strict=False)
    )


def _forget(row: PredictionRow) -> PredictionRow:
    """The row as it was before it was smoothed."""
    added = ("smoothing", *(f"{prefix}smoothed_{what}" for prefix in _PREFIXES for what in ("answer", "probabilities")))
    return {name: value for name, value in row.items() if name not in added}  # type: ignore[return-value]


def _smooth_system(
    rows: Sequence[PredictionRow],
    key: str,
    sleep_stages: Sequence[SleepStage],
    epoch_s: float,
    smoothing: Smoothing,
    transitions: Transitions | None,
) -> list[dict[str, float] | None]:
    """The smoothed probability of each answer of every row, None where it has no probabilities."""
    smoothed: list[dict[str, float] | None] = [None] * len(rows)
    names = [ANSWER_NAMES[stage] for stage in sleep_stages]
    by_recording: dict[str, list[int]] = {}
    for idx, row in enumerate(rows):
        if row.get(key) is not None:
            by_recording.setdefault(row["recording"], []).append(idx)
    for recording, indices in by_recording.items():
        indices.sort(key=lambda idx: rows[idx]["onset_s"])
        probabilities_EK = np.array([_in_order(rows[idx], key, sleep_stages) for idx in indices])
        onset_s = np.array([rows[idx]["onset_s"] for idx in indices])
        try:
            smoothed_EK = smooth_probabilities(probabilities_EK, onset_s, epoch_s, smoothing, transitions)
        except ValueError as error:
            raise ValueError(f"{recording}: {error}") from error
        for idx, values in zip(indices, smoothed_EK.tolist(), strict=True):
            smoothed[idx] = dict(zip(names, values, strict=True))
    return smoothed


def _in_order(row: Any, key: str, sleep_stages: Sequence[SleepStage]) -> list[float]:
    """A row's probabilities in the order of the stages."""
    of_stage = dict(zip(_read_stages(row), row[key], strict=True))
    if set(of_stage) != set(sleep_stages):
        wanted = ", ".join(ANSWER_NAMES[stage] for stage in sleep_stages)
        raise ValueError(f"{row['sample_id']} has the options {', '.join(row['options'])}; transitions know {wanted}")
    return [of_stage[stage] for stage in sleep_stages]


def _read_stages(row: PredictionRow) -> tuple[SleepStage, ...]:
    if not row["options"] or any(option not in _STAGE_OF_ANSWER for option in row["options"]):
        raise ValueError(f"{row['sample_id']} has options that are no sleep stages; only nights can be smoothed")
    return tuple(_STAGE_OF_ANSWER[option] for option in row["options"])


def _check_neighbours(rows: Sequence[PredictionRow]) -> None:
    """ValueError where no two rows are neighbouring epochs."""
    epochs = {(row["recording"], row["epoch_idx"]) for row in rows}
    if not any((recording, epoch_idx + 1) in epochs for recording, epoch_idx in epochs):
        raise ValueError("no two rows are neighbouring epochs, nothing can be smoothed; score all epochs of a night")
