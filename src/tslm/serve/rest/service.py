"""What answers the requests of the REST service: recordings come in as jobs, and their results go out."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response

from tslm import __version__
from tslm.files import read_table
from tslm.labels import SleepStage
from tslm.predictions.smoothing import METHODS
from tslm.serve.app import query
from tslm.serve.jobs.options import OptionsError, check_options
from tslm.serve.jobs.pool import JobFolders, NightPool
from tslm.serve.jobs.results import RESULTS, guess_media_type
from tslm.serve.jobs.store import Job, JobStore, QueueFullError
from tslm.serve.jobs.tasks import JobOptions
from tslm.serve.jobs.uploads import RECORDINGS, TooLongError, UnknownFormatError, receive_form
from tslm.serve.rest.documents import (
    ExplainRequest,
    describe_job,
)
from tslm.serve.rest.metrics import Metrics
from tslm.serve.rest.page import REPORT_HEADERS
from tslm.staging.night import parse_epochs

_IDLE_S = 20.0  # a client that sends nothing for so long has gone
_UPLOAD_S = 3600.0
_MAX_LISTED = 1000
_MAX_TEXT = 200
_FREE_BYTES = 256 * 1024**2  # with less on the disk the service is not ready


@dataclass(frozen=True)
class StagingService:
    """What answers the requests.

    Attributes:
        store: the jobs.
        folders: their files.
        pool: the workers.
        menu: scorers by name.
        max_upload_bytes: of one recording.
        token: that requests need; empty: none.
        idle_s: so long an upload may stand still.
    """

    store: JobStore
    folders: JobFolders
    pool: NightPool
    menu: Mapping[str, Path]
    max_upload_bytes: int
    token: str = ""
    idle_s: float = _IDLE_S
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", Metrics(self.store.count, self.pool.measure_memory_bytes))
        self.pool.on_end = self.metrics.end_night

    def recover(self) -> None:
        """After a start, before anything is answered: what the last service left is put in order."""
        self.store.recover()
        self.folders.keep_only(self.store.list_ids())

    async def create_job(
        self,
        request: Request,
        model: Annotated[
            str, query(description="scorer, see /version; empty: the first", max_length=_MAX_TEXT, examples=["human"])
        ] = "",
        explain: Annotated[
            str,
            query(description="none, uncertain, all, or epochs such as 12,40-60", max_length=1000, examples=["none"]),
        ] = "none",
        channel: Annotated[
            str, query(description="EEG, or a difference; empty: chosen", max_length=_MAX_TEXT, examples=["C4 - M1"])
        ] = "",
        extra_channels: Annotated[
            list[Annotated[str, query(max_length=_MAX_TEXT)]] | None,
            query(description="EOG and EMG, in the order of the training; none: chosen", max_length=8),
        ] = None,
        epoch_s: Annotated[float, query(description="must be the model's; 0: whatever it is", ge=0, le=3600)] = 0.0,
        smoothing: Annotated[str, query(description="none, median, hmm or posterior", max_length=_MAX_TEXT)] = "none",
        read: Annotated[
            list[Annotated[str, query(max_length=_MAX_TEXT)]] | None,
            query(description="how a CSV or .mat file is read: fs_hz=100, unit=mV, time_column=t", max_length=8),
        ] = None,
    ) -> Response:
        """Take a recording; what it is becomes known when a worker reads it."""
        name = model or next(iter(self.menu))
        channels = tuple(extra_channels or ())
        options = JobOptions(name, explain, channel, channels, epoch_s, smoothing, tuple(read or ()))
        try:
            await run_in_threadpool(check_options, options, self.menu)
            length = request.headers.get("content-length", "0")
            if length.isdigit() and int(length) > 2 * self.max_upload_bytes:
                raise TooLongError
            job = await run_in_threadpool(self.store.add, options)
            return self._answer(await self._receive(request, job), 202)
        except HTTPException as error:
            self.metrics.refused.labels(error.status_code).inc()
            raise
        except OptionsError:
            self.metrics.refused.labels(422).inc()
            raise
        except QueueFullError:
            self.metrics.refused.labels(429).inc()
            raise self._refuse_full() from None
        except TooLongError:
            self.metrics.refused.labels(413).inc()
            raise HTTPException(413, f"a recording may have {self.max_upload_bytes / 1e6:g} MB at most") from None

    async def _receive(self, request: Request, job: Job) -> Job:
        """The job with its recording on disk; without a trace of it if anything goes wrong."""
        folder = self.folders.upload(job.id)
        is_complete = False
        try:
            async with asyncio.timeout(_UPLOAD_S):
                stream = _limit_pauses(request.stream(), self.idle_s)
                name = await receive_form(stream, request.headers["content-type"], folder, self.max_upload_bytes)
            num_bytes = sum(path.stat().st_size for path in folder.iterdir())
            await run_in_threadpool(self.store.confirm, job.id, name)
            is_complete = True
        except UnknownFormatError as error:
            raise HTTPException(415, str(error)) from error
        except TimeoutError as error:
            raise HTTPException(408, f"nothing came for {self.idle_s:g} s, or not all in {_UPLOAD_S:g} s") from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the client has gone") from error
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        finally:
            if not is_complete:
                self.store.delete(job.id)
                self.folders.remove(job.id)
        self.metrics.uploads.inc()
        self.metrics.uploaded_bytes.inc(num_bytes)
        self.pool.wake()
        return replace(job, file=name, state="waiting")

    def list_jobs(
        self,
        state: Annotated[str, query(description="waiting, running, done or failed; empty: all", max_length=20)] = "",
        limit: Annotated[int, query(ge=1, le=_MAX_LISTED)] = 100,
    ) -> dict[str, Any]:
        """List jobs."""
        return {"jobs": [self._describe(job) for job in self.store.list_jobs(state, limit) if job.file]}

    def show_job(self, job_id: str) -> dict[str, Any]:
        """Describe a job."""
        return self._describe(self._find(job_id))

    def delete_job(self, job_id: str) -> Response:
        """Forget a job; a worker that stages it notices."""
        self._find(job_id)
        self.store.delete(job_id)
        self.folders.remove(job_id)
        return Response(status_code=204)

    def send_result(self, job_id: str, result: str) -> Response:
        """Send a file."""
        job = self._find(job_id)
        if result not in RESULTS:
            raise HTTPException(404, f"there is no result {result[:40]!r}; choose one of: {', '.join(RESULTS)}")
        if job.state != "done":
            why = f"it failed: {job.error}" if job.state == "failed" else f"it is {job.state}"
            raise HTTPException(409, f"the job has no results; {why}")
        path = self._list_results(job).get(result)
        if path is None:
            raise HTTPException(404, f"this job has no {result}: it was not asked for, or the recording gives none")
        headers = REPORT_HEADERS if result == "html" else {}
        kind = "inline" if result in ("html", "png") else "attachment"
        stem = Path(job.file).stem
        name = path.name if path.name.startswith("sub-") else f"{stem}_{path.name}"
        return FileResponse(
            path, headers=headers, media_type=guess_media_type(path), filename=name, content_disposition_type=kind
        )

    def explain_epochs(self, job_id: str, wanted: ExplainRequest) -> Response:
        """A new job on the recording of a finished one, with the same options but for the epochs that are explained."""
        job = self._find(job_id)
        if job.state != "done":
            raise HTTPException(409, f"the job is {job.state}; epochs of a job that is done are explained")
        options = replace(job.options, explain=wanted.epochs)
        if wanted.epochs == "none":
            raise OptionsError("epochs 'none' is nothing to explain")
        check_options(options, self.menu)
        if wanted.epochs not in ("uncertain", "all"):
            self._check_epochs(job, wanted.epochs)
        try:
            new = self.store.add(options)
        except QueueFullError:
            self.metrics.refused.labels(429).inc()
            raise self._refuse_full() from None
        is_complete = False
        try:
            folder = self.folders.upload(new.id)
            folder.mkdir(parents=True)
            for path in self.folders.upload(job.id).iterdir():
                os.link(path, folder / path.name)
            self.store.confirm(new.id, job.file)
            is_complete = True
        finally:
            if not is_complete:
                self.store.delete(new.id)
                self.folders.remove(new.id)
        self.pool.wake()
        return self._answer(replace(new, file=job.file, state="waiting"), 202)

    def _check_epochs(self, job: Job, text: str) -> None:
        """OptionsError where a job has not staged one of the epochs."""
        _, rows = read_table(self._list_results(job)["csv"], ",")
        staged = [int(row["epoch_idx"]) for row in rows if row["stage"] != SleepStage.UNSCORED.value]
        if missing := sorted(parse_epochs(text) - set(staged)):
            raise OptionsError(f"epoch {missing[0]} is not among the staged ones, {staged[0]} to {staged[-1]}")

    def show_health(self) -> dict[str, str]:
        """Say that the service runs."""
        return {"status": "ok"}

    def show_ready(self) -> dict[str, str]:
        """Say whether work would be done; OSError becomes 503."""
        if not self.pool.is_alive:
            raise OSError("the workers are not running")
        self.store.count("running")
        if (free := shutil.disk_usage(self.folders.root.parent).free) < _FREE_BYTES:
            raise OSError(f"{free / 1e6:.0f} MB are free on the disk; delete jobs")
        return {"status": "ready"}

    def show_version(self) -> dict[str, Any]:
        """Describe the service."""
        return {
            "version": __version__,
            "models": list(self.menu),
            "smoothing": list(METHODS),
            "formats": list(RECORDINGS),
            "results": {name: result.summary for name, result in RESULTS.items()},
        }

    def _find(self, job_id: str) -> Job:
        job = self.store.find(job_id)
        if job is None or job.state == "uploading":
            raise HTTPException(404, "there is no such job")
        return job

    def _list_results(self, job: Job) -> dict[str, Path]:
        """The files that were written, by the name of the result."""
        folder = self.folders.result(job.id)
        found = {}
        for name, result in RESULTS.items():
            pattern = result.file_name.replace("{bids}", "sub-*")
            found[name] = next(folder.glob(pattern), None)
        return {name: path for name, path in found.items() if path is not None}

    def _describe(self, job: Job) -> dict[str, Any]:
        place = self.store.count_before(job.id) + 1 if job.state == "waiting" else None
        names = self._list_results(job) if job.state == "done" else {}
        return describe_job(job, place, {name: f"/v1/jobs/{job.id}/result/{name}" for name in names})

    def _answer(self, job: Job, status: int) -> Response:
        return JSONResponse(self._describe(job), status, {"location": f"/v1/jobs/{job.id}"})

    def _refuse_full(self) -> HTTPException:
        wait_s = self.store.measure_night_s() / self.pool.limits.num_workers
        return HTTPException(
            429,
            f"{self.store.max_waiting} nights wait already; come again in {wait_s:.0f} s",
            {"retry-after": str(min(600, max(1, round(wait_s))))},
        )


async def _limit_pauses(stream: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
    """The parts of a body; TimeoutError where the next does not come."""
    while True:
        async with asyncio.timeout(idle_s):
            try:
                part = await anext(stream)
            except StopAsyncIteration:
                return
        yield part
