"""Smooth a file of predictions over time, by a hidden Markov model or a median filter.

The smoothed answers of each system become a further system, such as `classifier+hmm`.

Example:
    python -m evaluation.smooth results/no_llm/classifier/stage0_encoder/results/test_predictions.jsonl
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tslm.command import run_command
from tslm.labels import LABEL_SETS, LabelSet
from tslm.predictions.rows import PredictionRow, read_predictions, write_predictions
from tslm.predictions.scorings import Scoring, count_unreferenced, parse_scorings, render_unreferenced
from tslm.predictions.smoothing import METHODS, Smoothing, smooth_predictions
from tslm.predictions.transitions import Transitions, find_transitions
from tslm.training.runs.folder import BEST, CHECKPOINTS_DIR


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 a file could not be written, 2 a mistake in the call or the file."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: smooth(arguments))


def smooth(arguments: argparse.Namespace) -> str:
    """Write the rows and the smoothed rows, and return a description of the changes.

    Raises:
        ValueError, OSError: what is wrong with the predictions or the transitions.
    """
    smoothing = Smoothing(arguments.method, arguments.window)
    rows = read_predictions(arguments.file)
    transitions = _find_transitions(arguments, rows) if smoothing.needs_transitions else None
    smoothed = smooth_predictions(rows, smoothing, transitions)
    out = arguments.out or arguments.file.with_name(f"{arguments.file.stem}_{arguments.method}.jsonl")
    added = parse_scorings(smoothed)
    write_predictions([*(row for row in rows if row["system"] not in added), *smoothed], out)
    lines = [_describe_changes(scoring, rows) for scoring in added.values()]
    lines += filter(None, [render_unreferenced(count_unreferenced(added))])
    lines.append(f"written: {out}")
    lines.append(f"score it: python -m evaluation.score {out} --out {out.with_suffix('.metrics.json')}")
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m evaluation.smooth`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.smooth",
        description="Smooth the answers in a file of predictions over time, as further systems beside the others.",
        epilog="example: python -m evaluation.smooth RUN/results/test_predictions.jsonl --method hmm",
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl", help="predictions for nights, with probabilities")
    parser.add_argument(
        "--method", default="hmm", choices=[name for name in METHODS if name != "none"], help="default: hmm (Viterbi)"
    )
    parser.add_argument("--window", type=int, default=Smoothing.window_epochs, help="epochs of the median filter")
    parser.add_argument(
        "--transitions",
        type=Path,
        metavar="PATH",
        help="for hmm and posterior: a checkpoint, a transitions.json, or a prepared cohort, whose training recordings "
        "are counted; default: checkpoints/best of the run that the file is in",
    )
    parser.add_argument("--fold", type=int, default=-1, help="test fold, for cohorts with folds")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="default: FILE_METHOD.jsonl beside it")
    return parser


def _describe_changes(scoring: Scoring, rows: Sequence[PredictionRow]) -> str:
    """Count the answers of a smoothed system that differ from the most probable ones."""
    likely = {
        row["sample_id"]: row["options"][int(np.argmax(row["probabilities"] or []))]
        for row in rows
        if row["system"] == scoring.system.rpartition("+")[0] and row.get("probabilities") is not None
    }
    answers = zip(scoring.rows, scoring.answers, strict=True)
    num_changed = sum(answer != likely[row["sample_id"]] for row, answer in answers)
    num_recordings = len({row["recording"] for row in scoring.rows})
    where = f"{len(scoring.rows)} epochs of {num_recordings} recording(s)"
    return f"{scoring.system}: {num_changed} of {where} have another answer"


def _find_transitions(arguments: argparse.Namespace, rows: Sequence[PredictionRow]) -> Transitions:
    path = arguments.transitions or arguments.file.parent.parent / CHECKPOINTS_DIR / BEST
    if arguments.transitions is None and not path.is_dir():
        raise FileNotFoundError(f"{arguments.file} is in no run with a checkpoint; name one with --transitions")
    return find_transitions(path, _find_label_set(rows), arguments.fold)


def _find_label_set(rows: Sequence[PredictionRow]) -> LabelSet:
    for label_set in LABEL_SETS.values():
        if set(label_set.answers) == set(rows[0]["options"]):
            return label_set
    raise ValueError(f"{rows[0]['sample_id']} has options that are no sleep stages; only nights can be smoothed")


if __name__ == "__main__":
    sys.exit(main())
