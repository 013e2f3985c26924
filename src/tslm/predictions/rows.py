"""test_predictions.jsonl: what a model answered, one JSON object a line.

The file keeps the raw generated text; it is parsed (tslm.answers.grammar) each time it is scored, so a
change of the answer grammar never needs a second generation run.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from tslm.answers.grammar import parse_answer, split_answers
from tslm.files import to_plain, write_beside
from tslm.predictions.resampling import RECORDINGS, SUBJECTS

_REQUIRED: dict[str, tuple[type, ...]] = {
    "sample_id": (str,),
    "truth": (str,),
    "generated": (str,),
    "options": (list, tuple),
}
_PROBABILITIES = (
    "classifier_probabilities",
    "label_probabilities",
    "smoothed_probabilities",
    "classifier_smoothed_probabilities",
)
_SUM_TOLERANCE = 1e-4  # files keep six digits, others' perhaps five


class PredictionRow(TypedDict):
    """One line of test_predictions.jsonl."""

    sample_id: str
    truth: str  # answer name, one of `options` or several of them in one; empty for captions
    generated: str  # raw text of the model
    options: list[str]  # answer names the task allows; empty for captions
    target: NotRequired[str]  # reference response
    recording: NotRequired[str]
    subject: NotRequired[str]  # whose recording it is; intervals are over subjects
    epoch_idx: NotRequired[int]
    onset_s: NotRequired[float]
    classifier_probabilities: NotRequired[list[float] | None]  # in the order of `options`
    classifier_temperature: NotRequired[float | None]  # that they were calibrated with; None: not calibrated
    label_log_likelihoods: NotRequired[list[float]]  # language model, of each option as written; before calibration
    label_probabilities: NotRequired[list[float]]  # of them, in the order of `options`
    label_temperature: NotRequired[float | None]  # that they were calibrated with; None: not calibrated
    forced: NotRequired[bool]  # `Answer:` had to be put down for the model: at its end, or as the budget ended
    corrected: NotRequired[bool]  # the answer after `Answer:` is not what the model would have written freely
    smoothing: NotRequired[dict[str, Any]]  # how the answers below were smoothed over time; absent: not at all
    smoothed_answer: NotRequired[str]  # stands in the place of the answer in `generated`, which stays as it was
    smoothed_probabilities: NotRequired[list[float]]  # of a median filter or of posteriors, in the order of `options`
    classifier_smoothed_answer: NotRequired[str]  # in the place of the classifier's most probable option
    classifier_smoothed_probabilities: NotRequired[list[float]]
    evidence: NotRequired[dict[str, Any]]  # measured facts of the epoch, by name
    fold: NotRequired[int]  # of a cross-validation: the one that tested it
    leaky: NotRequired[bool]  # True: training may hold other epochs of this subject, or the same series
    within_subject: NotRequired[bool]  # True, with `leaky`: only epochs of an earlier time (tslm.data.splits.time)


def write_predictions(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows beside `path`, then rename. NaN becomes null, numpy values become plain ones.

    Raises:
        ValueError: a row that `read_predictions` would refuse; nothing is written then.
    """
    lines = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        checked = check_row(row, f"row {number}")
        _check_new(checked["sample_id"], number, seen, "row")
        lines.append(json.dumps(to_plain(row), ensure_ascii=False, allow_nan=False) + "\n")
    with write_beside(path) as partial:
        partial.write_text("".join(lines), encoding="utf-8")


def read_predictions(path: Path) -> list[PredictionRow]:
    """All rows in file order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, or a line is cut off, lacks a key or repeats a sample_id;
            the message names the line.
    """
    rows, bad_lines = _read_lines(path)
    if bad_lines:
        raise ValueError(f"{path}, {next(iter(bad_lines.values()))}; mend it or leave it out with --skip_bad")
    return rows


def read_intact_predictions(path: Path) -> tuple[list[PredictionRow], list[int]]:
    """(intact rows, numbers of the lines left out, from 1); for files cut off by a crash.

    A repeated sample_id is still a ValueError, as is a file without one intact line.
    """
    rows, bad_lines = _read_lines(path)
    if not rows:
        raise ValueError(f"{path}: none of {len(bad_lines)} lines is a prediction; generate the file again")
    return rows, list(bad_lines)


def check_row(row: object, where: str) -> PredictionRow:
    """The row itself; ValueError where it breaks the contract, which begins with `where`."""
    if not isinstance(row, Mapping):
        raise ValueError(f"{where} is not a JSON object")
    for name, wanted in _REQUIRED.items():
        if not isinstance(row.get(name), wanted):
            raise ValueError(f"{where} has no {name!r} of type {wanted[0].__name__}")
    options = row["options"]
    if options and split_answers(row["truth"], options) is None:
        raise ValueError(f"{where}: truth {row['truth']!r} is none of its options: {', '.join(map(str, options))}")
    for name in ("smoothed_answer", "classifier_smoothed_answer"):
        if name in row and row[name] not in options:
            raise ValueError(f"{where}: {name} {row[name]!r} is none of its options: {', '.join(map(str, options))}")
    for name in _PROBABILITIES:
        if row.get(name) is not None:
            _check_probabilities(row[name], len(options), f"{where}: {name}")
    return row  # type: ignore[return-value]


