"""A research report of a grid, written from its runs' own files: data, protocol, metrics, ablations, failures, plots.

Nothing in it is typed in: figures come from participants.tsv, the settings, the table and the test predictions.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from evaluation.grids.grid import GridConfig, compose_cell, expand_grid, load_grid
from evaluation.grids.launcher import Run
from evaluation.grids.plots import draw_hypnograms, draw_kappas
from evaluation.grids.table import KAPPA, MACRO_F1, build_estimate_cell, build_table, estimate, render_markdown
from tslm.data.prepared.recordings import Participant, read_participants, read_recording
from tslm.data.splits.subsample import METHODS, build_neighbour_table, choose_subsample, count_neighbours
from tslm.files import write_text
from tslm.hypnogram import SCORED
from tslm.labels import LABEL_SETS, LabelSet, SleepStage
from tslm.predictions.rows import PredictionRow, parse_row_answer, read_predictions
from tslm.scoring.intervals import Resampling
from tslm.scoring.metrics import bootstrap_intervals, compute_metrics, count_confusion
from tslm.table import Cell, Row, Table
from tslm.training.runs.folder import PREDICTIONS_FILE
from tslm.training.runs.manifest import read_manifest

REPORT_FILE, KAPPA_PLOT, HYPNOGRAM_PLOT = "index.md", "kappa.svg", "hypnogram.svg"
_SIMULATED = "sim_"  # begins the source of a simulated recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command that writes a report."""
    parser.add_argument("grid", type=Path, metavar="GRID.yaml", help="a grid of which some runs are finished")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the report; default: `report` in the grid's")
    parser.add_argument("--num_resamples", type=int, default=2000, help="bootstrap resamples of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples and of the subsampling")


def write_grid_report(arguments: argparse.Namespace) -> str:
    """Write the report of a grid into `arguments.out`; returns a line.

    Raises:
        FileNotFoundError: no grid, or its prepared cohort is gone.
        ValueError: no run has finished, or a file of one cannot be read.
    """
    grid = load_grid(arguments.grid)
    runs = expand_grid(grid)
    if not any(run.metrics_path for run in runs):
        raise ValueError(f"no run of {grid.name} has finished; python -m evaluation.experiments run {arguments.grid}")
    table = build_table(grid, runs)
    config = compose_cell(grid, {axis: next(iter(values)) for axis, values in grid.axes.items()}, grid.stages[-1])
    cohort_dir, label_set = config.stage.data_dir("test"), LABEL_SETS[config.model.label_set]
    participants = read_participants(cohort_dir)
    nights = [read_recording(cohort_dir / f"{row.recording}.parquet", ()) for row in participants]
    stages = {night.recording: night.sleep_stages for night in nights}
    best = max(table["rows"], key=lambda row: (row["is_best"], (row["metrics"].get(KAPPA) or {"mean": -1.0})["mean"]))
    rows = _read_rows(runs, best)
    resampling = Resampling(arguments.num_resamples, arguments.seed)
    out = arguments.out or grid.folder / "report"
    sections = [
        f"# {grid.name}: {grid.stages[-1]} on {cohort_dir.name}",
        _say_what_it_is(table, participants),
        "## Data",
        _describe_data(participants, stages, nights[0].epoch_s),
        "## Protocol",
        _describe_protocol(grid, runs, arguments.grid),
        "## Metrics",
        render_markdown(table).partition("\n\n")[2],
        f"![Cohen's kappa of each row]({KAPPA_PLOT})",
        "## Ablations",
        _compare_values(table),
        "## The best row, by animal",
        _describe_best(best, rows, label_set, resampling),
        "## Failure modes",
        _describe_failures(rows, label_set),
        f"![Hypnogram of the recording with the lowest kappa]({HYPNOGRAM_PLOT})",
        "## What balancing by subsampling does to neighbours",
        _describe_subsampling(list(stages.values()), arguments.seed),
    ]
    write_text("\n\n".join(sections) + "\n", out / REPORT_FILE)
    write_text(draw_kappas(table), out / KAPPA_PLOT)
    write_text(_draw_worst(rows, label_set), out / HYPNOGRAM_PLOT)
    return f"written to {out / REPORT_FILE}, {KAPPA_PLOT} and {HYPNOGRAM_PLOT} beside it"


def _read_rows(runs: Sequence[Run], best: Mapping[str, Any]) -> list[PredictionRow]:
    """Test predictions of a row of the table, of the first seed of each fold."""
    by_fold: dict[int, Path] = {}
    for run in runs:
        if run.metrics_path and all(best[axis] == value for axis, value in run.cell.items()):
            smoothed = run.metrics_path.with_name(f"smoothed_{best['smoothing']}.jsonl")
            by_fold.setdefault(
                run.fold, smoothed if smoothed.is_file() else run.metrics_path.with_name(PREDICTIONS_FILE)
            )
    return [row for path in by_fold.values() for row in read_predictions(path) if row.get("truth")]


