"""test_predictions.jsonl: what a model answered, one JSON object a line, and its scores.

The file keeps the raw generated text; it is parsed (tslm.answers) each time it is scored, so a
change of the answer grammar never needs a second generation run.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from tslm.answers import parse_answer, split_answers
from tslm.files import write_beside
from tslm.scoring.calibration import score_probabilities, unscale
from tslm.scoring.metrics import bootstrap_intervals, compute_metrics

_REQUIRED: dict[str, tuple[type, ...]] = {
    "sample_id": (str,),
    "truth": (str,),
    "generated": (str,),
    "options": (list, tuple),
}


class PredictionRow(TypedDict):
    """One line of test_predictions.jsonl."""

    sample_id: str
    truth: str  # answer name, one of `options` or several of them in one; empty for captions
    generated: str  # raw text of the model
    options: list[str]  # answer names the task allows; empty for captions
    target: NotRequired[str]  # reference response
    recording: NotRequired[str]
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
    classifier_smoothed_answer: NotRequired[str]  # in the place of the classifier's most probable option
    evidence: NotRequired[dict[str, Any]]  # measured facts of the epoch, by name
    leaky: NotRequired[bool]  # True: training may hold other epochs of this subject, or the same series


def write_predictions(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows beside `path`, then rename. NaN becomes null, numpy values become plain ones.

    Raises:
        ValueError: a row that `read_predictions` would refuse; nothing is written then.
    """
    lines = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        checked = _check_row(row, f"row {number}")
        _check_new(checked["sample_id"], number, seen, "row")
        lines.append(json.dumps(_to_json(row), ensure_ascii=False, allow_nan=False) + "\n")
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
    several = _has_several_answers(rows)
    return [row.get("smoothed_answer") or parse_answer(row["generated"], row["options"], several) for row in rows]


def pick_classifier_answers(rows: Sequence[PredictionRow]) -> list[str | None] | None:
    """Most probable option of the classifier per row, or its smoothed answer; None when no row has probabilities.

    A row that lacks them among rows that have them is an answer of None, and so counted wrong.
    """
    probabilities = [row.get("classifier_probabilities") for row in rows]
    if all(values is None for values in probabilities):
        return None
    return [
        row.get("classifier_smoothed_answer") or row["options"][int(np.argmax(values))] if values is not None else None
        for row, values in zip(rows, probabilities, strict=True)
    ]


