"""`tslm serve`: the REST service, and the page on which a person drops a recording."""

import argparse
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

TOKEN_VARIABLE = "TSLM_TOKEN"
_GB = 1024**3


def serve(arguments: argparse.Namespace) -> str:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ValueError, FileNotFoundError: a mistake in the call, or a model that is not there.
        OSError: the address or the folder is in use or cannot be written.
        ImportError: the extra `serve` is not installed.
    """
    from tslm.file_lock import hold_lock
    from tslm.serve.app import check_installed, is_loopback, listen, serve_until_interrupted

    check_installed()
    token = arguments.token if arguments.token is not None else os.environ.get(TOKEN_VARIABLE, "")
    if not is_loopback(arguments.host) and not token:
        raise ValueError(
            f"--host {arguments.host} can be reached from elsewhere: set {TOKEN_VARIABLE}, or give --token"
        )
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        raise ValueError("a token is made of ASCII letters, digits and signs without spaces")
    limits = {"workers": 1, "waiting": 1, "timeout_s": 1, "memory_gb": 0.25, "max_upload_mb": 1, "keep_h": 0.01}
    for name, least in limits.items():
        if not getattr(arguments, name) >= least:  # nan is none
            raise ValueError(f"--{name} {getattr(arguments, name):g}; wanted {least:g} or more")

    from tslm.serve.jobs.options import read_menu
    from tslm.serve.jobs.pool import JobFolders, NightPool, PoolLimits
    from tslm.serve.jobs.store import JobStore
    from tslm.serve.rest.routes import build_service_app
    from tslm.serve.rest.service import StagingService

    menu = read_menu(arguments.model)
    names = () if is_loopback(arguments.host) else (socket.gethostname(), socket.getfqdn())
    with (
        listen(arguments.host, arguments.port) as listener,
        hold_lock(arguments.data / "service.lock", str(arguments.data), datetime.now(UTC)),
    ):
        store = JobStore(arguments.data / "jobs.sqlite", arguments.waiting)
        folders = JobFolders(arguments.data.resolve() / "jobs")
        pool_limits = PoolLimits(
            arguments.workers, arguments.timeout_s, int(arguments.memory_gb * _GB), arguments.keep_h * 3600
        )
        pool = NightPool(store, folders, menu, pool_limits, arguments.device)
        service = StagingService(store, folders, pool, menu, int(arguments.max_upload_mb * 1e6), token)
        service.recover()
        # uvicorn ends by raising the signal again; as an interrupt it lets the workers be ended.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // arguments.workers)))  # a worker's
        pool.start()
        try:
            serve_until_interrupted(
                build_service_app(service, (*names, *arguments.host_name)), listener, arguments.host, _announce
            )
        finally:
            pool.stop()
            store.close()
    return "\nended; nights in work are staged after the next start"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `tslm serve`."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("served"),
        metavar="DIR",
        help="where jobs, recordings and results are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="NAME|NAME=FOLDER",
        help="scorers that requests may name, the first is the default; default: those of the package",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; any other than this machine's needs a token"
    )
    parser.add_argument("--port", type=int, default=8000, help="0: any free port (default: %(default)s)")
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"that every request needs; better by ${TOKEN_VARIABLE}, which `ps` does not show",
    )
    parser.add_argument(
        "--host_name",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further names of this machine, or of a proxy before it",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="nights at a time, a process each (default: 1)"
    )
    parser.add_argument(
        "--waiting", type=int, default=32, metavar="M", help="nights that may wait; then 429 (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout_s", type=float, default=3600.0, metavar="S", help="longest time of a night (default: %(default)g)"
    )
    parser.add_argument(
        "--memory_gb", type=float, default=8.0, metavar="GB", help="most memory of a worker (default: %(default)g)"
    )
    parser.add_argument(
        "--max_upload_mb", type=float, default=4000.0, metavar="MB", help="of one recording (default: %(default)g)"
    )
    parser.add_argument(
        "--keep_h",
        type=float,
        default=168.0,
        metavar="H",
        help="jobs are deleted so long after their end (default: %(default)g)",
    )
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1 ...; default: a GPU if there is one")


def _announce(address: str) -> None:
    sys.stdout.write(f"{address}\nCtrl-C ends\n")
    sys.stdout.flush()
