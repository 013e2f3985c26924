"""Folds: pooled predictions of a cross-validation, checked for leaks, and nested cross-validation of a grid.

Nested: each fold tests the cell of the grid that folds within its training subjects choose.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.grids.grid import GridConfig, compose_cell, expand_grid
from evaluation.grids.launcher import Run, find_missing, report_failures, train_runs
from evaluation.grids.table import KAPPA, build_estimate_cell, build_table, estimate, read_scores, write_table
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import PARTICIPANTS_FILE, read_participants
from tslm.data.samples.dataset import find_task
from tslm.data.splits.folds import choose_fold, write_inner_cohort
from tslm.files import write_text
from tslm.metric_names import AGREEMENT, METRICS, build_cell
from tslm.predictions.rows import PredictionRow, read_predictions
from tslm.table import Table
from tslm.training.runs.folder import find_predictions, run_dir
from tslm.training.runs.manifest import read_manifest

NESTED_DIR = "nested"
_COHORT_DIR = "cohort"
_DATA_SETTINGS = ("stage.train_dir", "stage.val_dir", "stage.test_dir", "stage.fold")
_NOTE = (
    "Folds within the training subjects of each fold choose a cell by mean kappa; the fold tests it once. Mean over "
    "folds [95 % interval: Student's t over folds] estimates the score of this choice on people in no fold."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldRun(Run):
    """Training of one fold over its curriculum stages, the last of which is tested."""

    configs: Sequence[RunConfig] = ()  # of the curriculum stages, in the order they run


@dataclass(frozen=True)
class Fold:
    """Predictions of one fold on its test subjects, and the recordings it was trained and validated on."""

    number: int
    rows: Sequence[PredictionRow]
    trained_on: Mapping[str, str]  # recording -> subject ("" if unknown), of training and validation


def read_fold(run: FoldRun) -> Fold:
    """Read the predictions of a finished fold, and the recordings that its runs read over all curriculum stages.

    Raises:
        FileNotFoundError: a run without predictions.
        ValueError: a run without a record of its training data, or damaged files.
    """
    trained_on: dict[str, str] = {}
    for config in run.configs:
        manifest = read_manifest(run_dir(config))
        if manifest is None:
            raise ValueError(f"{run_dir(config)} has no run.json with its training data; train it again")
        files = [Path(name) for name in manifest.data_sha256]
        cohorts = {path.parent for path in files if path.name == PARTICIPANTS_FILE}
        subject_of = {cohort: _read_subjects(cohort) for cohort in cohorts}
        trained_on |= {
            path.stem: subject_of[path.parent].get(path.stem, "")
            for path in files
            if path.suffix == ".parquet" and path.parent in cohorts
        }
    return Fold(run.fold, read_predictions(find_predictions(run.folder)), trained_on)


def pool_folds(folds: Sequence[Fold]) -> list[PredictionRow]:
    """Pool the rows of all folds, each row with its `fold`.

    Training on test subjects, and testing a subject in several folds, is allowed only for rows marked `leaky`. Each
    epoch may be tested once.

    Raises:
        ValueError: an epoch or a subject that two folds test, or one that a fold tests and was trained on; the
            message names it.
    """
    subject_of = {row.get("recording", ""): row.get("subject", "") for fold in folds for row in fold.rows}
    tested: dict[str, int] = {}  # sample or subject -> the fold that tests it
    pooled: list[PredictionRow] = []
    for fold in folds:
        known = {subject or subject_of.get(recording, "") for recording, subject in fold.trained_on.items()} - {""}
        for row in fold.rows:
            _test_once(f"sample {row['sample_id']}", fold.number, tested)
            recording, subject = row.get("recording", ""), row.get("subject", "")
            if not row.get("leaky"):
                if subject in known or recording in fold.trained_on:
                    raise ValueError(
                        f"fold {fold.number} tests recording {recording} of subject {subject or 'unknown'} and was "
                        "trained on it, or on another recording of that subject: a leak"
                    )
                _test_once(f"subject {subject or recording}", fold.number, tested)
            pooled.append({**row, "fold": fold.number})
    return pooled


def _read_subjects(cohort_dir: Path) -> dict[str, str]:
    """Read the subject of each recording; empty if the cohort is no longer on this machine."""
    if not (cohort_dir / PARTICIPANTS_FILE).is_file():
        return {}
    return {row.recording: row.subject for row in read_participants(cohort_dir)}


def _test_once(name: str, fold: int, tested: dict[str, int]) -> None:
    if tested.setdefault(name, fold) != fold:
        raise ValueError(f"{name} is tested by fold {tested[name]} and by fold {fold}: a leak")


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
        ValueError: a grid that does not support nested folds.
    """
    cohort_dir = _find_cohort(grid)
    outer_folds = sorted({run.fold for run in expand_grid(grid, only)})
    if outer_folds == [-1]:
        raise ValueError(f"{grid.name} has no folds; give it folds: range(0,5)")
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
        failures = train_runs(find_missing(outer.inner_runs), grid.launch, num_jobs, f"fold {outer.fold}, inner")
        if not failures:
            check_inner_runs(outer)
            chosen = choose_cell(outer)
            cell = {axis: chosen[axis] for axis in grid.axes}
            logger.info("fold %d: chosen %s, %s", outer.fold, chosen["smoothing"], cell)
            runs = expand_grid(grid, [f"fold={outer.fold}", *(f"{axis}={value}" for axis, value in cell.items())])
            failures = train_runs(find_missing(runs), grid.launch, num_jobs, f"fold {outer.fold}, outer")
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
        path = grid.folder / "nested.md"
        write_text(json.dumps(table, indent=1) + "\n", path.with_suffix(".json"))
        write_text(render_nested(table), path)
        print(f"{render_nested(table)}\nwritten to {path}, nested.json beside it")
    return failed


