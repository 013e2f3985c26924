"""Fit what is typical of the training's recordings for a scorer that is trained already.

A training writes novelty.json itself. This is for checkpoints of before, and for another cohort. A model of the package
has its size in the table changed, too.

Example:
    python -m curriculum.fit_novelty results/human/no_llm/classifier/stage0_encoder/checkpoints/best
    python -m curriculum.fit_novelty src/tslm/pretrained/human --cohort prepared/sim_people
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from curriculum.package import update_size
from tslm.command import run_command
from tslm.config.checkpoint import load_checkpoint_config
from tslm.data.novelty import LEAST_SUBJECTS, NOVELTY_FILE, fit_run_novelty, save_novelty


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 a file failed, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> str:
    """Fit and write; a line a channel.

    Raises:
        FileNotFoundError: no checkpoint or cohort.
        ValueError: no scorer of sleep, a cohort without its channels, or of too few subjects.
    """
    folder: Path = arguments.checkpoint
    config = load_checkpoint_config(folder)
    if config.model.kind.role != "scorer":
        raise ValueError(f"{folder} holds {config.model.name!r}, which is no scorer; give a classifier's checkpoint")
    if arguments.cohort is not None:
        stage = replace(config.stage, train_dir=str(arguments.cohort), val_dir="", fold=arguments.fold)
        config = replace(config, stage=stage)
    novelty = fit_run_novelty(config)
    if not novelty:
        raise ValueError(
            f"{config.stage.data_dir('train')} has no channel of {LEAST_SUBJECTS} subjects in its training and "
            "validation splits, fewer than it takes; name another --cohort"
        )
    save_novelty(novelty, folder)
    update_size(folder)
    lines = [f"{name}: {each.num_recordings} recordings, limit {each.limit:.2f}" for name, each in novelty.items()]
    return "\n".join([*lines, f"written: {folder / NOVELTY_FILE}"])


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m curriculum.fit_novelty`."""
    parser = argparse.ArgumentParser(
        prog="python -m curriculum.fit_novelty",
        description="Fit what is typical of a scorer's training recordings, which `tslm score` compares others with.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder of a scorer")
    parser.add_argument(
        "--cohort", type=Path, metavar="DIR", help="prepared cohort; default: those that the checkpoint was trained on"
    )
    parser.add_argument("--fold", type=int, default=-1, help="of --cohort, where it has folds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