def merge_classifier(rows: Sequence[PredictionRow], classifier_rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    """The language model's rows with the classifier's probabilities of the same epochs beside them.

    Raises:
        ValueError: an epoch that the classifier did not score, or scored with other options.
    """
    by_id = {row["sample_id"]: row for row in classifier_rows}
    merged = []
    for row in rows:
        other = by_id.get(row["sample_id"])
        if other is None or other.get("classifier_probabilities") is None:
            raise ValueError(f"the classifier's predictions lack {row['sample_id']}; score the same data with both")
        if list(other["options"]) != list(row["options"]):
            raise ValueError(
                f"{row['sample_id']}: the classifier's options are {other['options']}, not {row['options']}"
            )
        merged.append(
            row
            | {
                "classifier_probabilities": other["classifier_probabilities"],
                "classifier_temperature": other.get("classifier_temperature"),
            }
        )
    return merged


def parse_predictions(rows: Sequence[PredictionRow]) -> list[str | None]:
    """Answer of the language model per row, None where its text does not parse; the smoothed one where there is one.

    Where any row's truth consists of several options, every row may be answered with several.
    """
    several = has_several_answers(rows)
    return [row.get("smoothed_answer") or parse_answer(row["generated"], row["options"], several) for row in rows]


def pick_classifier_answers(rows: Sequence[PredictionRow]) -> list[str | None] | None:
    """Most probable option of the classifier per row, or its smoothed answer; None when no row has probabilities.

    A row that lacks them among rows that have them is an answer of None, and so counted wrong.
    """
    probabilities = [row.get("classifier_probabilities") for row in rows]
    if all(values is None for values in probabilities):
        return None
    return [
        row.get("classifier_smoothed_answer") or row["options"][_find_largest(values)] if values is not None else None
        for row, values in zip(rows, probabilities, strict=True)
    ]


def has_several_answers(rows: Sequence[PredictionRow]) -> bool:
    """Whether any row's truth consists of several of its options."""
    return any(row["options"] and row["truth"] not in row["options"] for row in rows)


def find_subjects(rows: Sequence[PredictionRow]) -> tuple[list[str] | None, str]:
    """Whose each row is, and what that name stands for: its subject, or the recording where any row names no subject.

    None where a row names neither.
    """
    for key, unit in (("subject", SUBJECTS), ("recording", RECORDINGS)):
        names = [row.get(key) for row in rows]
        if all(names):
            return [str(name) for name in names], unit
    return None, RECORDINGS


def sort_by_time(rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Rows by recording and onset; in the order they have where any lacks either."""
    if not all({"recording", "onset_s"} <= row.keys() for row in rows):
        return list(rows)
    return sorted(rows, key=lambda row: (row["recording"], row["onset_s"]))


def _find_largest(values: Sequence[float]) -> int:
    """Place of the largest, the first of equals; ten times as fast as numpy on five numbers."""
    return max(range(len(values)), key=values.__getitem__)


def _read_lines(path: Path) -> tuple[list[PredictionRow], dict[int, str]]:
    """Intact rows and {line number: what is wrong with it}."""
    if not path.is_file():
        raise FileNotFoundError(f"no predictions at {path}; make them with: python -m evaluation.generate")
    rows: list[PredictionRow] = []
    bad_lines: dict[int, str] = {}
    seen: dict[str, int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = check_row(_load_line(line, number), f"line {number}")
            except ValueError as error:
                bad_lines[number] = str(error)
                continue
            _check_new(row["sample_id"], number, seen, f"{path}, line")
            rows.append(row)
    if not rows and not bad_lines:
        raise ValueError(f"{path} is empty; generate the predictions again")
    return rows, bad_lines


def _load_line(line: bytes, number: int) -> object:
    try:
        return json.loads(line)
    except ValueError as error:  # also bytes that are not UTF-8, where a line was cut inside a letter
        raise ValueError(f"line {number} is not whole JSON (cut off?)") from error


def _check_probabilities(values: Any, num_options: int, where: str) -> None:
    is_list = isinstance(values, list | tuple | np.ndarray) and len(values) == num_options
    if not is_list or not all(
        isinstance(value, int | float | np.floating) and math.isfinite(value) for value in values
    ):
        raise ValueError(f"{where} must be {num_options} finite numbers")
    total = sum(values)
    if num_options and (min(values) < 0 or abs(total - 1) > _SUM_TOLERANCE):
        raise ValueError(f"{where} must be 0 or more and sum to 1, not {total:.6g}")


def _check_new(sample_id: str, number: int, seen: dict[str, int], where: str) -> None:
    if seen.setdefault(sample_id, number) != number:
        raise ValueError(
            f"{where} {number} repeats sample_id {sample_id!r} of line {seen[sample_id]}; keep one of them"
        )
