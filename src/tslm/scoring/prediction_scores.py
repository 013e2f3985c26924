"""Scores of prediction rows: of the language model's answers and, beside them, of the classifier's."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tslm.files import to_plain, write_beside
from tslm.predictions.resampling import QUESTIONS, Resamples, Resampling
from tslm.predictions.rows import (
    PredictionRow,
    find_subjects,
    has_several_answers,
    parse_predictions,
    pick_classifier_answers,
    sort_by_time,
)
from tslm.predictions.smoothed import is_classifier_alone
from tslm.scoring.metrics import bootstrap_intervals, compute_metrics
from tslm.scoring.scored_probabilities import score_row_probabilities
from tslm.scoring.structure import score_row_structure

_NUMBERS = re.compile(r'\[\n([^\[\]{}"]*)\n *\]')  # a list of nothing but numbers, as json indents it


def score_predictions(
    rows: Sequence[PredictionRow], *, num_resamples: int = Resampling.num_resamples, seed: int = 0
) -> dict[str, Any]:
    """Metrics of the language model and, where rows carry its probabilities, of the classifier.

    Rows that name recording and onset may come in any order; others must be in time order where there is one subject.

    Args:
        rows: predictions of one curriculum stage.
        num_resamples: bootstrap resamples for `intervals`; 0 leaves them out.
        seed: of the bootstrap.

    Returns:
        For rows that share one set of options: everything `compute_metrics` gives, `intervals` (`bootstrap_intervals`),
        `probabilities` and `smoothed_probabilities` (`score_row_probabilities`, where rows carry some), `per_recording`
        where there are several recordings, `structure` (tslm.scoring.structure) where rows are epochs of nights, and
        `classifier` (the same dict for the classifier) with `classifier_alone`, whether no language model gave the main
        answers. For questions with options of their own, or with several answers at once (right when all are named and
        no other): num_samples, num_correct, num_parse_failures, accuracy and its interval (over people where rows name
        them, else over questions). For captions: num_samples. In any case `num_unscored`, the rows without options,
        and `leaky`, whether any row is, with `within_subject` where time divides training from test; `smoothing` where
        answers were smoothed over time.

    Raises:
        ValueError: no rows, or a sample_id that repeats.
    """
    if not rows:
        raise ValueError("no predictions to score; give at least one row")
    repeated = [sample_id for sample_id, count in Counter(row["sample_id"] for row in rows).items() if count > 1]
    if repeated:
        raise ValueError(f"sample_id {repeated[0]!r} stands in several rows; keep one row a sample")
    scored = sort_by_time([row for row in rows if row["options"]])
    about_rows: dict[str, Any] = {
        "num_unscored": len(rows) - len(scored),
        "leaky": any(row.get("leaky") for row in rows),
    }
    if any(row.get("within_subject") for row in rows):
        about_rows["within_subject"] = True
    if smoothing := _find_smoothing(rows):
        about_rows["smoothing"] = smoothing
    if not scored:
        return {"num_samples": len(rows), **about_rows}
    answers = parse_predictions(scored)
    if len({frozenset(row["options"]) for row in scored}) > 1 or has_several_answers(scored):
        return _score_questions(scored, answers, num_resamples, seed) | about_rows
    metrics = _score_system(scored, answers, "label", num_resamples, seed) | about_rows
    classifier_answers = pick_classifier_answers(scored)
    if classifier_answers is not None:
        metrics["classifier"] = _score_system(scored, classifier_answers, "classifier", num_resamples, seed)
        metrics["classifier_alone"] = "probabilities" not in metrics and is_classifier_alone(scored)
    return metrics


def write_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Write metrics as indented JSON, beside `path`, then rename. NaN becomes null; numbers in a list share a line."""
    text = json.dumps(to_plain(metrics), indent=2, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text)
    with write_beside(path) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


def _score_system(
    rows: Sequence[PredictionRow], answers: Sequence[str | None], kind: str, num_resamples: int, seed: int
) -> dict[str, Any]:
    labels, truth = rows[0]["options"], [row["truth"] for row in rows]
    metrics = compute_metrics(truth, answers, labels)
    if num_resamples:
        subjects, unit = find_subjects(rows)
        resampling = Resampling(num_resamples, seed, unit=unit)
        metrics["intervals"] = bootstrap_intervals(truth, answers, labels, subjects=subjects, resampling=resampling)
    smoothed_key = f"{'' if kind == 'label' else f'{kind}_'}smoothed_probabilities"
    for name, key in (("probabilities", f"{kind}_probabilities"), ("smoothed_probabilities", smoothed_key)):
        if probabilities := score_row_probabilities(rows, answers, key, num_resamples, seed):
            metrics[name] = probabilities
    if structure := score_row_structure(rows, answers):
        metrics["structure"] = structure
    by_recording: dict[str, list[tuple[str, str | None]]] = {}
    for row, answer in zip(rows, answers, strict=True):
        by_recording.setdefault(row.get("recording", ""), []).append((row["truth"], answer))
    if len(by_recording) > 1:
        metrics["per_recording"] = {name: _score_recording(pairs, labels) for name, pairs in by_recording.items()}
    return metrics


def _find_smoothing(rows: Sequence[PredictionRow]) -> dict[str, Any] | None:
    found = [row.get("smoothing") for row in rows]
    if any(value != found[0] for value in found):
        raise ValueError("some rows are smoothed in another way than others; smooth the whole file at once")
    return found[0]


def _score_recording(pairs: Sequence[tuple[str, str | None]], labels: Sequence[str]) -> dict[str, Any]:
    metrics = compute_metrics([truth for truth, _ in pairs], [answer for _, answer in pairs], labels)
    return {name: metrics[name] for name in ("num_samples", "accuracy", "macro_f1", "cohen_kappa")}


def _score_questions(
    rows: Sequence[PredictionRow], answers: Sequence[str | None], num_resamples: int, seed: int
) -> dict[str, Any]:
    is_right_N = np.array([answer == row["truth"] for row, answer in zip(rows, answers, strict=True)], dtype=np.float64)
    metrics: dict[str, Any] = {
        "num_samples": len(rows),
        "num_correct": int(is_right_N.sum()),
        "num_parse_failures": sum(answer is None for answer in answers),
        "accuracy": float(is_right_N.mean()),
    }
    if num_resamples:
        subjects, unit = find_subjects(rows)
        if subjects is None:
            subjects, unit = [row["sample_id"] for row in rows], QUESTIONS
        resamples = Resamples(len(rows), subjects, Resampling(num_resamples, seed, unit=unit))
        right_R, all_R = resamples.sum(np.stack([is_right_N, np.ones(len(rows))], axis=1)).T
        metrics["intervals"] = {"accuracy": resamples.find_interval(right_R / all_R)} | resamples.describe()
    return metrics