def choose_cell(outer: OuterFold) -> dict[str, Any]:
    """Choose the cell and smoothing with the highest mean kappa over inner folds; of ties the first."""
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
    means = {key: estimate([row[key] for row in rows if key in row]) for key in AGREEMENT}
    about = {"name": grid.name, "stage": grid.stages[-1], "num_inner_folds": num_inner, "num_planned": num_planned}
    return {**about, "folds": list(rows), "metrics": means}


def render_nested(table: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    axes = list(table["folds"][0]["chosen"])
    counts = f"{len(table['folds'])} of {table['num_planned']} folds, {table['num_inner_folds']} inner folds each"
    columns = ["fold", *axes, f"inner {METRICS[KAPPA].name}", *(METRICS[key].name for key in AGREEMENT)]
    rows = [
        [row["fold"], *row["chosen"].values(), row["inner_kappa"], *(build_cell(key, row) for key in AGREEMENT)]
        for row in table["folds"]
    ]
    means = [build_estimate_cell(table["metrics"][key]) for key in AGREEMENT]
    rows.append(["mean", *[""] * (len(axes) + 1), *means])
    title = f"# {table['name']}, nested: {table['stage']}, {counts}"
    return "\n\n".join([title, _NOTE, Table(columns, rows).markdown()])


def _find_cohort(grid: GridConfig) -> Path:
    """Find the cohort that all curriculum stages of all cells read."""
    for axis, values in grid.axes.items():
        for setting in (setting for settings in values.values() for setting in settings):
            if setting.partition("=")[0] in _DATA_SETTINGS:
                raise ValueError(f"axis {axis} sets {setting}: data cannot be tuned by nested folds, settings can")
    first = {axis: next(iter(values)) for axis, values in grid.axes.items()}
    folders: set[Path] = set()
    for curriculum_stage in grid.stages:
        config = compose_cell(grid, first, curriculum_stage)
        if not find_task(config.stage).reads_recordings:
            raise ValueError(
                f"{curriculum_stage} reads no nights; nested folds tune stages that do, such as stage0_encoder"
            )
        folders |= {config.stage.data_dir(split) for split in ("train", "val", "test")}
    if len(folders) > 1:
        raise ValueError(
            f"nested folds need one cohort; the curriculum stages read {', '.join(sorted(map(str, folders)))}"
        )
    return folders.pop()
