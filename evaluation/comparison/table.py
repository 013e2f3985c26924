"""Scores of every system on the same epochs, with intervals and paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.comparison.systems import Answered
from tslm.files import to_plain
from tslm.labels import LabelSet
from tslm.predictions.scorings import Scoring, parse_scorings
from tslm.predictions.truth import TrueEpoch
from tslm.scoring.comparison import compare_systems
from tslm.scoring.intervals import Resampling, render_unit
from tslm.scoring.metrics import INTERVAL_METRICS, bootstrap_intervals, compute_metrics
from tslm.scoring.probabilities import score_probabilities

_KEPT = (
    *INTERVAL_METRICS,
    "per_class_f1",
    "per_class_precision",
    "per_class_recall",
    "num_parse_failures",
    "absent_labels",
    "confusion_matrix",
)
_KEPT_OF_PROBABILITIES = ("log_loss", "brier", "ece", "macro_ece", "per_class_auroc", "macro_auroc")


def build_table(
    answered: Sequence[Answered],
    truth: Mapping[str, TrueEpoch],
    label_set: LabelSet,
    reference: str,
    resampling: Resampling,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the whole comparison, ready for JSON.

    Args:
        answered: the systems, each with the rows of the truth's epochs in its order, or with a note in their place.
        truth: the expert.
        label_set: the stages.
        reference: name of the row that others are compared with; empty: the first trained model, or the first row.
        resampling: of the intervals.
        about: what was compared on what, for the head of the table.

    Raises:
        ValueError: no system answered, or none is called like the reference.
    """
    expert = [epoch["truth"] for epoch in truth.values()]
    subjects = [epoch["subject"] for epoch in truth.values()]
    measured: list[tuple[dict[str, Any], Scoring | None]] = []
    for one in answered:
        (scoring,) = parse_scorings(one.rows).values() if one.rows else (None,)
        measured.append((_measure_row(one, scoring, expert, subjects, label_set.answers, resampling), scoring))
    names = [row["name"] for row, scoring in measured if scoring is not None]
    if not names:
        raise ValueError("no system answered: " + "; ".join(f"{row['name']}: {row['note']}" for row, _ in measured))
    reference = reference or next(
        (row["name"] for row, scoring in measured if scoring is not None and row["kind"] != "baseline"), names[0]
    )
    if reference not in names:
        raise ValueError(f"--reference {reference}: it has not answered; one of: {', '.join(names)}")
    base = next(scoring for row, scoring in measured if row["name"] == reference)
    assert base is not None
    for row, scoring in measured:
        row["is_reference"] = row["name"] == reference
        row["difference"] = None
        if scoring is not None and not row["is_reference"]:
            pair = scoring.answers, base.answers
            row["difference"] = compare_systems(expert, *pair, label_set.answers, subjects, resampling)
    rows = [row for row, _ in measured]
    table = {
        **about,
        "reference": reference,
        "num_epochs": len(truth),
        "num_recordings": len({epoch["recording"] for epoch in truth.values()}),
        "num_subjects": len(set(subjects)),
        "labels": list(label_set.answers),
        "support": {label: expert.count(label) for label in label_set.answers},
        "intervals_are": render_unit(next(row["intervals"] for row in rows if row["intervals"])),
        "leaky": any(row["leaky"] for row in rows) or about["leaky"],
        "rows": rows,
    }
    return dict(to_plain(table))


def _measure_row(
    answered: Answered,
    scoring: Scoring | None,
    expert: Sequence[str],
    subjects: Sequence[str],
    labels: Sequence[str],
    resampling: Resampling,
) -> dict[str, Any]:
    """Score one system, without its differences from the reference; without metrics if it did not answer."""
    system, num_rows = answered.system, len(answered.rows)
    row: dict[str, Any] = {
        "name": system.name,
        "kind": system.kind,
        "about": system.about,
        "note": answered.note,
        "predictions": str(answered.path) if answered.path else None,
        "fit_s": answered.fit_s,
        "seconds_per_epoch": answered.answer_s / num_rows if answered.answer_s is not None and num_rows else None,
        "metrics": None,
        "intervals": None,
        "probabilities": None,
        "leaky": False,
    }
    if scoring is None:
        return row
    metrics = compute_metrics(expert, scoring.answers, labels)
    row["metrics"] = {name: metrics[name] for name in _KEPT}
    row["intervals"] = bootstrap_intervals(expert, scoring.answers, labels, subjects=subjects, resampling=resampling)
    row["leaky"] = scoring.is_leaky
    probabilities_NK, positions = scoring.read_probabilities(labels)
    if len(positions) == len(scoring.rows):
        scores = score_probabilities(probabilities_NK, [labels.index(answer) for answer in expert], labels)
        row["probabilities"] = {name: scores[name] for name in _KEPT_OF_PROBABILITIES}
    return row
