"""What a worker process does: it stages one night after another, by the functions that `tslm stage` uses."""

import os
import re
import signal
import threading
from collections.abc import Callable
from contextlib import redirect_stderr
from io import TextIOBase
from multiprocessing import connection, parent_process

from tslm.data.cohorts.cohort import parse_reading
from tslm.data.readers.open import open_signals
from tslm.export.table import write_exports
from tslm.serve.jobs.options import check_options
from tslm.serve.jobs.results import RESULTS
from tslm.serve.jobs.tasks import Ended, NightTask, Progress
from tslm.staging.models import StagingModels
from tslm.staging.night import NightStager, StagingOptions

_FRACTION = re.compile(r"(\d+)/(\d+) \[")  # of a bar of tqdm
_DATA_ERRORS = (ValueError, OSError, ImportError, MemoryError)  # of a recording; anything else is an error of ours


def run_worker(pipe: "connection.Connection[Progress | Ended, NightTask]") -> None:
    """Stage the nights that come through the pipe until it is closed, or the service has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    stagers = LastStager()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(try_night(task, stagers, lambda share: pipe.send(Progress(share))))


def _end_with_parent() -> None:
    """A worker without its service would write beside the one of the next service."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


class LastStager:
    """Builds stagers, which take over the models that the last one has loaded."""

    def __init__(self) -> None:
        self._last: NightStager | None = None

    def build(self, models: StagingModels, options: StagingOptions, device: str) -> NightStager:
        """A stager of these models."""
        stager, last = NightStager(models, options, device), self._last
        if last is not None and last.models.classifier_dir == models.classifier_dir:
            stager.scorer = last.scorer
        if last is not None and models.writer_dir and last.models.writer_dir == models.writer_dir:
            stager.writer = last.writer
        self._last = stager
        return stager


def try_night(task: NightTask, stagers: LastStager, report: Callable[[float], None]) -> Ended:
    """Stage a night, write all its results, and say how it ended.

    `report` is called when it begins, and with the share of its texts.
    """
    report(0.0)
    try:
        with redirect_stderr(_BarReader(report)):
            models, options = check_options(task.options, task.menu)
            models.fetch_llm()
            stager = stagers.build(models, options, task.device)
            reading = parse_reading(task.options.read).signals
            night = stager.stage(open_signals(task.recording, reading), show_progress=True)
            write_exports(night, task.out_dir, exports=RESULTS)
    except _DATA_ERRORS as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError):
            text = f"not enough memory for this recording ({text})"
        return Ended(text.replace(f"{task.recording.parent}{os.sep}", ""))
    return Ended()


class _BarReader(TextIOBase):
    """Reads how far a progress bar is that is written to it."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self._report = report

    def write(self, text: str) -> int:
        for done, total in _FRACTION.findall(text):
            self._report(min(1.0, int(done) / max(1, int(total))))
        return len(text)

    def isatty(self) -> bool:
        return False
