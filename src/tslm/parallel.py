"""Many nights at a time: on processes of this machine, or on a Dask or Ray cluster that runs already.

A night that fails, even one that takes its process with it, stops no other. Here joblib runs the nights; a cluster is
asked by its own client, because joblib's backends for clusters wait for ever for a worker that is gone.
"""

import argparse
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from tslm.files import read_json

CONNECT_S = 5.0  # within which a cluster answers
_LOGGER = logging.getLogger(__name__)
_FAILURES = (ValueError, OSError, ImportError, MemoryError, FloatingPointError, RuntimeError)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """A night that was worked on.

    Attributes:
        item: the night, as it was given.
        result: of the function; None where it failed.
        error: why it failed, in one line; empty where it did not.
    """

    item: Item
    result: Result | None
    error: str = ""


@dataclass(frozen=True)
class Workers:
    """Where nights are worked on.

    Attributes:
        num: processes of this machine; -1: one a core. A cluster uses all of its workers.
        backend: name in `BACKENDS`.
        address: of the cluster, such as tcp://10.0.0.1:8786, or Dask's scheduler file.
    """

    num: int = 1
    backend: str = "local"
    address: str = ""

    def __post_init__(self) -> None:
        if self.num == 0 or self.num < -1:
            raise ValueError(f"--workers {self.num}: expected 1 or more, or -1 for all cores")
        if self.backend not in BACKENDS:
            raise ValueError(f"--backend {self.backend}: expected one of: {', '.join(BACKENDS)}")
        if (self.backend != "local") != bool(self.address):
            missing = "--backend dask or ray" if self.address else f"--address of the {self.backend} cluster"
            raise ValueError(f"--backend and --address go together; give {missing}")


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command that works on several nights."""
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="nights at a time, a process each (default 1); -1: all cores",
    )
    parser.add_argument(
        "--backend", default="local", metavar="NAME", help=f"{', '.join(BACKENDS)}: a cluster that runs already"
    )
    parser.add_argument(
        "--address",
        default="",
        metavar="ADDRESS",
        help="of the cluster: tcp://HOST:8786, Dask's scheduler file, ray://",
    )


def read_workers(arguments: argparse.Namespace) -> Workers:
    """The workers of a command line. ValueError if the arguments do not go together."""
    return Workers(arguments.workers, arguments.backend, arguments.address)


def map_nights(
    function: Callable[[Item], Result], items: Sequence[Item], workers: Workers
) -> Iterator[Done[Item, Result]]:
    """Apply a function to each night, in order; a failure is a result.

    Function, nights and results are pickled. A worker of a cluster works in the folder of the command.

    Args:
        function: of a night; it writes what is large.
        items: the nights.
        workers: where they are worked on.

    Raises:
        OSError: the cluster does not answer, or is lost; the message names it.
        ImportError: the extra `cluster` is not installed here, or the project on a worker.
        ValueError: the address cannot be read.
    """
    if items:
        yield from BACKENDS[workers.backend](function, items, workers)


def map_parts(function: Callable[[Item], Result], parts: Sequence[Item], workers: Workers) -> Iterator[Result]:
    """Apply a function to each part of one thing, in order; errors as `map_nights`, and ValueError if a part fails."""
    for done in map_nights(function, parts, workers):
        if done.error:
            raise ValueError(done.error)
        yield done.result  # type: ignore[misc]


def list_failures(failed: Iterable[tuple[str, str]], num_nights: int, listed: int = 20) -> str:
    """A line that names the nights that failed, each with its error; empty where none did.

    Args:
        failed: names and errors.
        num_nights: all that were worked on.
        listed: how many are named.
    """
    failures = list(failed)
    if not failures:
        return ""
    named = "; ".join(f"{name}: {error}" for name, error in failures[:listed])
    return f"{len(failures)} of {num_nights} nights failed: {named}{'; ...' * (len(failures) > listed)}"


def _run_local(
    function: Callable[[Item], Result], items: Sequence[Item], workers: Workers
) -> Iterator[Done[Item, Result]]:
    """Processes by joblib. All of them end with one; the night that ended it is found by halving what is left."""
    from joblib import Parallel, delayed  # 0.1 s, which a parser of arguments does not need

    num_done = 0
    tasks = (delayed(_attempt)(function, item) for item in items)
    try:
        for done in Parallel(n_jobs=workers.num, return_as="generator")(tasks):
            yield done
            num_done += 1
    except BrokenProcessPool as loss:
        rest = items[num_done:]
        if len(rest) == 1:
            yield _report_loss(rest[0], loss)
            return
        half = (len(rest) + 1) // 2
        num = workers.num if workers.num != 1 else 2  # never in this process
        for part in (rest[:half], rest[half:]):
            yield from _run_local(function, part, Workers(num))


def _run_dask(
    function: Callable[[Item], Result], items: Sequence[Item], workers: Workers
) -> Iterator[Done[Item, Result]]:
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise ImportError("--backend dask needs the extra `cluster`: pip install 'tslm-sleep[cluster]'") from error
    address = _find_dask(workers.address)
    with Client(address, timeout=CONNECT_S, set_as_default=False) as client:
        if not client.ncores():  # one that grows with its tasks, or waits in a queue
            _LOGGER.warning("the Dask cluster at %s has no worker yet; waiting for one", address)
        try:
            futures = client.map(_attempt, [function] * len(items), items, [Path.cwd()] * len(items), pure=False)
            futures.reverse()  # each is released once it is done
            for item in items:
                try:
                    yield futures.pop().result()
                except KilledWorker as loss:
                    yield _report_loss(item, loss)
        except CancelledError as error:
            raise OSError(f"the Dask cluster at {address} was lost; run the same command again") from error
        except ModuleNotFoundError as error:
            raise ImportError(f"a worker of {address} lacks the project: {error}; install it there") from error


def _find_dask(address: str) -> str:
    """The address of a scheduler that answers; OSError where none does."""
    import asyncio

    from distributed.comm import connect

    if Path(address).is_file():
        address = str(read_json(Path(address)).get("address", ""))
    _check_address(address)

    async def greet() -> None:
        (await connect(address, timeout=CONNECT_S)).abort()

    try:
        with ThreadPoolExecutor(1) as pool:  # the caller may have a loop of its own, as a notebook has
            pool.submit(lambda: asyncio.run(asyncio.wait_for(greet(), CONNECT_S))).result()
    except (OSError, ValueError, MemoryError) as error:  # whatever else listens there
        raise OSError(f"no Dask scheduler answers at {address} within {CONNECT_S:g} s; is that its address?") from error
    return address


def _run_ray(
    function: Callable[[Item], Result], items: Sequence[Item], workers: Workers
) -> Iterator[Done[Item, Result]]:
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise ImportError(
            "--backend ray needs the package ray of the extra `cluster`: pip install 'tslm-sleep[cluster]'"
        ) from error
    _check_address(workers.address)
    try:
        ray.init(address=workers.address, logging_level="ERROR", log_to_driver=False)
        task = ray.remote(max_retries=0)(_attempt)
        results = [task.remote(function, item, Path.cwd()) for item in items]
        results.reverse()
        for item in items:
            try:
                yield ray.get(results.pop())
            except ray.exceptions.WorkerCrashedError as loss:
                yield _report_loss(item, loss)
    except ray.exceptions.RayError as error:
        raise OSError(f"the Ray cluster at {workers.address} failed: {' '.join(str(error).split())}") from error
    finally:
        ray.shutdown()


def _attempt(function: Callable[[Item], Result], item: Item, folder: Path | None = None) -> Done[Item, Result]:
    try:
        with chdir(folder or Path.cwd()):
            return Done(item, function(item))
    except _FAILURES as error:
        return Done(item, None, " ".join(str(error).split()) or type(error).__name__)


def _report_loss(item: Item, loss: BaseException) -> Done[Item, Any]:
    return Done(item, None, f"its process ended ({type(loss).__name__}); was there enough memory?")


def _check_address(address: str) -> None:
    """Raise OSError where nothing listens at an address, ValueError where it is none."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ValueError(f"--address {address}: expected HOST:PORT, such as tcp://10.0.0.1:8786, or a scheduler file")
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        raise OSError(f"nothing answers at {address} ({error}); is the cluster running?") from error


BACKENDS: dict[str, Callable[..., Iterator[Done[Any, Any]]]] = {
    "local": _run_local,
    "dask": _run_dask,
    "ray": _run_ray,
}
ONE_WORKER = Workers()  # nights one by one, in this process
