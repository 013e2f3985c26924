"""What the service answers, as OpenAPI describes it, with examples."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from tslm.files import DISCLAIMER
from tslm.serve.app import Documentation
from tslm.serve.jobs.store import Job
from tslm.serve.jobs.uploads import COMPANIONS, RECORDINGS

_ID = "5f0c1d1f4e4c4a7f9a5c6f3b2d1e0a9b"


class ErrorDocument(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="one line", examples=["there is no such job"])


class OptionsDocument(BaseModel):
    """What is done with a recording."""

    model: str
    explain: str
    channel: str
    extra_channels: list[str]
    epoch_s: float
    smoothing: str
    read: list[str]


class JobDocument(BaseModel):
    """A job."""

    id: str = Field(examples=[_ID])
    state: str = Field(description="waiting, running, done or failed", examples=["done"])
    file: str = Field(description="name of the recording", examples=["night.edf"])
    options: OptionsDocument
    created_at: str = Field(description="UTC, ISO 8601", examples=["2026-12-01T22:15:00.000+00:00"])
    started_at: str | None
    ended_at: str | None
    place: int | None = Field(description="in the queue, from 1; null: it does not wait")
    progress: float = Field(description="share of the texts that are written; 1 at the end", ge=0, le=1)
    error: str | None = Field(description="why it failed")
    results: dict[str, str] = Field(description="address of each result; empty until it is done")


class JobsDocument(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobDocument]


class ExplainRequest(BaseModel):
    """Epochs to be explained."""

    epochs: str = Field(
        description="numbers from the start of the file, or uncertain or all",
        examples=["12,40-60"],
        min_length=1,
        max_length=1000,
    )


class StatusDocument(BaseModel):
    """That the service is there."""

    status: str = Field(examples=["ok"])


class VersionDocument(BaseModel):
    """The version, and what a request may ask for."""

    version: str
    models: list[str] = Field(description="scorers, the first is taken where none is named", examples=[["human"]])
    smoothing: list[str]
    formats: list[str]
    results: dict[str, str] = Field(description="format of a result and what it holds")


def describe_job(job: Job, place: int | None, results: Mapping[str, str]) -> dict[str, Any]:
    """A job as JSON; fields as `JobDocument`."""
    return JobDocument(
        id=job.id,
        state=job.state,
        file=job.file,
        options=OptionsDocument(**job.options.to_dict()),
        created_at=_format_time(job.created_s),
        started_at=None if job.started_s is None else _format_time(job.started_s),
        ended_at=None if job.ended_s is None else _format_time(job.ended_s),
        place=place,
        progress=job.progress,
        error=job.error or None,
        results=dict(results),
    ).model_dump()


def document_responses(*statuses: int, model: type[BaseModel] | None = None, status: int = 200) -> dict[Any, Any]:
    """Responses of a route: errors by status beside those that any request may meet, and the model of a success."""
    errors = (401, 408, 421, 503, *statuses)
    documented: dict[Any, Any] = {
        each: {"model": ErrorDocument, "description": _ERRORS[each]} for each in sorted(errors)
    }
    if model is not None:
        documented[status] = {"model": model}
    if status == 202:
        documented[status]["links"] = {
            operation: {"operationId": operation, "parameters": {"job_id": "$response.body#/id"}}
            for operation in ("show_job", "delete_job", "send_result", "explain_epochs")
        }
    return documented


def document_files(media_types: Mapping[str, str]) -> dict[str, Any]:
    """The response of a route that sends a file, by what its media type is for."""
    return {
        "description": "The file.",
        "content": {
            media_type: {"schema": {"type": "string"}, "example": what} for media_type, what in media_types.items()
        },
    }


_ERRORS = {
    400: "The body cannot be read, ends too early, or holds no recording or several.",
    401: "A token is needed.",
    403: "The request comes from a page of another site.",
    404: "There is no such job, or it has no such result.",
    408: "The request was not complete in time.",
    409: "The job is not done.",
    413: "The recording or the request is too long.",
    415: "No recording by its name, or another type of content than wanted.",
    421: "The name in the request's Host header is not served.",
    422: "An option that cannot be.",
    429: "As many nights wait as may. Come again after the seconds of the header Retry-After.",
    503: "The service cannot work now: the disk is full, say.",
}
UPLOAD_BODY = {
    "required": True,
    "description": f"A recording ({', '.join(RECORDINGS)}), and in the same form what belongs to it "
    f"({', '.join(COMPANIONS)}).",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        }
    },
}


def build_documentation(version: str, needs_token: bool) -> Documentation:
    """The head of OpenAPI."""
    schemes = {"bearer": {"type": "http", "scheme": "bearer"}, "password": {"type": "http", "scheme": "basic"}}
    return Documentation(
        "tslm serve",
        version,
        "Stages nights of sleep. Post a recording to /v1/jobs, ask for its job until it is done, fetch results. "
        + DISCLAIMER,
        schemes if needs_token else {},
    )


def _format_time(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
