"""Tables of scores, a column a system: agreement and probabilities, each class, and the structure of the nights."""

from collections.abc import Mapping
from typing import Any

from tslm.report.format import format_number
from tslm.scoring.display import list_class_rows, list_score_rows, list_structure_rows
from tslm.scoring.intervals import render_unit
from tslm.table import Table


def render_scores(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Agreement, probabilities and F1 a class, with intervals; below it more of each class, folded."""
    scored = {name: values for name, values in metrics.items() if "accuracy" in values}
    if not scored:
        return ""
    parts, columns = list(scored.values()), ["Measure", *scored]
    intervals = next((values["intervals"] for values in parts if "intervals" in values), None)
    absent = parts[0].get("absent_labels", [])
    notes = [
        f"Small figures: {render_unit(intervals)}."
        if intervals
        else "Share of the samples answered as in the reference."
    ]
    notes += [f"Not in the reference, so not in macro-F1: {', '.join(absent)}."] * bool(absent)
    table = Table(columns, list_score_rows(parts), notes=notes).html("scores")
    more = ""
    if rows := list_class_rows(parts):
        classes = Table(columns, rows, notes=["Each class against the others."]).html("classes")
        more = f"<details><summary>More of each class: precision, recall, probabilities</summary>{classes}</details>"
    return f'<section aria-labelledby="scores"><h2 id="scores">Scores</h2>{table}{more}</section>'


def render_structure(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether the predicted nights look like sleep; empty where no whole night was scored."""
    scored = {name: values for name, values in metrics.items() if (values.get("structure") or {}).get("num_recordings")}
    if not scored:
        return ""
    parts = list(scored.values())
    num_recordings = format_number(parts[0]["structure"]["num_recordings"], "recording")
    notes = [
        f"Over {num_recordings}. Epoch-wise agreement does not see any of this. Errors: predicted less expert; "
        "of several recordings their mean and, small, 95 % limits of agreement."
    ]
    table = Table(["Measure", *scored], list_structure_rows(parts), notes=notes).html("structure")
    return f'<section aria-labelledby="structure"><h2 id="structure">Does it look like sleep?</h2>{table}</section>'
