"""`tslm review`: a local page for clinicians to rate explanations, export of the reviews, and agreement."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tslm.review.run_epochs import ReviewRun
    from tslm.review.store import ReviewStore

_LOGGER = logging.getLogger(__name__)
_STORE_FILE = "reviews.sqlite"


def review(arguments: argparse.Namespace) -> str:
    """Serve the page until Ctrl-C, or write what the options ask for.

    Raises:
        ValueError, OSError, ImportError: an error in the run, the database, the call or the installation.
    """
    from tslm.review.run_epochs import read_review_run
    from tslm.review.store import ReviewStore

    if arguments.blind and arguments.unblind:
        raise ValueError("--blind and --unblind exclude one another; give one of them")
    run = read_review_run(arguments.run_dir, arguments.classifier)
    path = arguments.db or run.predictions_path.with_name(_STORE_FILE)
    is_output = any(out is not None for out in (arguments.export, arguments.export_hypnogram, arguments.agreement))
    if is_output and not path.is_file():
        raise FileNotFoundError(f"there are no reviews at {path}; collect some with: tslm review {arguments.run_dir}")

    def open_store() -> ReviewStore:
        return ReviewStore(
            path, run.predictions_sha256, run.predictions_path, arguments.blind, not arguments.hide_checks
        )

    is_blinded = arguments.blind
    if path.is_file():
        with open_store() as store:
            is_blinded = store.is_blinded
            if arguments.blind and not is_blinded:
                raise ValueError(f"{path} was begun with the expert's label shown; begin a blinded one with --db FILE")
            if is_output:
                return _write_outputs(arguments, run, store)
    return _serve(arguments, run, is_blinded, open_store)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `tslm review`."""
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="folder of a run, or its test_predictions.jsonl")
    parser.add_argument("--data", type=Path, metavar="DIR", help="prepared cohort, to draw the signals")
    parser.add_argument(
        "--classifier", type=Path, metavar="RUN", help="run of a classifier that scored the same epochs"
    )
    parser.add_argument(
        "--reviewer", metavar="NAME", help="this person's reviews only; default: the page asks for a name"
    )
    parser.add_argument("--blind", action="store_true", help="hide the expert's label permanently; see --unblind")
    parser.add_argument("--unblind", action="store_true", help="show the expert's label of a blinded review")
    parser.add_argument(
        "--hide_checks", action="store_true", help="do not mark which claims of a text the measurements support"
    )
    parser.add_argument(
        "--order",
        choices=("uncertainty", "time", "random"),
        default="uncertainty",
        help="order of the epochs; default: least certain first",
    )
    parser.add_argument("--seed", type=int, default=0, help="of --order random")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N epochs, the same for all reviewers")
    parser.add_argument("--db", type=Path, metavar="FILE", help=f"default: {_STORE_FILE} beside the predictions")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; there is no login (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=8765, help="0: any free port (default: %(default)s)")
    parser.add_argument("--export", type=Path, metavar="FILE.csv", help="write all reviews as a table, serve nothing")
    parser.add_argument(
        "--export_hypnogram",
        type=Path,
        metavar="FILE.csv",
        help="write the reviewer's stages, the model's where there is none, as a hypnogram; of several recordings as "
        "FILE_RECORDING.csv each; serve nothing",
    )
    parser.add_argument(
        "--agreement",
        type=Path,
        nargs="?",
        const=Path("-"),
        metavar="FILE.json",
        help="print or write the agreement of reviewers, serve nothing",
    )


def _write_outputs(arguments: argparse.Namespace, run: "ReviewRun", store: "ReviewStore") -> str:
    from tslm.export.rows import write_rows
    from tslm.files import write_text
    from tslm.review.agreement import render_agreement, score_agreement
    from tslm.review.hypnograms import build_reviewed_hypnograms
    from tslm.review.records import render_reviews

    reviews = store.list_latest()
    with_expert = arguments.unblind or not store.is_blinded
    lines = [] if with_expert else ["blinded: without the expert's label; --unblind shows it"]
    if arguments.export is not None:
        write_text(render_reviews(reviews, run, with_expert), arguments.export)
        lines.append(f"{len(reviews)} reviews written: {arguments.export}")
    if arguments.export_hypnogram is not None:
        hypnograms = build_reviewed_hypnograms(reviews, run, arguments.reviewer)
        for recording, rows in hypnograms.items():
            path = arguments.export_hypnogram
            path = path if len(hypnograms) == 1 else path.with_stem(f"{path.stem}_{recording}")
            write_rows(rows, path)
            num_reviewed = sum(row["is_reviewed"] for row in rows)
            lines.append(f"{num_reviewed} of {len(rows)} epochs reviewed, hypnogram written: {path}")
    if arguments.agreement is not None:
        scores = score_agreement(reviews, run.options, run.answers, run.expert if with_expert else None)
        if arguments.agreement == Path("-"):
            lines.append(render_agreement(scores))
        else:
            write_text(json.dumps(scores, indent=1, ensure_ascii=False) + "\n", arguments.agreement)
            lines.append(f"agreement written: {arguments.agreement}")
    return "\n".join(lines)


def _serve(
    arguments: argparse.Namespace, run: "ReviewRun", is_blinded: bool, open_store: Callable[[], "ReviewStore"]
) -> str:
    """Serve the page. The store, which is begun blinded or not for good, is opened when all else has worked."""
    import socket

    from tslm.predictions.scorings import count_unreferenced, render_unreferenced
    from tslm.review.page import ReviewPages, build_content_policy
    from tslm.review.records import check_reviewer
    from tslm.review.run_epochs import order_epochs
    from tslm.review.service import STATUS_OF_ERROR, ReviewService
    from tslm.serve.app import build_app, check_installed, is_loopback, listen, serve_until_interrupted

    check_installed()
    if arguments.reviewer is not None:
        check_reviewer(arguments.reviewer)
    queue = order_epochs(run, arguments.order, arguments.seed, arguments.limit)
    pages = ReviewPages(
        run,
        run.rows[queue[0]].get("recording", ""),
        arguments.data,
        blinded=is_blinded and not arguments.unblind,
        checks_shown=not arguments.hide_checks,
    )
    policy = build_content_policy(pages.render())
    names = () if is_loopback(arguments.host) else (socket.gethostname(), socket.getfqdn())
    with listen(arguments.host, arguments.port) as listener, open_store() as store:
        if arguments.unblind and store.is_blinded:
            store.unblind()
            _LOGGER.warning("unblinded: reviews from now on are marked as made with the expert's label shown")
        if store.is_blinded and not arguments.blind:
            _LOGGER.warning("%s was begun blinded and stays blinded; --unblind shows the expert's label", store.path)
        if not is_loopback(arguments.host):
            _LOGGER.warning("there is no login: anyone who reaches %s can read and change reviews", arguments.host)
        service = ReviewService(run, store, queue, arguments.reviewer)
        app = build_app(service.build_routes(pages.render), names, STATUS_OF_ERROR, policy)

        def announce(address: str) -> None:
            if line := render_unreferenced(count_unreferenced(run.scorings)):
                sys.stdout.write(f"{line}\n")
            sys.stdout.write(f"{len(queue)} epochs to review at {address}\nCtrl-C ends; reviews are in {store.path}\n")
            sys.stdout.flush()

        serve_until_interrupted(app, listener, arguments.host, announce)
        progress = service.get_progress()
    done = ", ".join(f"{name} {number}" for name, number in progress["num_complete"].items())
    return f"\nended; complete of {progress['num_epochs']}: {done or 'none'}"
