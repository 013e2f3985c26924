"""A service of jobs for tests."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from tslm.pretrained.table import FOLDER
from tslm.serve.app import listen
from tslm.serve.jobs.pool import JobFolders, NightPool, PoolLimits
from tslm.serve.jobs.results import RESULTS
from tslm.serve.jobs.store import JobStore
from tslm.serve.rest.service import StagingService

MENU = {"human": FOLDER / "human"}


def build_service(
    folder: Path, menu: Mapping[str, Path] = MENU, max_waiting: int = 3, max_upload_bytes: int = 100_000, **more: Any
) -> StagingService:
    """A service without workers; jobs wait until a test ends them."""
    store, folders = JobStore(folder / "jobs.sqlite", max_waiting), JobFolders(folder / "jobs")
    pool = NightPool(store, folders, menu, PoolLimits())
    service = StagingService(store, folders, pool, menu, max_upload_bytes, **more)
    service.recover()
    return service


HYPNOGRAM = "epoch_idx,stage\n" + "".join(f"{epoch},{'N2' if epoch != 7 else 'UNSCORED'}\n" for epoch in range(3, 9))


def end_with_files(service: StagingService, job_id: str, leave_out: tuple[str, ...] = ("explanations",)) -> None:
    """Let a job be done, with results that say their name, and a hypnogram of the epochs 3 to 8."""
    folder = service.folders.result(job_id)
    folder.mkdir(parents=True)
    for name, result in RESULTS.items():
        if name not in leave_out:
            text = HYPNOGRAM if name == "csv" else name
            (folder / result.file_name.format(bids="sub-1_task-sleep")).write_text(text)
    service.store.end(job_id)


@contextmanager
def run_app(app: Any) -> Iterator[str]:
    """An application on a port of this machine, on a thread; gives its address."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = server.force_exit = True
        thread.join()