def _say_what_it_is(table: Mapping[str, Any], participants: Sequence[Participant]) -> str:
    simulated = [row for row in participants if row.source.startswith(_SIMULATED)]
    done = f"{table['num_runs']} of {table['num_planned']} runs have finished."
    if table["num_runs"] < table["num_planned"]:
        done += " Rows whose runs are missing say less than the others, and none is bold."
    if not simulated:
        return done
    return (
        f"**{len(simulated)} of {len(participants)} recordings are simulated.** Training and test share a simulator: "
        f"the figures compare settings on simulated animals and say nothing about real ones. {done}"
    )


def _describe_data(
    participants: Sequence[Participant], stages: Mapping[str, Sequence[SleepStage]], epoch_s: float
) -> str:
    counts = Counter(stage for each in stages.values() for stage in each)
    total = sum(counts.values())
    shares = ", ".join(f"{stage.value} {counts[stage] / total:.1%}" for stage in SCORED if counts[stage])
    facts = {
        "recordings": len(participants),
        "subjects": len({row.subject for row in participants}),
        "species": ", ".join(sorted({row.species for row in participants})),
        "strain": ", ".join(sorted({row.strain for row in participants} - {""})) or "not stated",
        "source": ", ".join(sorted({row.source for row in participants} - {""})) or "not stated",
        "sampling rate": ", ".join(f"{rate:g} Hz" for rate in sorted({row.fs_hz for row in participants})),
        "length": f"{total * epoch_s / 3600:.1f} h in all, epochs of {epoch_s:g} s",
        "epochs": f"{total}: {shares}; unscored {1 - sum(counts[stage] for stage in SCORED) / total:.1%}",
    }
    rows: list[Row] = [[name, str(value)] for name, value in facts.items()]
    return Table(("what", "value"), rows).markdown()


def _describe_protocol(grid: GridConfig, runs: Sequence[Run], path: Path) -> str:
    axes = [
        [axis, value, ", ".join(settings) or "-"]
        for axis, values in grid.axes.items()
        for value, settings in values.items()
    ]
    axes += [
        ["smoothing", name, ", ".join(f"{key}={value}" for key, value in values.items())]
        for name, values in grid.smoothing.items()
    ]
    done = next(run for run in runs if run.metrics_path)
    assert done.metrics_path is not None
    manifest = read_manifest(done.metrics_path.parents[1])
    machine = ""
    if manifest is not None:
        launch = manifest.launches[-1]
        machine = f" Machine: {launch.cpu}, {launch.num_cpus} CPUs; commit {launch.git_commit or 'unknown'}."
    folds = len({run.fold for run in runs})
    lines = [
        f"Preset `{grid.preset}`, every run with `{' '.join(grid.settings) or 'no further settings'}`; folds: {folds}, "
        f"seeds: {grid.seeds}. No subject is in training and test. Smoothing is applied to saved probabilities, with "
        f"transitions counted in training.{machine}",
        f"```\npython -m evaluation.experiments run {path}\npython -m evaluation.experiments report {path}\n```",
        Table(("axis", "value", "settings"), axes).markdown(),
    ]
    return "\n\n".join(lines)


def _compare_values(table: Mapping[str, Any]) -> str:
    """Paired differences of each value to the first of its axis, over all cells and folds that both have."""
    rows = []
    for axis in table["axes"]:
        values = list(dict.fromkeys(row[axis] for row in table["rows"]))
        first, *others = values
        for value in others:
            cells: list[Cell] = []
            for name in (KAPPA, MACRO_F1):
                by_fold = _pair_by_fold(table, axis, first, value, name)
                cells.append(build_estimate_cell(estimate([sum(each) / len(each) for each in by_fold.values()]), True))
            rows.append([axis, f"{value} less {first}", *cells])
    note = (
        "Mean over folds [95 % interval: Student's t], each fold the mean over all cells that differ in nothing else. "
        "Nothing is corrected for the number of comparisons."
    )
    return Table(("axis", "compared", "kappa", "macro-F1"), rows).markdown() + f"\n{note}"


