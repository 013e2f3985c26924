"""Load, kills and damaged files for `tslm serve`.

Example:
    python -m evaluation.benchmarks.service --nights 200 --hours 8 --clients 8 --workers 2 --damaged 1000
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluation.benchmarks.service.load import LoadOptions, measure_damaged, measure_load
from tslm.command import run_to_code


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table row by row; the exit code is that of `tslm.command.run_to_code`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.benchmarks.service",
        description="Load `tslm serve` on this machine, kill it, and send it damaged files.",
        epilog="example: python -m evaluation.benchmarks.service --nights 200 --hours 8 --workers 2 --damaged 1000",
    )
    defaults = LoadOptions()
    parser.add_argument("--nights", type=int, default=defaults.nights, help="0: no load (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=defaults.hours, help="of each night (default: %(default)g)")
    parser.add_argument("--clients", type=int, default=defaults.clients, help="at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=defaults.workers, help="of the service (default: %(default)s)")
    parser.add_argument("--waiting", type=int, default=defaults.waiting, help="of the service (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=defaults.kills, help="of the service (default: %(default)s)")
    parser.add_argument("--damaged", type=int, default=defaults.damaged, help="damaged uploads (default: none)")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_to_code(lambda: _print_rows(LoadOptions(**vars(arguments))), "run the same command again")


def _print_rows(options: LoadOptions) -> int:
    with tempfile.TemporaryDirectory() as folder:
        parts = [measure_load] * bool(options.nights) + [measure_damaged] * bool(options.damaged)
        for measure in parts:
            for row in measure(options, Path(folder)):
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
