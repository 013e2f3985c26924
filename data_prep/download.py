"""Download raw recordings, published corpora and language models.

Example:
    python -m data_prep.download sleep-edf --subset sc4001 --out data/raw/sleep_edf
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.fetch.corpora import CORPORA, Corpus, download_corpus
from data_prep.fetch.parallel import DEFAULT_JOBS
from data_prep.fetch.sleep_edf import FOLDERS, PHYSIONET_URL, count_nights, download_sleep_edf
from tslm.command import run_command

_SLEEP_EDF_EXAMPLE = "example: python -m data_prep.download sleep-edf --subset sc4001 --out data/raw/sleep_edf"
_CORPUS_EXAMPLE = "example: python -m data_prep.download {name} --out raw/{name}"
_LLM_EXAMPLE = "example: python -m data_prep.download llm smollm2-135m"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code: 0 done, 1 the download failed, 2 a mistake in the call."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: arguments.run(arguments), "run the same command again to continue")


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.download`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.download",
        description="Download raw recordings, published corpora and language models. An interrupted download continues "
        "when run again.",
        epilog=f"{_SLEEP_EDF_EXAMPLE}; {_LLM_EXAMPLE.removeprefix('example: ')}",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="NAME")
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
    _add_folder(sleep_edf, PHYSIONET_URL)
    sleep_edf.set_defaults(run=_run_sleep_edf)
    for name, corpus in CORPORA.items():
        _add_corpus(commands.add_parser(name, help=corpus.description, description=_describe(corpus)), name, corpus)
    llm = commands.add_parser(
        "llm",
        help="a language model",
        description="Download a language model and convert it, so that it loads offline.",
        epilog=_LLM_EXAMPLE,
    )
    llm.add_argument("name", metavar="NAME", help="smollm2-135m, gemma-3-270m, or a Hugging Face id owner/name")
    llm.add_argument(
        "--cache", type=Path, metavar="DIR", help="default: $TSLM_CACHE_DIR/llm, or ~/.cache/tslm/llm when unset"
    )
    llm.set_defaults(run=_run_llm)
    return parser


def _describe(corpus: Corpus) -> str:
    addresses = ", ".join(dict.fromkeys(files.base_url for files in corpus.choices.values()))
    return f"Download {corpus.description}. From: {addresses}"


def _add_corpus(parser: argparse.ArgumentParser, name: str, corpus: Corpus) -> None:
    parser.epilog = _CORPUS_EXAMPLE.format(name=name)
    default = next(iter(corpus.choices))
    if corpus.option:
        meaning = f"as in `data_prep.prepare` (default {default})"
        parser.add_argument(
            f"--{corpus.option}", dest="choice", choices=list(corpus.choices), default=default, help=meaning
        )
    _add_folder(parser, "")
    parser.set_defaults(run=_run_corpus, corpus=name, choice=default)


def _add_folder(parser: argparse.ArgumentParser, base_url: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--base_url", default=base_url, metavar="URL", help="a mirror of the published folder")
    parser.add_argument(
        "--jobs",
        type=int,
        default=DEFAULT_JOBS,
        metavar="N",
        help=f"files downloaded at the same time (default {DEFAULT_JOBS})",
    )


def _run_corpus(arguments: argparse.Namespace) -> str:
    paths = download_corpus(
        arguments.corpus, arguments.choice, arguments.out, arguments.base_url, num_jobs=arguments.jobs
    )
    return f"{len(paths)} file{'s' if len(paths) > 1 else ''} in {arguments.out}"


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
    return str(download_llm(arguments.name, arguments.cache))


def download_llm(name: str, cache_dir: Path | None = None) -> Path:
    """Make a language model loadable offline and return its folder.

    Args:
        name: Short name (configs/llm), local folder or hub id.
        cache_dir: Folder of converted models; None means `get_cache_dir()`.

    Raises:
        OSError: The download failed.
        ValueError: There is no model of this name.
    """
    from tslm.config.compose import resolve_source  # these bring in torch, which the other subcommands do not need
    from tslm.models.llm.store import fetch_llm

    return fetch_llm(resolve_source(name), cache_dir)


if __name__ == "__main__":
    sys.exit(main())
