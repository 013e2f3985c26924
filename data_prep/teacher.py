r"""Let a teacher model behind a chat endpoint write rationales for a prepared cohort.

Example:
    python -m data_prep.teacher --data prepared/cassette --out prepared/cassette_taught \\
        --base_url https://api.openai.com/v1 --model gpt-4o-mini --limit 1000
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.rationales.chat import ChatClient, Endpoint, RateLimit
from data_prep.rationales.teacher import teach_cohort
from tslm.command import run_command

_CACHE_DIR = "teacher_answers"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 the endpoint or the disk failed, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: _teach(arguments), "run the same command again to continue")


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.teacher`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.teacher",
        description="Copy a prepared cohort with rationales by a teacher model. A rationale is kept where it ends in "
        "the expert's label and every claim in it that can be checked was measured; other epochs keep the one "
        "written from evidence. Answers are kept on disk: a second run asks nothing.",
        epilog="example: python -m data_prep.teacher --data prepared/cassette --out prepared/cassette_taught "
        "--base_url https://api.openai.com/v1 --model gpt-4o-mini --limit 1000",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared cohort")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the copy")
    parser.add_argument("--base_url", required=True, metavar="URL", help="OpenAI-compatible, up to and including /v1")
    parser.add_argument("--model", required=True, metavar="NAME", help="as the endpoint calls it")
    parser.add_argument("--api_key_env", default="OPENAI_API_KEY", metavar="NAME", help="variable that holds the key")
    parser.add_argument("--requests_per_minute", type=float, default=0, metavar="N", help="0 (default): no limit")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="requests under way at once (default 4)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="ask for so many epochs; 0 (default): all")
    parser.add_argument("--timeout_s", type=float, default=Endpoint.timeout_s, metavar="S", help="of one request")
    parser.add_argument("--num_tries", type=int, default=Endpoint.num_tries, metavar="N", help="of one request")
    parser.add_argument("--cache", type=Path, metavar="DIR", help=f"of answers; default: {_CACHE_DIR} in --out")
    return parser


def _teach(arguments: argparse.Namespace) -> str:
    for name in ("requests_per_minute", "limit"):
        if getattr(arguments, name) < 0:
            raise ValueError(f"--{name} {getattr(arguments, name)}: wanted 0 or more")
    for name in ("workers", "timeout_s", "num_tries"):
        if not getattr(arguments, name) > 0:
            raise ValueError(f"--{name} {getattr(arguments, name)}: wanted more than 0")
    endpoint = Endpoint(
        arguments.base_url,
        arguments.model,
        os.environ.get(arguments.api_key_env, "").strip(),
        timeout_s=arguments.timeout_s,
        num_tries=arguments.num_tries,
    )
    client = ChatClient(
        endpoint, arguments.cache or arguments.out / _CACHE_DIR, RateLimit(arguments.requests_per_minute)
    )
    participants, counts = teach_cohort(client, arguments.data, arguments.out, arguments.limit, arguments.workers)
    listed = "\n".join(f"  {count} {what}" for what, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{len(participants)} recordings in {arguments.out}, {client.num_asked} requests sent\n{listed}"


if __name__ == "__main__":
    sys.exit(main())
