"""Benchmark of training, answers and classification, compared with the original OpenTSLM if it can run.

Example:
    python -m evaluation.bench --llm smollm2-135m --original build/original
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tslm.command import run_to_code

_EXAMPLE = "example: python -m evaluation.bench --llm smollm2-135m --original build/original"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table row by row; the exit code is that of `tslm.command.run_to_code`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.bench", description="Measure speed and memory on this machine.", epilog=_EXAMPLE
    )
    parser.add_argument("--llm", default="smollm2-135m", help="short name, hub id or folder")
    parser.add_argument("--original", type=Path, metavar="DIR", help="folder in which pip installed opentslm==0.1.0")
    parser.add_argument("--repeats", type=int, default=3, help="timed repetitions; the median counts (default 3)")
    parser.add_argument("--compile", action="store_true", help="measure training only, ours with train.compile=true")
    arguments = parser.parse_args(argv)
    return run_to_code(lambda: _print_rows(arguments), "run the same command again")


def _print_rows(arguments: argparse.Namespace) -> int:
    if arguments.repeats < 1:
        raise ValueError("--repeats must be 1 or more")
    from evaluation.benchmarks.rows import BenchOptions, run_bench  # torch loads only here

    for row in run_bench(BenchOptions(**vars(arguments))):
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
