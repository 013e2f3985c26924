"""Runs of a grid: what is missing is trained, and one table compares the cells."""

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.grids.folds import plan_nested, run_nested
from evaluation.grids.grid import GridConfig, check_settings, expand_grid, load_grid
from evaluation.grids.launcher import Run, find_missing, read_seconds, report_failures, train_runs
from evaluation.grids.table import build_table, render_markdown, write_table

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command that runs a grid."""
    parser.add_argument(
        "grid", type=Path, metavar="GRID.yaml", help="axes, folds and settings; see configs/experiments"
    )
    parser.add_argument("only", nargs="*", metavar="axis=value", help="only these values, e.g. fold=0,1 backbone=ssm")
    parser.add_argument("--jobs", type=int, default=1, help="number of parallel runs; they share the CPU cores")
    parser.add_argument(
        "--nested",
        type=int,
        default=0,
        metavar="K",
        help="nested cross-validation: choose a cell by K folds within each fold's training subjects, and test it once",
    )
    parser.add_argument("--dry_run", action="store_true", help="list the runs, train nothing")


def run_grid(arguments: argparse.Namespace) -> int:
    """Train what a grid lacks, or plan it; 0 all runs are complete, 1 one failed, ValueError for a mistake."""
    grid = load_grid(arguments.grid)
    check_settings(grid)
    runs = expand_grid(grid)
    chosen = expand_grid(grid, arguments.only) if arguments.only else runs
    if arguments.nested:
        outer_folds = plan_nested(grid, arguments.only, arguments.nested)
        if not arguments.dry_run:
            return run_nested(grid, outer_folds, arguments.nested, arguments.jobs)
        print("\n".join(describe_plan(outer.grid, outer.inner_runs, arguments.jobs) for outer in outer_folds))
        return 0
    if arguments.dry_run:
        print(describe_plan(grid, chosen, arguments.jobs))
        return 0
    return run_experiments(grid, runs, chosen, arguments.jobs)


def run_experiments(grid: GridConfig, runs: Sequence[Run], chosen: Sequence[Run], num_jobs: int) -> int:
    """Train the chosen runs that are missing, rewrite the table after each, and return the exit code."""
    missing = find_missing(chosen)
    logger.info("%s: %d of %d runs are missing", grid.name, len(missing), len(chosen))
    num_complete = len(chosen) - len(missing)
    failed = train_runs(
        missing,
        grid.launch,
        num_jobs,
        grid.name,
        num_complete,
        lambda: write_table(build_table(grid, runs), grid.folder),
    )
    table = build_table(grid, runs)
    path = write_table(table, grid.folder)
    print(f"{render_markdown(table)}\nwritten to {path}, table.csv and table.json beside it")
    return report_failures(failed)


def describe_plan(grid: GridConfig, runs: Sequence[Run], num_jobs: int) -> str:
    """Describe the runs, the commands of missing ones, and the expected duration."""
    missing = find_missing(runs)
    known = {run.folder: read_seconds(run) for run in runs if run not in missing}
    seconds = {folder: taken for folder, taken in known.items() if taken is not None}
    lines = [f"complete  {run.name}" for run in runs if run not in missing]
    lines += [f"missing   {run.name}: {shlex.join([*grid.launch, *run.arguments])}" for run in missing]
    lines.append(
        f"{len(runs)} runs of {grid.name}, {len(missing)} missing; {len(grid.smoothing)} ways of smoothing each"
    )
    if not missing:
        return "\n".join(lines)
    if not seconds:
        return "\n".join([*lines, "no run has finished yet, so the duration is unknown"])
    of_cell: dict[Path, list[float]] = {}
    for folder, taken in seconds.items():
        of_cell.setdefault(folder.parent, []).append(taken)
    usual = float(np.mean(list(seconds.values())))
    total = sum(float(np.mean(of_cell.get(run.folder.parent, [usual]))) for run in missing) / num_jobs
    lines.append(f"about {total / 60:.0f} min with --jobs {num_jobs}, from the {len(seconds)} runs that have finished")
    return "\n".join(lines)
