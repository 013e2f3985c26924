"""Download raw recordings and language models.

Example:
    python -m data_prep.download sleep-edf --subset sc4001 --out data/raw/sleep_edf
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.fetch.sleep_edf import DEFAULT_JOBS, FOLDERS, PHYSIONET_URL, count_nights, download_sleep_edf
from tslm.command import run_command

_SLEEP_EDF_EXAMPLE = "example: python -m data_prep.download sleep-edf --subset sc4001 --out data/raw/sleep_edf"
_LLM_EXAMPLE = "example: python -m data_prep.download llm smollm2-135m"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 the download failed, 2 a mistake in the call."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: arguments.run(arguments), "run the same command again to continue")


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.download`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.download",
        description="Download raw recordings and language models. An interrupted download continues when run again.",
        epilog=f"{_SLEEP_EDF_EXAMPLE}; {_LLM_EXAMPLE.removeprefix('example: ')}",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{sleep-edf,llm}")
    sleep_edf = commands.add_parser(
        "sleep-edf",
        help="nights of Sleep-EDF Expanded",
        description="Download nights of Sleep-EDF Expanded (PhysioNet, ODC-By 1.0), checked against its SHA-256 sums.",
        epilog=_SLEEP_EDF_EXAMPLE,
    )
    sleep_edf.add_argument(
        "--subset",
        choices=list(FOLDERS),
        default="sc4001",
        help="sc4001: one night, 48 MB (default); cassette: 153 nights, 7.4 GB; telemetry: 44 nights, 1.1 GB",
    )
    sleep_edf.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the EDF files")
    sleep_edf.add_argument("--base_url", default=PHYSIONET_URL, metavar="URL", help="a mirror of PhysioNet's folder")
    sleep_edf.add_argument(
        "--jobs", type=int, default=DEFAULT_JOBS, metavar="N", help=f"files fetched at a time (default {DEFAULT_JOBS})"
    )
    sleep_edf.set_defaults(run=_run_sleep_edf)
    llm = commands.add_parser(
        "llm",
        help="a language model",
        description="Bring a language model onto this machine, converted and ready to load offline.",
        epilog=_LLM_EXAMPLE,
    )
    llm.add_argument("name", metavar="NAME", help="smollm2-135m, gemma-3-270m, or a Hugging Face id owner/name")
    llm.add_argument(
        "--cache", type=Path, metavar="DIR", help="default: $TSLM_CACHE_DIR/llm, or ~/.cache/tslm/llm when unset"
    )
    llm.set_defaults(run=_run_llm)
    return parser


def _run_sleep_edf(arguments: argparse.Namespace) -> str:
    paths = download_sleep_edf(
        arguments.subset,
        arguments.out,
        arguments.base_url,
        num_jobs=arguments.jobs,
        announce=lambda line: print(line, file=sys.stderr),
    )
    num_nights = count_nights(path.name for path in paths)
    return f"{num_nights} night{'s' if num_nights > 1 else ''}, {len(paths)} files in {arguments.out}"


def _run_llm(arguments: argparse.Namespace) -> str:
    from data_prep.fetch.llm import download_llm  # brings torch in, which the other command does not need

    return str(download_llm(arguments.name, arguments.cache))


if __name__ == "__main__":
    sys.exit(main())
