"""Compare the recordings of a prepared cohort with the checksums in its participants.tsv.

Example:
    python -m data_prep.verify prepared/cassette
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tslm.command import fail, run_to_code
from tslm.data.prepared.recordings import PARTICIPANTS_FILE, read_participants
from tslm.files import hash_file
from tslm.progress_bar import progress_bar


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code: 0 all recordings are intact, 1 some are not, 2 a mistake in the call or the table."""
    arguments = build_parser().parse_args(argv)
    return run_to_code(lambda: _verify(arguments.cohort), "run the same command again")


def _verify(cohort_dirs: Sequence[Path]) -> int:
    num_recordings = sum(len(read_participants(cohort_dir)) for cohort_dir in cohort_dirs)
    damaged = {path: damage for cohort_dir in cohort_dirs for path, damage in find_damaged(cohort_dir).items()}
    for path, damage in damaged.items():
        fail(f"{path} {damage}", 1)
    if damaged:
        return fail(f"{len(damaged)} of {num_recordings} recordings failed; prepare them again", 1)
    print(f"{num_recordings} recordings are whole")
    return 0


def find_damaged(cohort_dir: Path) -> dict[str, str]:
    """Recordings that are missing or damaged, and what is wrong with each.

    Raises:
        FileNotFoundError: There is no participants.tsv.
        ValueError: It cannot be read.
    """
    damaged = {}
    for row in progress_bar(read_participants(cohort_dir), desc=f"verify {cohort_dir}", unit="recording"):
        path = cohort_dir / f"{row.recording}.parquet"
        if not path.is_file():
            damaged[str(path)] = "is missing"
        elif hash_file(path) != row.sha256:
            damaged[str(path)] = f"is damaged: its SHA-256 is not the one in {PARTICIPANTS_FILE}"
    return damaged


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.verify`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.verify",
        description="Compare the recordings of prepared cohorts with the checksums in participants.tsv.",
        epilog="example: python -m data_prep.verify prepared/cassette",
    )
    parser.add_argument("cohort", type=Path, nargs="+", metavar="DIR", help="folder with participants.tsv")
    return parser


if __name__ == "__main__":
    sys.exit(main())