def score_predictions(rows: Sequence[PredictionRow], *, num_resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Metrics of the language model and, where rows carry its probabilities, of the classifier.

    Rows must be in time order within a recording for the intervals to mean anything.

    Args:
        rows: predictions of one curriculum stage.
        num_resamples: bootstrap resamples for `intervals`; 0 leaves them out.
        seed: of the bootstrap.

    Returns:
        For rows that share one set of options: everything `compute_metrics` gives, `intervals`
        (`bootstrap_intervals`), `probabilities` (nll and ece, where rows carry some), `per_recording` where
        there are several recordings, and
        `classifier` (the same dict for the classifier). For questions with options of their own, or
        with several answers at once (right when all are named and no other):
        num_samples, num_correct, num_parse_failures and accuracy. For captions: num_samples. In
        any case `num_unscored`, the rows without options, and `leaky`, whether any row is; `smoothing`
        where answers were smoothed over time.

    Raises:
        ValueError: no rows, or a sample_id that repeats.
    """
    if not rows:
        raise ValueError("no predictions to score; give at least one row")
    repeated = [sample_id for sample_id, count in Counter(row["sample_id"] for row in rows).items() if count > 1]
    if repeated:
        raise ValueError(f"sample_id {repeated[0]!r} stands in several rows; keep one row a sample")
    scored = [row for row in rows if row["options"]]
    about_rows: dict[str, Any] = {
        "num_unscored": len(rows) - len(scored),
        "leaky": any(row.get("leaky") for row in rows),
    }
    if smoothing := _find_smoothing(rows):
        about_rows["smoothing"] = smoothing
    if not scored:
        return {"num_samples": len(rows), **about_rows}
    answers = parse_predictions(scored)
    if len({frozenset(row["options"]) for row in scored}) > 1 or _has_several_answers(scored):
        return _score_questions(scored, answers) | about_rows
    metrics = _score_system(scored, answers, num_resamples, seed) | about_rows
    metrics |= _score_calibration(scored, "label")
    classifier_answers = pick_classifier_answers(scored)
    if classifier_answers is not None:
        metrics["classifier"] = _score_system(scored, classifier_answers, num_resamples, seed)
        metrics["classifier"] |= _score_calibration(scored, "classifier")
    return metrics


def write_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Write metrics as indented JSON, beside `path`, then rename. NaN becomes null."""
    with write_beside(path) as partial:
        partial.write_text(
            json.dumps(_to_json(metrics), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def _score_system(
    rows: Sequence[PredictionRow], answers: Sequence[str | None], num_resamples: int, seed: int
) -> dict[str, Any]:
    labels, truth = rows[0]["options"], [row["truth"] for row in rows]
    metrics = compute_metrics(truth, answers, labels)
    if num_resamples:
        metrics["intervals"] = bootstrap_intervals(truth, answers, labels, num_resamples=num_resamples, seed=seed)
    recordings = list(dict.fromkeys(row.get("recording", "") for row in rows))
    if len(recordings) > 1:
        metrics["per_recording"] = {
            recording: _score_recording(
                [
                    (row["truth"], answer)
                    for row, answer in zip(rows, answers, strict=True)
                    if row.get("recording", "") == recording
                ],
                labels,
            )
            for recording in recordings
        }
    return metrics


def _score_calibration(rows: Sequence[PredictionRow], kind: str) -> dict[str, Any]:
    """`probabilities`: their negative log-likelihood and calibration error, also before the temperature."""
    if any(row.get(f"{kind}_probabilities") is None for row in rows):
        return {}
    rows_: Sequence[Mapping[str, Any]] = rows
    truth = [row["options"].index(row["truth"]) for row in rows]
    after = [row[f"{kind}_probabilities"] for row in rows_]
    temperature = rows_[0].get(f"{kind}_temperature")
    before = [unscale(values, temperature) for values in after]
    return {
        "probabilities": {
            "temperature": temperature,
            **score_probabilities(after, truth),
            "uncalibrated": score_probabilities(before, truth),
        }
    }


def _find_smoothing(rows: Sequence[PredictionRow]) -> dict[str, Any] | None:
    found = [row.get("smoothing") for row in rows]
    if any(value != found[0] for value in found):
        raise ValueError("some rows are smoothed in another way than others; smooth the whole file at once")
    return found[0]


def _score_recording(pairs: Sequence[tuple[str, str | None]], labels: Sequence[str]) -> dict[str, Any]:
    metrics = compute_metrics([truth for truth, _ in pairs], [answer for _, answer in pairs], labels)
    return {name: metrics[name] for name in ("num_samples", "accuracy", "macro_f1", "cohen_kappa")}


def _score_questions(rows: Sequence[PredictionRow], answers: Sequence[str | None]) -> dict[str, Any]:
    num_correct = sum(answer == row["truth"] for row, answer in zip(rows, answers, strict=True))
    return {
        "num_samples": len(rows),
        "num_correct": num_correct,
        "num_parse_failures": sum(answer is None for answer in answers),
        "accuracy": num_correct / len(rows),
    }


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
                row = _check_row(_load_line(line, number), f"line {number}")
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


def _check_row(row: object, where: str) -> PredictionRow:
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
    for name in ("classifier_probabilities", "label_probabilities"):
        probabilities = row.get(name)
        if probabilities is not None and not _are_probabilities(probabilities, len(options)):
            raise ValueError(f"{where}: {name} must be {len(options)} finite numbers")
    return row  # type: ignore[return-value]


def _has_several_answers(rows: Sequence[PredictionRow]) -> bool:
    return any(row["options"] and row["truth"] not in row["options"] for row in rows)


def _are_probabilities(values: object, num_options: int) -> bool:
    if not isinstance(values, list | tuple | np.ndarray) or len(values) != num_options:
        return False
    return all(isinstance(value, int | float | np.floating) and math.isfinite(value) for value in values)


def _check_new(sample_id: str, number: int, seen: dict[str, int], where: str) -> None:
    if seen.setdefault(sample_id, number) != number:
        raise ValueError(
            f"{where} {number} repeats sample_id {sample_id!r} of line {seen[sample_id]}; keep one of them"
        )


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _to_json(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
