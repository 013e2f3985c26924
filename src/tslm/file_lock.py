"""One process at a time: a run's folder, or a file that a long command writes."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from tslm.files import read_json, write_json

_WAIT_FOR_CHILDREN_S = 15.0  # a killed process' data workers keep its lock until they notice


@contextmanager
def hold_lock(path: Path, what: str, now: datetime) -> Iterator[None]:
    """Hold the lock file `path` within the block; its folder is made.

    Who holds it stands in `<path>.json`. Both files are removed at the end. A process that is killed leaves them, and
    the lock is free all the same.

    Args:
        path: of the lock file.
        what: what is locked, for the message.
        now: with a time zone.

    Raises:
        BlockingIOError: another process holds the lock; the message names its host, its number and its start.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder_path = path.with_name(f"{path.name}.json")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _wait_for_the_dead(lock, holder_path, what)
    try:
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "started_at": now.isoformat(timespec="seconds")}
        write_json(holder, holder_path)
        yield
    finally:
        holder_path.unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # while it is held: whoever opened it before finds it gone and opens a new one
        lock.release()


def _wait_for_the_dead(lock: FileLock, holder_path: Path, what: str) -> None:
    """Acquire a lock that only the children of a killed process hold; raise BlockingIOError for any other."""
    holder: dict[str, Any] = {}
    with suppress(ValueError, json.JSONDecodeError, OSError):
        holder = read_json(holder_path)
    is_here = holder.get("host") == socket.gethostname()
    if is_here and not psutil.pid_exists(int(holder.get("pid", 0))):
        with suppress(Timeout):
            lock.acquire(timeout=_WAIT_FOR_CHILDREN_S)
            return
    who = "another process"
    if holder:
        who = f"process {holder.get('pid')} on {holder.get('host')}, which began at {holder.get('started_at')}"
    raise BlockingIOError(f"{what} is in use by {who}; wait for it, or stop it")
