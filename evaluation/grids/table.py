"""The table of a grid: means and confidence intervals over folds, differences to a baseline on the same folds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from evaluation.grids.grid import GridConfig
from evaluation.grids.launcher import Run
from tslm.data.splits.split import render_leak
from tslm.files import write_text
from tslm.labels import LABEL_SETS
from tslm.metric_names import AGREEMENT, METRICS
from tslm.predictions.rows import read_predictions, write_predictions
from tslm.predictions.scorings import parse_scorings
from tslm.predictions.smoothing import Smoothing, smooth_predictions
from tslm.scoring.systems import score_systems, write_metrics
from tslm.table import Cell, Table
from tslm.training.runs.folder import BEST, CHECKPOINTS_DIR, PREDICTIONS_FILE, pick_main_metrics

KAPPA, MACRO_F1 = "cohen_kappa", "macro_f1"
_COMPARED = (KAPPA, MACRO_F1)
_LEVEL = 0.95
_NOTE = (
    "Mean over folds [95 % interval: Student's t over folds, each the mean of its seeds]; a difference is paired, the "
    "row less the baseline on the folds that both have. Folds share training subjects, so intervals are somewhat too "
    "narrow. One fold: no interval. **Bold**: the highest mean kappa among rows whose runs are all finished."
)


def estimate(values: Sequence[float]) -> dict[str, float | int | None]:
    """The mean of one value per fold with its Student's t interval; no bounds for one fold, no mean for none."""
    mean, low, high = values[0] if values else None, None, None
    if len(values) > 1:
        mean, error = float(np.mean(values)), float(scipy.stats.sem(values))
        reach = error * float(scipy.stats.t.ppf((1 + _LEVEL) / 2, len(values) - 1))
        low, high = mean - reach, mean + reach
    return {"mean": mean, "low": low, "high": high, "num_folds": len(values)}


def build_table(grid: GridConfig, runs: Sequence[Run]) -> dict[str, Any]:
    """Build the table: one row per cell and smoothing, in the order of the grid.

    Raises:
        ValueError, OSError: predictions of a finished run that cannot be read or smoothed.
    """
    by_row: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        by_row.setdefault(tuple(run.cell.values()), []).append(run)
    axes = [*grid.axes, "smoothing"]
    # Per row: the values of its axes, and by metric {(fold, seed): value}.
    scored = {
        (*cell, name): read_scores(of_cell, name, smoothing)
        for cell, of_cell in by_row.items()
        for name, smoothing in grid.smoothings.items()
    }
    num_planned = {cell: len(of_cell) for cell, of_cell in by_row.items()}
    baseline = _find_baseline(grid, axes, list(scored))
    rows = []
    for key, scores in scored.items():
        row: dict[str, Any] = dict(zip(axes, key, strict=True))
        row |= {"num_runs": len(scores["runs"]), "num_planned": num_planned[key[:-1]]}
        row |= {"is_leaky": scores["is_leaky"], "is_within_subject": scores["is_within_subject"]}
        row["metrics"] = {name: estimate(list(folds.values())) for name, folds in scores["by_fold"].items()}
        row["folds"] = scores["by_fold"]
        row["is_baseline"] = key == baseline
        row["differences"] = {
            name: _compare(scores["by_fold"].get(name, {}), scored[baseline]["by_fold"].get(name, {}))
            for name in _COMPARED
        }
        rows.append(row)
    _mark_best(rows)
    num_done = sum(run.metrics_path is not None for run in runs)
    return {
        "name": grid.name,
        "stage": grid.stages[-1],
        "axes": axes,
        "baseline": dict(zip(axes, baseline, strict=True)),
        "num_runs": num_done,
        "num_planned": len(runs),
        "level": _LEVEL,
        "interval": "Student's t over folds",
        "rows": rows,
    }


def write_table(table: Mapping[str, Any], folder: Path) -> Path:
    """Write table.json, table.csv and table.md; gives the path of the last."""
    texts = {
        "table.json": json.dumps(table, indent=1) + "\n",
        "table.csv": _render_csv(table),
        "table.md": render_markdown(table),
    }
    for name, text in texts.items():
        write_text(text, folder / name)
    return folder / "table.md"


