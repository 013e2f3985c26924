"""Probabilities in prediction rows: their scores before and after calibration, uncertainty, answer perplexity."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tslm.predictions.calibration import unscale
from tslm.predictions.resampling import Resampling
from tslm.predictions.rows import PredictionRow, find_subjects
from tslm.scoring.metrics import index_answers
from tslm.scoring.probability_metrics import bootstrap_probabilities, measure_perplexity, score_probabilities
from tslm.scoring.uncertainty import measure_entropy, measure_margin, score_selection


def score_row_probabilities(
    rows: Sequence[PredictionRow], answers: Sequence[str | None], key: str, num_resamples: int, seed: int
) -> dict[str, Any] | None:
    """What the probabilities of one system in the rows are worth; None where no row has any.

    Args:
        rows: with the same options, in any order of their own; in time order where they are of one subject.
        answers: what the system answered, per row; selection asks how often these are right.
        key: which probabilities of PredictionRow.
        num_resamples: for `intervals`; 0 leaves them out.
        seed: of the bootstrap.

    Returns:
        What `score_probabilities` gives for the rows that have probabilities; num_without, the rows that have none;
        temperatures, those that the rows were calibrated with; uncertainty (mean entropy and margin); `selection` by
        entropy and by margin (`score_selection`); intervals (`bootstrap_probabilities`); uncalibrated, the scores
        before the temperature, where there is one; answer_perplexity, of the true answers as whole texts.
    """
    untyped: Sequence[Mapping[str, Any]] = rows
    having = [idx for idx, row in enumerate(untyped) if row.get(key) is not None]
    if not having:
        return None
    labels, kept = rows[0]["options"], [untyped[idx] for idx in having]
    truth_N, answer_N = index_answers([row["truth"] for row in kept], [answers[idx] for idx in having], labels)
    probabilities_NK = np.array([_in_order(row, row[key], labels) for row in kept], dtype=np.float64)
    temperature_key = key.replace("probabilities", "temperature")
    temperature_N = [row.get(temperature_key) for row in kept]
    entropy_N, margin_N = measure_entropy(probabilities_NK), measure_margin(probabilities_NK)
    scores = score_probabilities(probabilities_NK, truth_N, labels) | {
        "num_without": len(rows) - len(kept),
        "temperatures": sorted({value for value in temperature_N if value is not None}),
        "uncertainty": {"mean_entropy": float(entropy_N.mean()), "mean_margin": float(margin_N.mean())},
        "selection": {
            "entropy": score_selection(-entropy_N, truth_N, answer_N, len(labels)),
            "margin": score_selection(margin_N, truth_N, answer_N, len(labels)),
        },
    }
    if num_resamples:
        subjects, unit = find_subjects([rows[idx] for idx in having])
        scores["intervals"] = bootstrap_probabilities(
            probabilities_NK, truth_N, subjects=subjects, resampling=Resampling(num_resamples, seed, unit=unit)
        )
    if scores["temperatures"]:
        before_NK = unscale(probabilities_NK, np.array([[value or 1.0] for value in temperature_N]))
        scores["uncalibrated"] = score_probabilities(before_NK, truth_N, labels)
    if key == "label_probabilities" and all(row.get("label_log_likelihoods") for row in kept):
        scores["answer_perplexity"] = measure_perplexity(
            [row["label_log_likelihoods"][row["options"].index(row["truth"])] for row in kept]
        )
    return scores


def _in_order(row: Mapping[str, Any], values: Sequence[float], labels: Sequence[str]) -> Sequence[float]:
    if row["options"] == labels:
        return values
    return [values[row["options"].index(label)] for label in labels]
