"""Score a file of predictions: agreement with the truth, intervals, and quality of the probabilities.

Example:
    python -m evaluation.score results/tiny/soft_prompt/stage4_sleep_cot/results/test_predictions.jsonl
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tslm.command import run_command
from tslm.data.splits.split import SPLITS, render_leak
from tslm.explain.faithfulness import add_faithfulness, describe_faithfulness
from tslm.predictions.rows import read_intact_predictions, read_predictions
from tslm.predictions.scorings import parse_scorings, render_unreferenced
from tslm.predictions.truth import apply_truth, read_truth
from tslm.scoring.display import (
    describe_structure,
    list_score_rows,
    list_structure_rows,
    list_unreferenced_rows,
)
from tslm.scoring.intervals import Resampling, render_unit
from tslm.scoring.systems import score_systems, write_metrics
from tslm.table import Table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `tslm.command.run_to_code`."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: _score(arguments))


def _score(arguments: argparse.Namespace) -> str:
    bad_lines: list[int] = []
    truth: dict[str, Any] = {}
    if arguments.skip_bad:
        rows, bad_lines = read_intact_predictions(arguments.file)
    else:
        rows = read_predictions(arguments.file)
    if arguments.truth:
        options = list(dict.fromkeys(option for row in rows for option in row["options"]))
        rows, num_relabelled = apply_truth(rows, read_truth(arguments.truth, options, arguments.split, arguments.fold))
        truth["truth"] = {"path": str(arguments.truth), "num_relabelled": num_relabelled}
    scorings = parse_scorings(rows)
    metrics = score_systems(scorings, num_resamples=arguments.num_resamples, seed=arguments.seed)
    add_faithfulness(metrics, scorings, arguments.seed, arguments.num_resamples)
    metrics |= truth | {"num_bad_lines": len(bad_lines)}
    out = arguments.out or arguments.file.with_name("metrics.json")
    try:
        write_metrics(metrics, out)
    except OSError as error:
        raise OSError(f"cannot write {out}: {error}") from error
    if bad_lines:
        print(f"left out {len(bad_lines)} bad line(s): {', '.join(map(str, bad_lines[:10]))}", file=sys.stderr)
    if num_relabelled := metrics.get("truth", {}).get("num_relabelled"):
        print(f"{num_relabelled} label(s) differ in {arguments.truth}, which counts", file=sys.stderr)
    return f"{render_table(metrics)}\n\nwritten to {out}"


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m evaluation.score`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.score",
        description="Score a file of predictions and write the metrics as JSON.",
        epilog="example: python -m evaluation.score run/results/test_predictions.jsonl --out metrics.json",
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl", help="predictions, one JSON object per line")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="default: metrics.json beside the predictions")
    parser.add_argument("--skip_bad", action="store_true", help="leave out lines that are truncated or invalid")
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="PATH",
        help="prepared cohort or JSON lines with sample_id and truth: the predictions must be of exactly its "
        "epochs, and its labels count; default: the truth in FILE.jsonl",
    )
    parser.add_argument("--split", default="test", choices=SPLITS, help="split of a cohort that is the truth")
    parser.add_argument("--fold", type=int, default=-1, metavar="N", help="test fold of a cohort that is the truth")
    parser.add_argument(
        "--num_resamples", type=int, default=Resampling.num_resamples, help="bootstrap resamples; 0: no intervals"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    return parser


def render_table(metrics: Mapping[str, Any]) -> str:
    """Render the metrics as aligned text, one column per system."""
    parts_of = {name.replace("_", " "): part for name, part in metrics["systems"].items()}
    systems = {name: part for name, part in parts_of.items() if "accuracy" in part}
    unreferenced = _render_unreferenced(parts_of)
    if not systems and unreferenced:
        lines = [f"{metrics['num_samples']} samples", *filter(None, [render_leak(metrics)]), unreferenced]
        return "\n".join([*lines, *describe_faithfulness(metrics)])
    if not systems:
        return f"{metrics['num_samples']} samples without options (captions): nothing to score"
    main, parts = next(iter(systems.values())), list(systems.values())
    lines = [f"{metrics['num_samples']} samples", *filter(None, [render_leak(metrics)])]
    for name, part in systems.items():
        if smoothing := part.get("smoothing"):
            settings = ", ".join(f"{key} {value}" for key, value in smoothing.items())
            lines.append(f"{name}: smoothed over time, {settings}")
    notes = [f"[ ]: {render_unit(main['intervals'])}"] if main.get("intervals") else []
    notes += describe_structure(main)
    for name, part in systems.items():
        if num_without := part.get("probabilities", {}).get("num_without"):
            notes.append(f"{name}: {num_without} samples have no probabilities, so no part in their scores")
    notes += describe_faithfulness(metrics)
    if main.get("absent_labels"):
        notes.append(f"not in the truth, so not in macro-F1: {', '.join(main['absent_labels'])}")
    rows = [*list_score_rows(parts), *list_structure_rows(parts)]
    return "\n".join([*lines, Table(["", *systems], rows, notes=notes).text(), *filter(None, [unreferenced])])


def _render_unreferenced(systems: Mapping[str, Mapping[str, Any]]) -> str:
    """The line on samples without a reference and the table of what needs none; empty where all have one."""
    parts = {name: part["without_reference"] for name, part in systems.items() if "without_reference" in part}
    if not parts:
        return ""
    rows = list_unreferenced_rows(list(parts.values()))
    num_nights = max(len(part.get("nights", {})) for part in parts.values())
    notes = [f"means of {num_nights} nights"] if num_nights > 1 else []
    line = render_unreferenced(max(part["num_samples"] for part in parts.values()))
    return f"{line}\n{Table(['', *parts], rows, notes=notes).text()}"


if __name__ == "__main__":
    sys.exit(main())
