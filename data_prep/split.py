"""Split a prepared cohort again, without preparing it again.

Example:
    python -m data_prep.split prepared/cassette --out prepared/cassette_10 split=kfold:10 seed=1
    python -m data_prep.split prepared/mice --subsample balanced
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.verify import find_damaged
from tslm.command import run_command
from tslm.config.files import parse_options
from tslm.data.prepared.recordings import (
    EPOCH_SPLIT_COLUMN,
    PARTICIPANTS_FILE,
    Participant,
    read_participants,
    read_recording,
    write_participants,
    write_recording,
)
from tslm.data.splits.folds import draw_epoch_splits, render_counts
from tslm.data.splits.rules import (
    DEFAULT_SPLIT,
    assign_splits,
    check_split,
    count_strata,
    hold_out,
    is_hold_out,
    needs_strata,
)
from tslm.data.splits.split import BY_EPOCH, Split
from tslm.data.splits.subsample import METHODS, build_neighbour_table, choose_subsample, count_neighbours
from tslm.files import write_beside
from tslm.progress_bar import progress_bar

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitOptions:
    """Rule and seed of the split."""

    split: str = DEFAULT_SPLIT  # a rule of tslm.data.splits.rules
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code: 0 done, 1 a file cannot be read or written, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_intermixed_args(argv)
    return run_command(lambda: _split(arguments))


def _split(arguments: argparse.Namespace) -> str:
    if arguments.subsample:
        options = parse_options(SplitOptions, arguments.options)
        return show_subsample(arguments.cohort, arguments.subsample, options.seed)
    if arguments.out is None:
        raise ValueError("--out names the folder of the copy; only --subsample does without")
    rows = split_cohort(arguments.cohort, arguments.out, parse_options(SplitOptions, arguments.options))
    return f"{render_counts(rows)} in {arguments.out}"


def split_cohort(cohort_dir: Path, out_dir: Path, options: SplitOptions) -> list[Participant]:
    """Copy a cohort to `out_dir` with other splits.

    Recordings are copied byte for byte, except if they hold a split by epoch.

    Raises:
        FileNotFoundError: There is no cohort.
        ValueError: `out_dir` is the cohort's own folder or holds other files, a recording is damaged, or the rule
            does not fit the cohort.
    """
    rows = read_participants(cohort_dir)
    if out_dir.resolve() == cohort_dir.resolve():
        raise ValueError(f"--out {out_dir} is the cohort's own folder; give another")
    for path, damage in find_damaged(cohort_dir).items():
        raise ValueError(f"{path} {damage}; prepare the cohort again")
    split_of = _split_recordings(rows, cohort_dir, options)
    left_out = [row.recording for row in rows if row.recording not in split_of]
    if left_out:
        logger.warning("split=%s leaves out: %s", options.split, ", ".join(left_out))
    rows = [row for row in rows if row.recording in split_of]
    kept = {f"{row.recording}.parquet" for row in rows}
    (out_dir / PARTICIPANTS_FILE).unlink(missing_ok=True)  # an interrupted run must not look complete
    if others := sorted(path.name for path in out_dir.glob("*.parquet") if path.name not in kept):
        raise ValueError(f"{out_dir} holds {others[0]}, which is not of this cohort; remove it or give another folder")
    done = [
        _copy(row, split_of[row.recording], cohort_dir, out_dir, options.seed)
        for row in progress_bar(rows, desc="split", unit="recording")
    ]
    write_participants(done, out_dir)
    return done


def show_subsample(cohort_dir: Path, method: str, seed: int = 0) -> str:
    """A table of neighbours before and after classes are balanced by leaving epochs out; nothing is written.

    Raises:
        FileNotFoundError: There is no cohort.
        ValueError: No epoch of a recording is scored.
    """
    nights = [
        read_recording(cohort_dir / f"{row.recording}.parquet", ()).sleep_stages
        for row in read_participants(cohort_dir)
    ]
    kept = [choose_subsample(stages, method, seed, night) for night, stages in enumerate(nights)]
    table = build_neighbour_table({"all": count_neighbours(nights), method: count_neighbours(nights, kept)})
    return table.text()


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.split`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.split",
        description="Split a prepared cohort again, without preparing it again.",
        epilog="example: python -m data_prep.split prepared/cassette --out prepared/cassette_10 split=kfold:10 seed=1",
    )
    parser.add_argument("cohort", type=Path, metavar="DIR", help="prepared cohort")
    parser.add_argument("options", metavar="key=value", nargs="*", help=f"split={DEFAULT_SPLIT} seed=0")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the copy")
    parser.add_argument(
        "--subsample",
        choices=METHODS,
        help="write nothing; show what balancing the classes by single epochs or by whole bouts does to neighbours",
    )
    return parser


def _split_recordings(rows: Sequence[Participant], cohort_dir: Path, options: SplitOptions) -> dict[str, Split]:
    """Split of each recording; those that the rule leaves out are missing."""
    if is_hold_out(options.split):
        return hold_out(rows, options.split, options.seed)
    strata = count_strata(rows, cohort_dir) if needs_strata(options.split) else None
    split_of = assign_splits((row.subject for row in rows), options.split, options.seed, strata)
    return {row.recording: split_of[row.subject] for row in rows if row.subject in split_of}


def _copy(row: Participant, split: Split, cohort_dir: Path, out_dir: Path, seed: int) -> Participant:
    name = f"{row.recording}.parquet"
    if BY_EPOCH not in (split.rule, row.split.rule):
        with write_beside(out_dir / name) as partial:
            shutil.copyfile(cohort_dir / name, partial)
        return replace(row, split=split)
    recording = read_recording(cohort_dir / name)
    columns = {key: values for key, values in recording.columns.items() if key != EPOCH_SPLIT_COLUMN}
    if split.rule == BY_EPOCH:
        columns[EPOCH_SPLIT_COLUMN] = draw_epoch_splits(recording.sleep_stages, recording.recording, seed)
    return write_recording(replace(recording, columns=columns), out_dir, split)


if __name__ == "__main__":
    sys.exit(main())
