"""The scores of every system of a file of predictions: the contents of metrics.json."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tslm.explain.ecg_checks import score_ecg_claims
from tslm.files import to_plain, write_beside
from tslm.predictions.scorings import Scoring, collect_samples
from tslm.scoring.intervals import Resamples, Resampling, find_subjects, find_units
from tslm.scoring.metrics import bootstrap_intervals, compute_metrics
from tslm.scoring.probabilities import measure_uncertainty, score_own_probabilities
from tslm.scoring.structure import score_nights, score_own_structure

_NUMBERS = re.compile(r'\[\n([^\[\]{}"]*)\n *\]')  # a list of nothing but numbers, as json indents it


def score_systems(
    scorings: Mapping[str, Scoring], *, num_resamples: int = Resampling.num_resamples, seed: int = 0
) -> dict[str, Any]:
    """Metrics of every system of some predictions.

    Args:
        scorings: of one curriculum stage, by system.
        num_resamples: bootstrap resamples for `intervals`; 0 leaves them out.
        seed: of the bootstrap; the same draws for every system on the same samples.

    Returns:
        num_samples, whichever system answered them; `leaky`, whether any row is, with `within_subject` where time
        divides training from test; `systems`: the metrics of each (`score_system`).

    Raises:
        ValueError: no rows.
    """
    if not scorings:
        raise ValueError("no predictions to score; give at least one row")
    samples = collect_samples(scorings)
    metrics: dict[str, Any] = {
        "num_samples": len(samples),
        "leaky": any(scoring.is_leaky for scoring in scorings.values()),
    }
    if any(sample.get("within_subject") for sample in samples):
        metrics["within_subject"] = True
    metrics["systems"] = {
        name: score_system(scoring, num_resamples=num_resamples, seed=seed) for name, scoring in scorings.items()
    }
    return metrics


def score_system(scoring: Scoring, *, num_resamples: int = Resampling.num_resamples, seed: int = 0) -> dict[str, Any]:
    """Metrics of one system.

    Rows that name recording and onset may come in any order; others must be in time order where there is one subject.

    Args:
        scoring: its answers.
        num_resamples: bootstrap resamples for `intervals`; 0 leaves them out.
        seed: of the bootstrap.

    Returns:
        For rows that share one set of options: everything `compute_metrics` gives, `intervals` (`bootstrap_intervals`),
        `probabilities` (`score_own_probabilities`, where rows carry some), `per_recording` where there are several
        recordings, and `structure` (tslm.scoring.structure) where rows are epochs of nights. For questions with options
        of their own: num_samples, num_correct, num_parse_failures, accuracy and its interval (over people where rows
        name them, else over questions). For captions: num_samples. In any case `num_unscored`, the rows without
        options, `smoothing` where answers were smoothed over time, and `ecg_claims` (`score_ecg_claims`) where texts
        are about measured ECGs. All of this is of the rows with a reference answer; where rows have none,
        `without_reference` holds what needs none: their num_samples and num_parse_failures, `uncertainty` (mean entropy
        and margin) and `nights`, the sleep statistics of nights that no expert scored (`score_nights`).
    """
    asked = scoring.select(idx for idx, row in enumerate(scoring.rows) if row["options"]).sort_by_time()
    scored = asked.select_referenced()
    about: dict[str, Any] = {"num_unscored": len(scoring.rows) - len(asked.rows)}
    if len(scored.rows) < len(asked.rows):
        about["without_reference"] = _score_unreferenced(asked)
    if scoring.smoothing:
        about["smoothing"] = scoring.smoothing
    if ecg_claims := score_ecg_claims(scoring, num_resamples, seed):
        about["ecg_claims"] = ecg_claims
    if not scored.rows:
        return {"num_samples": len(scoring.rows), **about}
    if len({frozenset(row["options"]) for row in scored.rows}) > 1:
        return _score_questions(scored, num_resamples, seed) | about
    return _score_labels(scored, num_resamples, seed) | about


def write_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Write metrics as indented JSON, beside `path`, then rename. NaN becomes null; numbers in a list share a line."""
    text = json.dumps(to_plain(metrics), indent=2, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text)
    with write_beside(path) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


def _score_unreferenced(scoring: Scoring) -> dict[str, Any]:
    """Score what needs no reference: of the rows that have none, and of the nights that no expert scored."""
    positions = [idx for idx, row in enumerate(scoring.rows) if row["truth"] is None]
    rest = scoring.select(positions)
    found: dict[str, Any] = {
        "num_samples": len(positions),
        "num_parse_failures": sum(answer is None for answer in rest.answers),
    }
    if len({frozenset(row["options"]) for row in scoring.rows}) > 1:
        return found
    if uncertainty := measure_uncertainty(rest):
        found["uncertainty"] = uncertainty
    return found | {"nights": score_nights(scoring)}


def _score_labels(scoring: Scoring, num_resamples: int, seed: int) -> dict[str, Any]:
    labels, truth, rows = scoring.options, scoring.truth, scoring.rows
    metrics = compute_metrics(truth, scoring.answers, labels)
    if num_resamples:
        subjects, unit = find_subjects(rows)
        resampling = Resampling(num_resamples, seed, unit=unit)
        metrics["intervals"] = bootstrap_intervals(
            truth, scoring.answers, labels, subjects=subjects, resampling=resampling
        )
    if probabilities := score_own_probabilities(scoring, num_resamples, seed):
        metrics["probabilities"] = probabilities
    if structure := score_own_structure(scoring):
        metrics["structure"] = structure
    by_recording: dict[str, list[tuple[str, str | None]]] = {}
    for row, true, answer in zip(rows, truth, scoring.answers, strict=True):
        by_recording.setdefault(row.get("recording", ""), []).append((true, answer))
    if len(by_recording) > 1:
        metrics["per_recording"] = {name: _score_recording(pairs, labels) for name, pairs in by_recording.items()}
    return metrics


def _score_recording(pairs: Sequence[tuple[str, str | None]], labels: Sequence[str]) -> dict[str, Any]:
    metrics = compute_metrics([truth for truth, _ in pairs], [answer for _, answer in pairs], labels)
    return {name: metrics[name] for name in ("num_samples", "accuracy", "macro_f1", "cohen_kappa")}


def _score_questions(scoring: Scoring, num_resamples: int, seed: int) -> dict[str, Any]:
    rows, answers = scoring.rows, scoring.answers
    is_right_N = np.array([answer == row["truth"] for row, answer in zip(rows, answers, strict=True)], dtype=np.float64)
    metrics: dict[str, Any] = {
        "num_samples": len(rows),
        "num_correct": int(is_right_N.sum()),
        "num_parse_failures": sum(answer is None for answer in answers),
        "accuracy": float(is_right_N.mean()),
    }
    if num_resamples:
        units, unit = find_units(rows)
        resamples = Resamples(len(rows), units, Resampling(num_resamples, seed, unit=unit))
        right_R, all_R = resamples.sum(np.stack([is_right_N, np.ones(len(rows))], axis=1)).T
        metrics["intervals"] = {"accuracy": resamples.find_interval(right_R / all_R)} | resamples.describe()
    return metrics
