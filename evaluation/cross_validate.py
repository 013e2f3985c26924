r"""Train and test every fold of a cohort, each as a run that can be resumed, and score the pooled predictions.

Example:
    python -m evaluation.cross_validate --stages stage0_encoder --config rodent stage.train_dir=prepared/rodents
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.grids.folds import Fold, FoldRun, pool_folds, read_fold
from evaluation.grids.grid import DEFAULT_LAUNCH
from evaluation.grids.launcher import report_failures, run_training_command, train_runs
from evaluation.score import render_table
from tslm.config.compose import compose_config
from tslm.data.prepared.recordings import read_participants
from tslm.data.samples.dataset import find_task
from tslm.data.splits.folds import list_folds
from tslm.data.splits.split import render_leak
from tslm.metric_names import AGREEMENT, METRICS, build_cell
from tslm.predictions.rows import write_predictions
from tslm.predictions.scorings import parse_scorings
from tslm.predictions.smoothing import METHODS, Smoothing, smooth_predictions
from tslm.scoring.systems import score_systems, write_metrics
from tslm.table import Cell, Table
from tslm.training.runs.folder import (
    ALL_FOLDS_DIR,
    BEST,
    CHECKPOINTS_DIR,
    METRICS_FILE,
    PREDICTIONS_FILE,
    RESULTS_DIR,
    pick_main_metrics,
    run_dir,
)

_MAX_NAMED = 3  # subjects in a line
_FOLD_METRICS = ("num_samples", *AGREEMENT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 all folds are scored, 1 one failed or was interrupted, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_intermixed_args(argv)
    for name in ("stages", "folds"):  # `--stages a key=value` reads both
        words = getattr(arguments, name)
        arguments.settings += [word for word in words if "=" in word]
        setattr(arguments, name, [word for word in words if "=" not in word])
    return run_training_command(_run, arguments)


def _run(arguments: argparse.Namespace) -> int:
    """Return the exit code of all folds, or of the plan alone."""
    runs = list_fold_runs(arguments)
    if arguments.dry_run:
        print("\n".join(shlex.join([*arguments.launch, *run.arguments]) for run in runs))
        return 0
    return cross_validate(runs, arguments)


def list_fold_runs(arguments: argparse.Namespace) -> list[FoldRun]:
    """A run for each chosen fold of the cohort that the last curriculum stage tests on.

    Raises:
        FileNotFoundError: there is no such cohort.
        ValueError: an unknown setting, a cohort without folds, or a fold that it does not have.
    """
    chosen_folds = _parse_numbers(arguments.folds)
    chosen = ["--config", arguments.config]
    for name in ("llm", "model", "config_dir"):
        chosen += [f"--{name}", str(getattr(arguments, name))] if getattr(arguments, name) else []
    chosen += ["--from_scratch"] * arguments.from_scratch

    def compose(fold: int) -> FoldRun:
        settings = [*arguments.settings, f"stage.fold={fold}"]
        options = (arguments.config, arguments.llm, arguments.model, settings, arguments.config_dir)
        configs = [compose_config(curriculum_stage, *options) for curriculum_stage in arguments.stages]
        words = ("--stages", *arguments.stages, *chosen, "--resume", *settings)
        metrics_path = f"{RESULTS_DIR}/{METRICS_FILE}"
        return FoldRun(
            f"fold {fold}", run_dir(configs[-1]), words, fold, configs[-1].seed, metrics_path, configs=configs
        )

    cohort_dir = compose(0).configs[-1].stage.data_dir("test")
    folds = list_folds(read_participants(cohort_dir))
    if not folds:
        raise ValueError(
            f"{cohort_dir} has no folds; make some: python -m data_prep.split {cohort_dir} --out {cohort_dir}_folds "
            "split=loso (or kfold:10)"
        )
    if unknown := sorted(set(chosen_folds) - set(folds)):
        raise ValueError(f"--folds {unknown[0]}: {cohort_dir} has the folds {', '.join(map(str, folds))}")
    return [compose(fold) for fold in (chosen_folds or folds)]


def cross_validate(runs: Sequence[FoldRun], arguments: argparse.Namespace) -> int:
    """Train the missing folds, pool the predictions of all finished folds, and print their scores."""
    # Complete folds too: train.py skips them, and reports changed settings.
    failed = train_runs(runs, arguments.launch, arguments.jobs, "folds")
    failed_folds = [outcome.run.fold for outcome in failed]
    done = [run for run in runs if run.fold not in failed_folds]
    if done:
        folder = runs[0].folder.parent / ALL_FOLDS_DIR / RESULTS_DIR
        smoothings = [Smoothing(method) for method in arguments.smoothing]
        metrics = pool_runs(done, folder, failed_folds, arguments.num_resamples, smoothings)
        print(f"{render_table(metrics)}\n\n{render_folds(metrics)}\n\nwritten to {folder}")
    return report_failures(failed)


def pool_runs(
    runs: Sequence[FoldRun],
    folder: Path,
    missing_folds: Sequence[int],
    num_resamples: int,
    smoothings: Sequence[Smoothing] = (),
) -> dict[str, Any]:
    """Write the predictions of finished folds to one file, score them, and return the scores.

    Each fold is smoothed by the transitions of its own training nights; smoothed answers are further systems.

    Raises:
        ValueError: a leak between folds, or between training and test of one of them; predictions that cannot be
            smoothed.
    """
    rows = pool_folds([_smooth(read_fold(run), run, smoothings) for run in runs])
    metrics = score_systems(parse_scorings(rows), num_resamples=num_resamples, seed=runs[0].seed)
    config = runs[0].configs[-1]
    metrics |= {"stage": config.stage.name, "metric": find_task(config.stage).metric, "seed": config.seed}
    metrics["folds"] = {}
    for run in runs:
        of_fold = json.loads(run.metrics_path.read_text(encoding="utf-8")) if run.metrics_path else {}
        of_fold = pick_main_metrics(of_fold)
        subjects = sorted({row["subject"] for row in rows if row.get("fold") == run.fold and "subject" in row})
        shown = {name: of_fold[name] for name in _FOLD_METRICS if of_fold.get(name) is not None}
        metrics["folds"][str(run.fold)] = {"subjects": subjects, **shown}
    metrics["missing_folds"] = list(missing_folds)
    write_predictions(rows, folder / PREDICTIONS_FILE)
    write_metrics(metrics, folder / METRICS_FILE)
    return metrics


def _smooth(fold: Fold, run: FoldRun, smoothings: Sequence[Smoothing]) -> Fold:
    """Add the rows of the smoothed systems to a fold."""
    rows = [*fold.rows]
    for smoothing in smoothings:
        transitions = smoothing.load_transitions(run.folder / CHECKPOINTS_DIR / BEST)
        rows += smooth_predictions(fold.rows, smoothing, transitions)
    return replace(fold, rows=rows)


def render_folds(metrics: Mapping[str, Any]) -> str:
    """Render one row per fold, and name the missing folds."""
    rows: list[list[Cell]] = []
    for fold, found in metrics["folds"].items():
        subjects = found["subjects"]
        who = ", ".join(subjects) if len(subjects) <= _MAX_NAMED else f"{len(subjects)} subjects"
        rows.append([Cell(f"fold {fold}"), Cell(who or "-"), *(build_cell(key, found) for key in _FOLD_METRICS)])
    notes = []
    if metrics["missing_folds"]:
        notes.append(
            f"NOT ALL FOLDS: {', '.join(map(str, metrics['missing_folds']))} missing, scores are of the others"
        )
    columns = ["fold", "subjects", *(METRICS[key].name for key in _FOLD_METRICS)]
    return Table(columns, rows, render_leak(metrics), notes).text()


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m evaluation.cross_validate`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.cross_validate",
        description="Train and test every fold, each a run that can be resumed; pool and score their predictions.",
        epilog="example: python -m evaluation.cross_validate --stages stage0_encoder --config rodent "
        "stage.train_dir=prepared/rodents --jobs 2",
    )
    parser.add_argument("--stages", nargs="+", required=True, metavar="STAGE", help="as train.py's; the last is tested")
    parser.add_argument("--model", default="", help="as train.py's")
    parser.add_argument("--llm", default="", help="as train.py's")
    parser.add_argument("--config", default="config", help="as train.py's: a preset or a YAML file")
    parser.add_argument("--config_dir", type=Path, metavar="DIR", help="as train.py's")
    parser.add_argument("--from_scratch", action="store_true", help="as train.py's")
    parser.add_argument(
        "--folds", nargs="+", action="extend", default=[], metavar="N", help="only these folds; default: all"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of parallel folds; they share the CPU cores")
    parser.add_argument(
        "--launch",
        type=shlex.split,
        default=list(DEFAULT_LAUNCH),
        metavar="WORDS",
        help='words that start train.py, e.g. "accelerate launch --num_processes 4 -m curriculum.train"; '
        f'default: "{shlex.join(DEFAULT_LAUNCH)}"',
    )
    parser.add_argument(
        "--smoothing",
        type=_parse_methods,
        default=[],
        metavar="hmm,median",
        help="also pool smoothed predictions, each fold with the transitions of its training nights",
    )
    parser.add_argument("--num_resamples", type=int, default=2000, help="bootstrap resamples; 0: no intervals")
    parser.add_argument("--dry_run", action="store_true", help="print the commands, train nothing")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="any setting of train.py")
    return parser


def _parse_numbers(words: Sequence[str]) -> list[int]:
    """The folds of `--folds 0 1 2` or `--folds 0,1,2`."""
    numbers = [number.strip() for word in words for number in word.split(",")]
    if wrong := [number for number in numbers if not number.isdecimal()]:
        raise ValueError(f"--folds {wrong[0]!r} is no number of a fold; give whole numbers such as 0 1 2")
    return sorted({int(number) for number in numbers})


def _parse_methods(text: str) -> list[str]:
    methods = [name for name in METHODS if name != "none"]
    if unknown := [name for name in text.split(",") if name not in methods]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no smoothing; of: {', '.join(methods)}")
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
