"""Download raw recordings and language models.

Example:
    python -m data_prep.download llm smollm2-135m
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.download_llm import download_llm


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 the download failed, 2 a mistake in the call."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        print(arguments.run(arguments))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.download`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.download",
        description="Download raw recordings and language models.",
        epilog="example: python -m data_prep.download llm smollm2-135m",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{llm}")
    llm = commands.add_parser(
        "llm",
        help="a language model",
        description="Bring a language model onto this machine, converted and ready to load offline.",
        epilog="example: python -m data_prep.download llm smollm2-135m",
    )
    llm.add_argument("name", metavar="NAME", help="smollm2-135m, gemma-3-270m, or a Hugging Face id owner/name")
    llm.add_argument("--cache", type=Path, default=None, metavar="DIR", help="default: $TSLM_CACHE_DIR/llm")
    llm.set_defaults(run=lambda arguments: download_llm(arguments.name, arguments.cache))
    return parser


if __name__ == "__main__":
    sys.exit(main())
