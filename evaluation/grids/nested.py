"""Nested cross-validation of a grid: each fold tests the cell chosen by inner folds of its training subjects."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.grids.grid import GridConfig, Run, compose_cell, expand_grid
from evaluation.grids.launcher import report_failures, train_with_progress
from evaluation.grids.table import (
    KAPPA,
    build_estimate_cell,
    build_table,
    estimate,
    read_scores,
    write_table,
)
from tslm.data.prepared.recordings import read_participants
from tslm.data.samples.dataset import find_task
from tslm.data.splits.folds import choose_fold, write_inner_cohort
from tslm.files import write_beside
from tslm.metric_names import AGREEMENT, METRICS, build_cell
from tslm.table import Table
from tslm.training.runs.manifest import read_manifest

NESTED_DIR = "nested"
_COHORT_DIR = "cohort"
_DATA_SETTINGS = ("stage.train_dir", "stage.val_dir", "stage.test_dir", "stage.fold")
_NOTE = (
    "Each fold tests once what folds within its training subjects chose by their mean kappa. Mean over folds "
    "[95 % interval: Student's t over folds]: what to expect of choosing so, on people in no fold."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OuterFold:
    """One fold of the cohort and the grid of its inner folds."""

    fold: int
    cohort_dir: Path
    grid: GridConfig  # of the inner folds
    inner_runs: Sequence[Run]


def plan_nested(grid: GridConfig, only: Sequence[str], num_inner: int) -> list[OuterFold]:
    """List the requested outer folds, each with its inner runs.

    Raises:
        ValueError: a grid that cannot be tuned within folds; the message says why.
    """
    cohort_dir = _find_cohort(grid)
    outer_folds = sorted({run.fold for run in expand_grid(grid, only)})
    if outer_folds == [-1]:
        raise ValueError(f"{grid.name} has no folds to tune within; give it folds: range(0,5)")
    of_inner = [choice for choice in only if not choice.startswith("fold=")]
    planned = []
    for fold in outer_folds:
        folder = grid.folder / NESTED_DIR / f"fold_{fold}"
        data = [f"{name}={folder / _COHORT_DIR}" for name in _DATA_SETTINGS[:3]]
        inner = replace(
            grid,
            name=folder.name,
            results_dir=str(folder.parent),
            settings=[*grid.settings, *data],
            folds=f"range(0,{num_inner})",
        )
        planned.append(OuterFold(fold, cohort_dir, inner, expand_grid(inner, of_inner)))
    return planned


def run_nested(grid: GridConfig, outer_folds: Sequence[OuterFold], num_inner: int, num_jobs: int) -> int:
    """Train the inner runs, train and test each chosen cell once, write the table, and return the exit code."""
    rows, failed = [], 0
    for outer in outer_folds:
        write_inner_cohort(outer.cohort_dir, outer.fold, num_inner, outer.grid.folder / _COHORT_DIR)
        missing = [run for run in outer.inner_runs if run.metrics_path is None]
        failures = train_with_progress(missing, grid.launch, num_jobs, f"fold {outer.fold}, inner")
        if not failures:
            check_inner_runs(outer)
            chosen = choose_cell(outer)
            cell = {axis: chosen[axis] for axis in grid.axes}
            logger.info("fold %d: chosen %s, %s", outer.fold, chosen["smoothing"], cell)
            runs = expand_grid(grid, [f"fold={outer.fold}", *(f"{axis}={value}" for axis, value in cell.items())])
            missing = [run for run in runs if run.metrics_path is None]
            failures = train_with_progress(missing, grid.launch, num_jobs, f"fold {outer.fold}, outer")
        if failures:
            failed |= report_failures(failures)
            continue
        name = chosen["smoothing"]
        found = read_scores(runs, name, grid.smoothings[name])["by_fold"]
        scores = {key: found[key][outer.fold] for key in AGREEMENT if outer.fold in found.get(key, {})}
        rows.append(
            {"fold": outer.fold, "chosen": {**cell, "smoothing": name}, "inner_kappa": chosen["kappa"], **scores}
        )
    if rows:
        table = build_nested_table(grid, rows, len(outer_folds), num_inner)
        path = _write(table, grid.folder)
        print(f"{render_nested(table)}\nwritten to {path}, nested.json beside it")
    return failed


def choose_cell(outer: OuterFold) -> dict[str, Any]:
    """Choose the cell and smoothing with the highest mean kappa over inner folds; the first of equals."""
    table = build_table(outer.grid, outer.inner_runs)
    write_table(table, outer.grid.folder)
    scored = [row for row in table["rows"] if row["metrics"].get(KAPPA) and row["num_runs"] == row["num_planned"]]
    if not scored:
        raise ValueError(f"no inner run of fold {outer.fold} has a kappa to choose by; see {outer.grid.folder}")
    best = max(scored, key=lambda row: row["metrics"][KAPPA]["mean"])
    return {axis: best[axis] for axis in table["axes"]} | {"kappa": best["metrics"][KAPPA]["mean"]}


def check_inner_runs(outer: OuterFold) -> None:
    """Raise ValueError if an inner run has read a recording of a test subject of the outer fold."""
    rows = choose_fold(read_participants(outer.cohort_dir), outer.fold)
    tested = {row.recording: row.subject for row in rows if row.split.part == "test"}
    for run in outer.inner_runs:
        for path in run.folder.rglob("run.json"):
            manifest = read_manifest(path.parent)
            seen = {Path(name).stem for name in manifest.data_sha256} if manifest else set()
            for recording in sorted(seen & tested.keys()):
                raise ValueError(
                    f"{path.parent}, which tunes fold {outer.fold}, has read {recording} of subject "
                    f"{tested[recording]}, whom that fold tests: a leak"
                )


def build_nested_table(
    grid: GridConfig, rows: Sequence[Mapping[str, Any]], num_planned: int, num_inner: int
) -> dict[str, Any]:
    """Build the table of the outer folds and their means, ready for JSON."""
    means = {key: asdict(estimate([row[key] for row in rows if key in row])) for key in AGREEMENT}
    about = {"name": grid.name, "stage": grid.stages[-1], "num_inner_folds": num_inner, "num_planned": num_planned}
    return {**about, "folds": list(rows), "metrics": means}


def render_nested(table: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    axes = list(table["folds"][0]["chosen"])
    what = f"{len(table['folds'])} of {table['num_planned']} folds, {table['num_inner_folds']} inner folds each"
    columns = ["fold", *axes, f"inner {METRICS[KAPPA].name}", *(METRICS[key].name for key in AGREEMENT)]
    rows = [
        [row["fold"], *row["chosen"].values(), row["inner_kappa"], *(build_cell(key, row) for key in AGREEMENT)]
        for row in table["folds"]
    ]
    means = [build_estimate_cell(table["metrics"][key]) for key in AGREEMENT]
    rows.append(["mean", *[""] * (len(axes) + 1), *means])
    title = f"# {table['name']}, nested: {table['stage']}, {what}"
    return "\n\n".join([title, _NOTE, Table(columns, rows).markdown()])


def _write(table: Mapping[str, Any], folder: Path) -> Path:
    for name, text in (("nested.json", json.dumps(table, indent=1) + "\n"), ("nested.md", render_nested(table))):
        with write_beside(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / "nested.md"


def _find_cohort(grid: GridConfig) -> Path:
    """Find the one cohort that all curriculum stages of all cells read."""
    for axis, values in grid.axes.items():
        for setting in (setting for settings in values.values() for setting in settings):
            if setting.partition("=")[0] in _DATA_SETTINGS:
                raise ValueError(f"axis {axis} sets {setting}: data cannot be tuned by nested folds, settings can")
    first = {axis: next(iter(values)) for axis, values in grid.axes.items()}
    folders: set[Path] = set()
    for stage in grid.stages:
        config = compose_cell(grid, first, stage)
        if not find_task(config.stage).reads_recordings:
            raise ValueError(f"{stage} reads no nights; nested folds tune stages that do, such as stage0_encoder")
        folders |= {config.stage.data_dir(split) for split in ("train", "val", "test")}
    if len(folders) > 1:
        raise ValueError(f"nested folds want one cohort for all; there are {', '.join(sorted(map(str, folders)))}")
    return folders.pop()
