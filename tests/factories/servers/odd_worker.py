"""A worker process that does something else than staging; it starts quickly."""

import os
import time
from multiprocessing.connection import Connection
from typing import Any

from tslm.serve.jobs.tasks import Ended, Progress


def run_odd_worker(pipe: "Connection[Any, Any]") -> None:
    """A worker process that does what the name of the recording says."""
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        what = task.recording.stem
        pipe.send(Progress(0.0))
        held = bytearray()
        if what == "crash":
            os._exit(3)
        if what == "fail":
            pipe.send(Ended("no EEG"))
            continue
        if what == "grow":
            held = bytearray(os.urandom(1)) * 200_000_000
        if what in ("hang", "grow"):
            time.sleep(60)
        task.out_dir.mkdir(parents=True)
        (task.out_dir / "night.json").write_text(f"{os.getpid()}{len(held)}")
        pipe.send(Progress(0.5))
        pipe.send(Ended())
