"""Rows of the tables of scores, a column a system: agreement, probabilities, each class, structure of the nights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tslm.metric_names import (
    AGREEMENT,
    DISTANCES,
    METRICS,
    NIGHT_ERRORS,
    NIGHT_STATISTICS,
    PROBABILITIES,
    build_cell,
    percent,
)
from tslm.table import Cell

Rows = list[list[Cell]]
_CLASS_METRICS = ("per_class_precision", "per_class_recall", "per_class_auroc", "per_class_ece")


def list_score_rows(systems: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows of agreement, of probabilities where a system has some, and of F1 by class; the metric's name first.

    Args:
        systems: metrics of each system, as `tslm.scoring.systems` gives them.
    """
    first = systems[0]
    rows = [_build_row(key, systems) for key in AGREEMENT if key in first]
    of_probabilities = [part.get("probabilities") or {} for part in systems]
    rows += [
        _build_row(key, of_probabilities)
        for key in PROBABILITIES
        if any(part.get(key) is not None for part in of_probabilities)
    ]
    failures = [Cell(part["num_parse_failures"], detail=Cell(_share_unread(part), 1, "%").text()) for part in systems]
    rows.append([Cell(METRICS["num_parse_failures"].name), *failures])
    for label in first.get("labels", []):
        cells = [build_cell("per_class_f1", part, label) for part in systems]
        bars = [replace(cell, share=cell.value) if isinstance(cell.value, float) else cell for cell in cells]
        rows.append([Cell(f"F1 {label}", detail=f"n={first['support'][label]}"), *bars])
    return rows


def list_confusion_rows(metrics: Mapping[str, Any]) -> Rows:
    """Rows of a system's confusion matrix: an expert's label, and how often each answer was given to its epochs."""
    return [
        [Cell(label), *map(Cell, counts)]
        for label, counts in zip(metrics["labels"], metrics["confusion_matrix"], strict=True)
    ]


def list_class_rows(systems: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows of what else is known of each class: precision, recall, AUROC and calibration error."""
    parts = [{**part, **(part.get("probabilities") or {})} for part in systems]
    rows = []
    for label in systems[0].get("labels", []):
        for key in _CLASS_METRICS:
            cells = [build_cell(key, part, label) for part in parts]
            if any(cell.value is not None for cell in cells):
                rows.append([Cell(f"{label}: {METRICS[key].name}"), *cells])
    return rows


def list_structure_rows(systems: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows of the structure of nights; none where no system scored whole nights.

    An error of several nights is their mean with Bland and Altman's 95 % limits of agreement as its interval.
    """
    structures = [part.get("structure") or {} for part in systems]
    first = next((structure for structure in structures if structure.get("num_recordings")), None)
    if first is None:
        return []
    rows = [_build_row(key, structures) for key in DISTANCES]
    shares = [structure.get("impossible_transitions", {}) for structure in structures]
    name = METRICS["impossible_transitions"].name
    expert = Cell(percent(first["impossible_transitions"]["expert"]["share"]), 1, "%").text()
    rows.append(
        [
            Cell(name, detail=f"expert {expert}"),
            *(build_cell("impossible_transitions", {"impossible_transitions": _predicted_share(of)}) for of in shares),
        ]
    )
    for code, bout in first["median_bout_min"].items():
        title = f"{METRICS['median_bout_min'].name} of {code}, min"
        bouts = [structure.get("median_bout_min", {}).get(code, {}).get("predicted") for structure in structures]
        head = Cell(title, detail=f"expert {Cell(bout['expert'], 1).text()}")
        rows.append([head, *(Cell(value, 1) for value in bouts)])
    for key in NIGHT_ERRORS:
        metric = METRICS[key]
        errors = [structure.get("quantities", {}).get(key, {}) for structure in structures]
        cells = [Cell(error.get("bias"), metric.decimals, "", error.get("limits"), is_signed=True) for error in errors]
        rows.append([Cell(f"error of {metric.title}"), *cells])
    return rows


def list_unreferenced_rows(parts: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows of what needs no reference: sleep statistics as means of nights, uncertainty, unreadable answers.

    Args:
        parts: `without_reference` of each system, as `tslm.scoring.systems` gives it.
    """
    rows = []
    nights = [list(part.get("nights", {}).values()) for part in parts]
    if any(nights):
        for key in NIGHT_STATISTICS:
            found = [[value for night in of_one if (value := night[key]) is not None] for of_one in nights]
            metric = METRICS[key]
            cells = [Cell(sum(values) / len(values) if values else None, metric.decimals) for values in found]
            rows.append([Cell(metric.title), *cells])
    uncertain = [part.get("uncertainty", {}) for part in parts]
    for key in ("mean_entropy", "mean_margin"):
        if any(key in part for part in uncertain):
            rows.append([Cell(METRICS[key].title), *(build_cell(key, part) for part in uncertain)])
    unread = METRICS["num_parse_failures"].name
    rows.append([Cell(unread), *(Cell(part["num_parse_failures"]) for part in parts)])
    return rows


def describe_structure(metrics: Mapping[str, Any]) -> list[str]:
    """Describe the brackets of those rows, and name the recordings that are left out."""
    structure = metrics.get("structure")
    if not structure:
        return []
    num_nights, left_out = structure["num_recordings"], structure["left_out"]
    lines = []
    if num_nights:
        limits = structure.get("note", "[95 % limits of agreement]")
        lines.append(f"errors: predicted less expert over {num_nights} recording(s), {limits}")
    if left_out:
        first = next(iter(left_out))
        lines.append(f"no structure of {len(left_out)} recording(s), such as {first}: {left_out[first]}")
    return lines


def _build_row(key: str, parts: Sequence[Mapping[str, Any]]) -> list[Cell]:
    metric = METRICS[key]
    return [Cell(metric.title, hint=metric.hint), *(build_cell(key, part) for part in parts)]


def _share_unread(part: Mapping[str, Any]) -> float:
    return 100 * float(part["num_parse_failures"]) / int(part["num_samples"])


def _predicted_share(transitions: Mapping[str, Any]) -> float | None:
    share: float | None = transitions.get("predicted", {}).get("share")
    return share
