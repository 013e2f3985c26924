r"""Compare baselines and trained models on the same epochs, in one table with intervals.

Example:
    python -m evaluation.compare --train prepared/sim_human --data prepared/sleep_edf --out results/comparison \\
        --predictions ours=results/demo/smollm2-135m/soft_prompt/stage4_sleep_cot/results/test_predictions.jsonl
"""

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tslm.command import run_command

if TYPE_CHECKING:
    from evaluation.comparison.systems import System

_EXAMPLE = (
    "example: python -m evaluation.compare --train prepared/sim_human --data prepared/sleep_edf --out "
    "results/comparison --predictions ours=RUN/results/test_predictions.jsonl --reference ours"
)
_NAME = re.compile(r"[\w.+-]+")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 a file or a package failed or Ctrl-C, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: compare(arguments), "the answers so far are saved: run the same command with --resume")


def compare(arguments: argparse.Namespace) -> str:
    """Collect the answers of every system, write the table and return it as text.

    Raises:
        ValueError, OSError: what is wrong with the data, a system or a file.
    """
    from evaluation.comparison.agreement import compare_answers
    from evaluation.comparison.inputs import build_inputs  # here, so that --help answers at once
    from evaluation.comparison.systems import answer, check_rows, read_file, smooth_answers
    from evaluation.comparison.table import build_table, render_markdown, write_table
    from tslm.baselines.inputs import spread_epochs
    from tslm.predictions.scorings import render_unreferenced
    from tslm.predictions.truth import read_truth
    from tslm.scoring.intervals import Resampling

    if arguments.agreement and (arguments.systems or arguments.checkpoint or arguments.smooth):
        raise ValueError("--agreement compares files alone; leave out --systems, --checkpoint and --smooth")
    if arguments.agreement:
        answered = [one for name, path in arguments.predictions for one in read_file(name, path)]
        _check_names([one.system.name for one in answered], arguments)
        return compare_answers(answered, arguments.out, Resampling(arguments.num_resamples, arguments.seed))
    if arguments.train is None or arguments.data is None:
        raise ValueError("give --train and --data, the prepared cohorts; --agreement alone needs neither")
    inputs, is_leaky = build_inputs(arguments)
    whole = read_truth(arguments.data, inputs.label_set.answers, fold=arguments.fold)
    sample_ids = spread_epochs(list(whole), arguments.max_epochs, arguments.seed)
    inputs = replace(inputs, sample_ids=sample_ids)
    systems = _list_systems(arguments)
    files = [one for name, path in arguments.predictions for one in read_file(name, path)]
    _check_names([*(system.name for system in systems), *(one.system.name for one in files)], arguments)
    unscored = {row["sample_id"] for one in files for row in one.rows if row["truth"] is None} - set(whole)
    for one in files:  # before anything slow
        check_rows(one.system.name, one.rows, whole, sample_ids)
    answered = [answer(system, inputs, arguments.out / "predictions", arguments.resume) for system in systems]
    answered = [
        replace(one, rows=check_rows(one.system.name, one.rows, whole, sample_ids)) if one.rows else one
        for one in (*answered, *files)
    ]
    to_smooth = [one for one in answered if one.system.name in arguments.smooth]
    answered += smooth_answers(to_smooth, inputs, len(whole), arguments.out)
    about = {
        "train": str(arguments.train),
        "data": str(arguments.data),
        "channels": list(inputs.test.channels),
        "label_set": inputs.label_set.name,
        "num_test_epochs": len(whole),
        "seed": arguments.seed,
        "leaky": is_leaky,
    }
    truth = {sample_id: epoch for sample_id, epoch in whole.items() if sample_id in sample_ids}
    resampling = Resampling(arguments.num_resamples, arguments.seed)
    table = build_table(answered, truth, inputs.label_set, arguments.reference, resampling, about)
    paths = write_table(table, arguments.out)
    left_out = f"{render_unreferenced(len(unscored))}\n" if unscored else ""
    return f"{render_markdown(table)}\n{left_out}written: {', '.join(map(str, paths))}"


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m evaluation.compare`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.compare",
        description="Put baselines and trained models beside each other on the same epochs, as one table.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("--train", type=Path, metavar="DIR", help="prepared cohort to train the baselines on")
    parser.add_argument("--data", type=Path, metavar="DIR", help="prepared cohort to test on")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the table and predictions")
    parser.add_argument(
        "--systems",
        nargs="*",
        metavar="NAME",
        help="baselines: majority, transition_prior, band_power, yasa, text_digits, text_evidence; default: all",
    )
    parser.add_argument(
        "--predictions",
        nargs="+",
        action="extend",
        default=[],
        type=_parse_pair,
        metavar="NAME=FILE",
        help="predictions of a trained model (evaluation.generate, evaluation.smooth, a run's results)",
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        action="extend",
        default=[],
        type=_parse_pair,
        metavar="NAME=DIR",
        help="checkpoints of trained models to run",
    )
    parser.add_argument(
        "--no_rationale", action="store_true", help="language models choose an answer without a rationale"
    )
    parser.add_argument(
        "--smooth",
        nargs="+",
        default=[],
        metavar="NAME",
        help="add a row of these systems smoothed by the transitions of the training hypnograms (Viterbi)",
    )
    parser.add_argument(
        "--agreement",
        action="store_true",
        help="compare the systems of --predictions with one another, without an expert and without --train and --data",
    )
    parser.add_argument("--reference", default="", metavar="NAME", help="row to compare with; default: the first model")
    parser.add_argument("--channel", default="", help="EEG of the baselines; default: the test recordings' first")
    parser.add_argument(
        "--extra_channels", nargs="*", default=[], metavar="NAME", help="EOG and EMG for band_power and yasa"
    )
    parser.add_argument("--label_set", default="", help="default: aasm for people, rodent for rodents")
    parser.add_argument("--fold", type=int, default=-1, help="test fold, for cohorts with folds")
    parser.add_argument("--max_epochs", type=int, default=0, help="number of epochs to compare, evenly spread; 0: all")
    parser.add_argument("--llm", default="smollm2-135m", metavar="NAME", help="language model of the text rows")
    parser.add_argument("--digits", type=int, default=0, metavar="N", help="text rows: values per epoch; 0: 300")
    parser.add_argument("--free_answers", action="store_true", help="text rows: do not constrain the answer")
    parser.add_argument("--batch_size", type=int, default=0, help="of the text rows; 0: the model's")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1 ...; default: a GPU if there is one")
    parser.add_argument("--num_resamples", type=int, default=2000, help="bootstrap resamples of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap, of --max_epochs and of band_power")
    parser.add_argument("--resume", action="store_true", help="reuse saved answers that have the same settings")
    return parser


def _list_systems(arguments: argparse.Namespace) -> list["System"]:
    from evaluation.comparison.systems import build_baseline_system, build_checkpoint_system
    from tslm.baselines.table import BASELINES
    from tslm.predictions.stager import choose_device

    names = list(BASELINES) if arguments.systems is None else arguments.systems
    if unknown := [name for name in names if name not in BASELINES]:
        raise ValueError(f"unknown system {unknown[0]!r}; one of: {', '.join(BASELINES)}")
    device = choose_device(arguments.device)
    return [build_baseline_system(name, arguments) for name in names] + [
        build_checkpoint_system(name, path, not arguments.no_rationale, device) for name, path in arguments.checkpoint
    ]


def _check_names(names: Sequence[str], arguments: argparse.Namespace) -> None:
    if not names:
        raise ValueError("nothing to compare; name --systems, --predictions or --checkpoint")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two systems are called {repeated[0]!r}; give each a name of its own")
    if unknown := [name for name in arguments.smooth if name not in names]:
        raise ValueError(f"--smooth {unknown[0]}: there is no such system; one of: {', '.join(names)}")


def _parse_pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not path or not _NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH with a name of letters, digits, . _ + and -")
    return name, Path(path)


if __name__ == "__main__":
    sys.exit(main())