def render_markdown(table: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    metrics = _list_metrics(table)
    columns = [
        *table["axes"],
        "runs",
        *(_name(key) for key in metrics),
        *(f"{_name(key)} less baseline" for key in _COMPARED),
    ]
    rows = []
    for row in table["rows"]:
        cells = [*(Cell(row[axis]) for axis in table["axes"]), Cell(f"{row['num_runs']}/{row['num_planned']}")]
        cells += [build_estimate_cell(row["metrics"].get(name)) for name in metrics]
        cells += [
            Cell("baseline") if row["is_baseline"] else build_estimate_cell(row["differences"][name], is_signed=True)
            for name in _COMPARED
        ]
        rows.append(cells)
    leaks = {
        render_leak({"leaky": row["is_leaky"], "within_subject": row["is_within_subject"]}) for row in table["rows"]
    }
    title = f"# {table['name']}: {table['stage']}, {table['num_runs']} of {table['num_planned']} runs"
    lines = [title, *(f"{leak}." for leak in sorted(leaks - {""})), _NOTE]
    best = [idx for idx, row in enumerate(table["rows"]) if row["is_best"]]
    return "\n\n".join([*lines, Table(columns, rows, bold_rows=best).markdown()])


def read_scores(runs: Sequence[Run], name: str, smoothing: Smoothing) -> dict[str, Any]:
    """Read the scores of the finished runs of a cell: {metric: {fold: mean over seeds}}."""
    values: dict[str, dict[int, list[float]]] = {}
    is_leaky = is_within_subject = False
    done = []
    for run in runs:
        if (path := run.metrics_path) is None:
            continue
        done.append(run)
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if smoothing.method != "none":
            metrics = _score_smoothed(path, name, smoothing)
        metrics = pick_main_metrics(metrics)
        is_leaky |= bool(metrics.get("leaky"))
        is_within_subject |= bool(metrics.get("within_subject"))
        found = {key: metrics.get(key) for key in AGREEMENT}
        found |= {f"F1 {label}": value for label, value in metrics.get("per_class_f1", {}).items()}
        for key, value in found.items():
            if value is not None:  # kappa of a constant, F1 of a sleep stage that the fold lacks
                values.setdefault(key, {}).setdefault(run.fold, []).append(float(value))
    by_fold = {
        key: {fold: float(np.mean(of_seeds)) for fold, of_seeds in sorted(folds.items())}
        for key, folds in values.items()
    }
    return {"runs": done, "by_fold": by_fold, "is_leaky": is_leaky, "is_within_subject": is_within_subject}


def _score_smoothed(metrics_path: Path, name: str, smoothing: Smoothing) -> dict[str, Any]:
    """Score a run's predictions after smoothing; the scores are cached beside them."""
    cache_path = metrics_path.with_name(f"smoothed_{name}.metrics.json")
    predictions = metrics_path.with_name(PREDICTIONS_FILE)
    if cache_path.is_file() and cache_path.stat().st_mtime_ns >= predictions.stat().st_mtime_ns:
        metrics = json.loads(cache_path.read_text(encoding="utf-8"))
        if pick_main_metrics(metrics).get("smoothing") == smoothing.describe():
            return dict(metrics)
    transitions = smoothing.load_transitions(metrics_path.parents[1] / CHECKPOINTS_DIR / BEST)
    rows = smooth_predictions(read_predictions(predictions), smoothing, transitions)
    write_predictions(rows, metrics_path.with_name(f"smoothed_{name}.jsonl"))
    metrics = score_systems(parse_scorings(rows), num_resamples=0)
    write_metrics(metrics, cache_path)
    return metrics


def _find_baseline(grid: GridConfig, axes: Sequence[str], keys: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Find the row to compare with: the grid's baseline values, and the first value of every other axis."""
    values = [grid.baseline.get(axis) for axis in axes]
    fitting = [key for key in keys if all(value in (None, own) for value, own in zip(values, key, strict=True))]
    return (fitting or list(keys))[0]


def _compare(values: Mapping[int, float], baseline: Mapping[int, float]) -> dict[str, Any]:
    return estimate([value - baseline[fold] for fold, value in values.items() if fold in baseline])


def _mark_best(rows: Sequence[dict[str, Any]]) -> None:
    whole = [row for row in rows if row["num_runs"] == row["num_planned"] and row["metrics"].get(KAPPA)]
    best = max((row["metrics"][KAPPA]["mean"] for row in whole), default=None)
    for row in rows:
        row["is_best"] = any(row is other for other in whole) and row["metrics"][KAPPA]["mean"] == best


def _list_metrics(table: Mapping[str, Any]) -> list[str]:
    """List kappa, macro-F1 and the F1 of each sleep stage, in the order of the label set."""
    found = {name for row in table["rows"] for name in row["metrics"]}
    labels = [name.removeprefix("F1 ") for name in found if name.startswith("F1 ")]
    ordered = next((each.answers for each in LABEL_SETS.values() if set(labels) <= set(each.answers)), sorted(labels))
    return [KAPPA, MACRO_F1, *(f"F1 {label}" for label in ordered if label in labels)]


def build_estimate_cell(estimate: Mapping[str, Any] | None, is_signed: bool = False) -> Cell:
    """A mean with its interval."""
    known = estimate or {"mean": None, "low": None, "high": None}
    return Cell(known["mean"], interval=(known["low"], known["high"]), is_signed=is_signed)


def _render_csv(table: Mapping[str, Any]) -> str:
    """One line a row of the table, bounds in columns of their own."""
    names = [*_list_metrics(table), "accuracy"]
    columns = [*table["axes"], "num_runs", "num_planned", "is_baseline", "is_best", "is_leaky", "is_within_subject"]
    suffixes = ("", "_low", "_high", "_num_folds")
    head = [f"{name}{suffix}" for name in names for suffix in suffixes]
    head += [f"{name}_difference{suffix}" for name in _COMPARED for suffix in suffixes]
    empty = estimate([])
    rows = []
    for row in table["rows"]:
        estimates = [row["metrics"].get(name, empty) for name in names]
        estimates += [row["differences"][name] for name in _COMPARED]
        rows.append([*(row[name] for name in columns), *(value for each in estimates for value in each.values())])
    return Table([*columns, *head], rows).csv()


def _name(key: str) -> str:
    return METRICS[key].name if key in METRICS else key