def _pair_by_fold(table: Mapping[str, Any], axis: str, first: str, value: str, metric: str) -> dict[Any, list[float]]:
    def key(row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(row[other] for other in table["axes"] if other != axis)

    base = {key(row): row["folds"].get(metric, {}) for row in table["rows"] if row[axis] == first}
    by_fold: dict[Any, list[float]] = {}
    for row in table["rows"]:
        if row[axis] == value:
            before = base.get(key(row), {})
            for fold, score in row["folds"].get(metric, {}).items():
                if fold in before:
                    by_fold.setdefault(fold, []).append(score - before[fold])
    return by_fold


def _describe_best(
    best: Mapping[str, Any], rows: Sequence[PredictionRow], label_set: LabelSet, resampling: Resampling
) -> str:
    truth, answers, labels = _columns(rows, label_set)
    metrics = compute_metrics(truth, answers, labels)
    subjects = [row.get("subject") or row.get("recording", "") for row in rows]
    intervals = bootstrap_intervals(truth, answers, labels, subjects=subjects, resampling=resampling)
    shown: list[list[Any]] = [
        [name, Cell(metrics[name], interval=intervals[name])] for name in (KAPPA, MACRO_F1, "accuracy")
    ]
    shown += [
        [f"F1 {label}", Cell(metrics["per_class_f1"][label], interval=intervals["per_class_f1"][label])]
        for label in labels
    ]
    setting = ", ".join(f"{axis} {value}" for axis, value in best.items() if isinstance(value, str))
    how = f"{intervals['num_resamples']} bootstrap resamples of {intervals['num_units']} {intervals['unit']}"
    return (
        f"{setting}: {len(rows)} test epochs pooled over the finished folds, intervals by {how}. It is the best of "
        f"many rows, so it looks better than it is.\n\n{Table(('metric', 'value'), shown).markdown()}"
    )


def _describe_failures(rows: Sequence[PredictionRow], label_set: LabelSet) -> str:
    truth, answers, labels = _columns(rows, label_set)
    counts = count_confusion(truth, answers, labels)
    confusion = Table(
        ("expert \\ scorer", *labels, "no answer"),
        [[label, *map(int, row)] for label, row in zip(labels, counts, strict=True)],
    )
    wrong = [expert != answer for expert, answer in zip(truth, answers, strict=True)]
    edges = _find_edges(rows, truth)
    parts = [confusion.markdown()]
    for name, chosen in (("beside a transition", edges), ("within a bout", [not edge for edge in edges])):
        num = sum(chosen)
        num_wrong = sum(is_wrong and is_chosen for is_wrong, is_chosen in zip(wrong, chosen, strict=True))
        if num:
            parts.append(f"- {name}: {num_wrong} of {num} epochs wrong ({num_wrong / num:.1%})")
    by_recording = _kappas_by_recording(rows, label_set)
    worst = sorted(by_recording.items(), key=lambda item: item[1])[:3]
    parts.append("- lowest kappa: " + ", ".join(f"{name} {kappa:.3f}" for name, kappa in worst))
    return "\n".join(parts)


def _find_edges(rows: Sequence[PredictionRow], truth: Sequence[str]) -> list[bool]:
    """Whether the neighbour before or after an epoch, in its recording, is of another stage by the expert."""
    edges = [False] * len(rows)
    for idx, (one, two) in enumerate(pairwise(rows)):
        if one.get("recording") == two.get("recording") and truth[idx] != truth[idx + 1]:
            edges[idx] = edges[idx + 1] = True
    return edges


def _kappas_by_recording(rows: Sequence[PredictionRow], label_set: LabelSet) -> dict[str, float]:
    kappas = {}
    for name in dict.fromkeys(row.get("recording", "") for row in rows):
        own = [row for row in rows if row.get("recording") == name]
        kappa = compute_metrics(*_columns(own, label_set))[KAPPA]
        if kappa is not None:
            kappas[name] = kappa
    return kappas


def _describe_subsampling(nights: Sequence[Sequence[SleepStage]], seed: int) -> str:
    scored = [stages for stages in nights if set(stages) & set(SCORED)]
    neighbours = {"all": count_neighbours(scored)}
    for method in METHODS:
        kept = [choose_subsample(stages, method, seed, night) for night, stages in enumerate(scored)]
        neighbours[method] = count_neighbours(scored, kept)
    return (
        "Each recording is cut to as many epochs of every stage as its rarest has, by single epochs drawn at random "
        "(balanced) or by whole bouts (bouts). Single epochs lose their neighbours, except those of the rarest stage: "
        "a model that sees neighbours could tell that stage by having some. No run of this grid subsamples; classes "
        f"are weighted instead.\n\n{build_neighbour_table(neighbours).markdown()}"
    )


def _columns(rows: Sequence[PredictionRow], label_set: LabelSet) -> tuple[list[str], list[str | None], list[str]]:
    return [str(row["truth"]) for row in rows], [parse_row_answer(row) for row in rows], list(label_set.answers)


def _draw_worst(rows: Sequence[PredictionRow], label_set: LabelSet) -> str:
    """Hypnograms of expert and scorer of the recording with the lowest kappa."""
    kappas = _kappas_by_recording(rows, label_set)
    worst = min(kappas, key=lambda name: kappas[name]) if kappas else rows[0].get("recording", "")
    truth, answers, labels = _columns([row for row in rows if row.get("recording") == worst], label_set)
    return draw_hypnograms({f"{worst}, expert": truth, f"{worst}, scorer": answers}, labels)
