"""The table of a comparison: every system's scores on the same epochs, with intervals and paired differences."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.comparison.page import render_page
from evaluation.comparison.systems import Answered
from tslm.files import to_plain, write_beside
from tslm.labels import ANSWER_NAMES, LabelSet
from tslm.predictions.scorings import Scoring, parse_scorings
from tslm.predictions.truth import TrueEpoch
from tslm.scoring.comparison import compare_systems
from tslm.scoring.intervals import Resampling, render_unit
from tslm.scoring.metrics import INTERVAL_METRICS, bootstrap_intervals, compute_metrics
from tslm.scoring.probabilities import score_probabilities

KAPPA = "cohen_kappa"
NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", KAPPA: "kappa"}
SHORT = {name: stage.value for stage, name in ANSWER_NAMES.items()}  # the manual's codes, for narrow columns
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
    """The whole table, JSON-ready.

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


def write_table(table: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write comparison.json, .csv, .md and .html, each beside and then renamed; gives their paths."""
    texts = {
        "json": json.dumps(table, indent=1, ensure_ascii=False) + "\n",
        "csv": render_csv(table),
        "md": render_markdown(table),
        "html": render_page(list_columns(table), list_cells(table), describe_lines(table), table),
    }
    paths = []
    for suffix, text in texts.items():
        paths.append(folder / f"comparison.{suffix}")
        with write_beside(paths[-1]) as partial:
            partial.write_text(text, encoding="utf-8")
    return paths


def render_markdown(table: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    columns = list_columns(table)
    lines = ["# Systems on the same epochs", "", *(f"- {line}" for line in describe_lines(table)), ""]
    lines += [_render_row(columns), _render_row(["---"] * len(columns))]
    lines += [_render_row(cells) for cells in list_cells(table)]
    lines += ["", *(f"- **{row['name']}**: {row['about']}" for row in table["rows"])]
    return "\n".join(lines) + "\n"


def list_columns(table: Mapping[str, Any]) -> list[str]:
    """Heads of the columns."""
    f1 = [f"F1 {SHORT.get(label, label)} (n={table['support'][label]})" for label in table["labels"]]
    compared = [f"kappa less {table['reference']}", "McNemar p"]
    return ["system", *NAMES.values(), *compared, *f1, "log-loss", "ECE", "AUROC", "no answer", "s an epoch"]


def list_cells(table: Mapping[str, Any]) -> list[list[str]]:
    """The cells of every row as text; a row without answers has its note in the second one."""
    return [_list_row(table, row) for row in table["rows"]]


def describe_lines(table: Mapping[str, Any]) -> list[str]:
    """What stands above the table: which epochs, which intervals, what leaks."""
    counts = (
        f"{table['num_epochs']} epochs of {table['num_recordings']} recording(s), {table['num_subjects']} subject(s)"
    )
    lines = [f"Tested on {table['data']} ({counts}); baselines trained on {table['train']}"]
    if table["num_test_epochs"] != table["num_epochs"]:
        lines.append(
            f"Part: {table['num_epochs']} of {table['num_test_epochs']} epochs, spread evenly (seed {table['seed']}), "
            "the same for all"
        )
    lines.append(f"Channels of the baselines: {', '.join(table['channels'])}")
    lines.append(f"Brackets: {table['intervals_are']}")
    lines.append(
        f"Differences are paired, the row less {table['reference']}; McNemar's test takes epochs as independent, which "
        "they are not: believe the brackets"
    )
    if table["leaky"]:
        lines.append("LEAKY: some rows were trained on people they are tested on; they say nothing about others")
    return lines


def render_csv(table: Mapping[str, Any]) -> str:
    """One line a system, bounds in columns of their own."""
    labels = table["labels"]
    scores = [*NAMES, *(f"F1 {label}" for label in labels)]
    head = ["system", "kind", "note", "is_reference", "leaky", "num_epochs", "num_subjects"]
    head += [f"{name}{suffix}" for name in scores for suffix in ("", "_low", "_high")]
    head += ["log_loss", "ece", "macro_auroc", "num_parse_failures", "fit_s", "seconds_per_epoch"]
    head += [f"{name}_difference{suffix}" for name in NAMES for suffix in ("", "_low", "_high", "_p")] + ["mcnemar_p"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in table["rows"]:
        metrics, intervals = row["metrics"] or {}, row["intervals"] or {}
        values = [row["name"], row["kind"], row["note"], row["is_reference"], row["leaky"]]
        values += [table["num_epochs"], table["num_subjects"]]
        for name in NAMES:
            values += [metrics.get(name), *intervals.get(name, (None, None))]
        for label in labels:
            f1, bounds = metrics.get("per_class_f1", {}), intervals.get("per_class_f1", {})
            values += [f1.get(label), *bounds.get(label, (None, None))]
        probabilities, difference = row["probabilities"] or {}, row["difference"] or {}
        values += [probabilities.get(name) for name in ("log_loss", "ece", "macro_auroc")]
        values += [metrics.get("num_parse_failures")]
        values += [row["fit_s"], row["seconds_per_epoch"]]
        for name in NAMES:
            of_metric = difference.get("differences", {}).get(name, {})
            values += [of_metric.get("difference"), *of_metric.get("interval", (None, None)), of_metric.get("p_value")]
        writer.writerow([*values, difference.get("mcnemar", {}).get("p_value")])
    return text.getvalue()


def _list_row(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    name, metrics, intervals = row["name"] + (" (leaky)" if row["leaky"] else ""), row["metrics"], row["intervals"]
    if metrics is None:
        return [name, row["note"]] + ["-"] * (len(list_columns(table)) - 2)
    cells = [name, *(_format(metrics[metric], intervals[metric]) for metric in NAMES), *_list_difference(row)]
    f1, bounds = metrics["per_class_f1"], intervals["per_class_f1"]
    cells += [_format(f1[label], bounds[label]) for label in table["labels"]]
    probabilities = row["probabilities"] or {}
    cells += [_format(probabilities.get(key)) for key in ("log_loss", "ece", "macro_auroc")]
    seconds = row["seconds_per_epoch"]
    return [*cells, str(metrics["num_parse_failures"]), "-" if seconds is None else f"{seconds:.2g}"]


def _list_difference(row: Mapping[str, Any]) -> list[str]:
    if row["is_reference"]:
        return ["reference", "-"]
    difference = row["difference"]["differences"][KAPPA]
    p_value = row["difference"]["mcnemar"]["p_value"]
    shown = _format(difference["difference"], difference["interval"], "+")
    return [shown, "< .001" if p_value < 0.001 else f"{p_value:.3f}"]


def _format(value: float | None, interval: Sequence[float | None] | None = None, sign: str = "") -> str:
    if value is None:
        return "-"
    if interval is None or None in interval:
        return f"{value:{sign}.3f}"
    low, high = interval
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _render_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _measure_row(
    answered: Answered,
    scoring: Scoring | None,
    expert: Sequence[str],
    subjects: Sequence[str],
    labels: Sequence[str],
    resampling: Resampling,
) -> dict[str, Any]:
    """A row of the table, without what it is compared with; no metrics where the system did not answer."""
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
