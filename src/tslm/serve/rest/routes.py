"""The table of routes, and the application that it makes."""

from pathlib import Path

from tslm import __version__
from tslm.serve.app import Route, build_app
from tslm.serve.guard import Guard
from tslm.serve.jobs.options import OptionsError
from tslm.serve.jobs.results import RESULTS, guess_media_type
from tslm.serve.rest.documents import (
    UPLOAD_BODY,
    JobDocument,
    JobsDocument,
    StatusDocument,
    VersionDocument,
    build_documentation,
    document_files,
    document_responses,
)
from tslm.serve.rest.metrics import MEDIA_TYPE
from tslm.serve.rest.page import build_content_policy, render_page
from tslm.serve.rest.service import StagingService

_UPLOAD_PATHS = frozenset({"/v1/jobs"})
_OPEN_PATHS = frozenset({"/health", "/ready"})  # for what watches over the service; they tell nothing else


def build_service_app(service: StagingService, host_names: tuple[str, ...] = ()) -> Guard:
    """The application, behind its guard; `host_names` as of `tslm.serve.app.build_app`."""
    return build_app(
        build_routes(service),
        host_names,
        {OptionsError: 422},
        build_content_policy(),
        build_documentation(__version__, bool(service.token)),
        token=service.token,
        open_paths=_OPEN_PATHS,
        upload_paths=_UPLOAD_PATHS,
    )


def build_routes(service: StagingService) -> list[Route]:
    """All addresses."""
    job = document_responses(404, model=JobDocument)
    created = document_responses(400, 403, 413, 415, 422, 429, model=JobDocument, status=202)
    explained = document_responses(400, 403, 404, 409, 413, 415, 422, 429, model=JobDocument, status=202)
    files = document_files({guess_media_type(Path(each.file_name)): each.summary for each in RESULTS.values()})
    return [
        Route("GET", "/", render_page, "text/html; charset=utf-8", documented=False),
        Route(
            "POST",
            "/v1/jobs",
            service.create_job,
            status=202,
            summary="Upload a recording to be staged",
            responses=created,
            body=UPLOAD_BODY,
        ),
        Route(
            "GET",
            "/v1/jobs",
            service.list_jobs,
            summary="List jobs, the newest first",
            responses=document_responses(422, model=JobsDocument),
        ),
        Route("GET", "/v1/jobs/{job_id}", service.show_job, summary="How far a job is", responses=job),
        Route(
            "DELETE",
            "/v1/jobs/{job_id}",
            service.delete_job,
            status=204,
            summary="Delete a job with its recording and results; work on it is ended",
            responses={**document_responses(403, 404), 204: {"description": "It is gone."}},
        ),
        Route(
            "GET",
            "/v1/jobs/{job_id}/result/{result}",
            service.send_result,
            summary=f"A result of a job that is done: {', '.join(RESULTS)}",
            responses={**document_responses(404, 409), 200: files},
        ),
        Route(
            "POST",
            "/v1/jobs/{job_id}/explanations",
            service.explain_epochs,
            status=202,
            summary="Explain chosen epochs of a job that is done, as a new job on the same recording",
            responses=explained,
        ),
        Route(
            "GET",
            "/health",
            service.show_health,
            summary="Whether the service runs",
            responses=document_responses(model=StatusDocument),
        ),
        Route(
            "GET",
            "/ready",
            service.show_ready,
            summary="Whether it can take work: workers and disk",
            responses=document_responses(model=StatusDocument),
        ),
        Route(
            "GET",
            "/version",
            service.show_version,
            summary="Version, models, formats and results",
            responses=document_responses(model=VersionDocument),
        ),
        Route(
            "GET",
            "/metrics",
            service.metrics.render,
            MEDIA_TYPE,
            summary="Figures for Prometheus",
            responses={**document_responses(), 200: document_files({"text/plain": 'tslm_jobs{state="done"} 3.0'})},
        ),
    ]
