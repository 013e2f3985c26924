"""Compare the recordings of a prepared cohort with the checksums in its participants.tsv.

Example:
    python -m data_prep.verify prepared/cassette
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from tslm.data.prepared.recordings import PARTICIPANTS_FILE, read_participants
from tslm.files import hash_file


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 all whole, 1 a recording is damaged or missing, 2 a mistake in the call or the table."""
    arguments = build_parser().parse_args(argv)
    damaged: dict[str, str] = {}
    num_recordings = 0
    try:
        for cohort_dir in arguments.cohort:
            num_recordings += len(read_participants(cohort_dir))
            damaged |= find_damaged(cohort_dir)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    for path, what in damaged.items():
        print(f"error: {path} {what}", file=sys.stderr)
    if damaged:
        print(f"error: {len(damaged)} of {num_recordings} recordings failed; prepare them again", file=sys.stderr)
        return 1
    print(f"{num_recordings} recordings are whole")
    return 0


def find_damaged(cohort_dir: Path) -> dict[str, str]:
    """Files of a cohort that are not as `participants.tsv` says, and what is wrong with each.

    Raises:
        FileNotFoundError: no participants.tsv.
        ValueError: it cannot be read.
    """
    damaged = {}
    for row in tqdm(read_participants(cohort_dir), desc=f"verify {cohort_dir}", unit="recording"):
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
