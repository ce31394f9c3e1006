"""Cortex's endpoints for users: submit a job, ask for it, stop it (spec/cortex.md sections 4 and 6)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from batchflow.client import Job
from batchflow.client.documents import job_response
from batchflow.errors import BatchflowError, InvalidInput, NotFound
from batchflow.gateway.answers import TEXT, about_the_schema, answer, dry_run_answer, not_deployed, problem, status_of
from batchflow.gateway.body import SMALL_BYTES, parse_json
from batchflow.gateway.observe import RequestMetrics
from batchflow.gateway.parameters import SPELLINGS, base_url_of, flag, in_thread, share_of, tenant_of
from batchflow.gateway.schemas import SUBMISSION_BODY, JobDocument, JobResponse, Message, errors
from batchflow.gateway.share import Turns
from batchflow.gateway.tenants import Tenant
from batchflow.spec.model import Submission
from batchflow.spec.submission import NO_PATHS, parse_submission

__all__ = ["routes"]

_KEY: Final = re.compile(r"[!-~]{1,255}")
_DRY_RUN_PASSED: Final = b"validations passed"

_DryRun = Annotated[str, Query(alias="dryRun", description="true: list the files, create nothing", json_schema_extra=SPELLINGS)]
_JobID = Annotated[str, Query(alias="jobID")]
_Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="The same key with the same body gives the same job", min_length=1, max_length=255),
]


def routes(metrics: RequestMetrics, turns: Turns) -> APIRouter:
    """The endpoints at `/batch/<api>` and, to be included last, at whatever path an api has."""
    router = APIRouter()

    async def submit(request: Request, api: str, dry_run: str, key: str | None) -> Response:
        tenant, share = await tenant_of(request), share_of(request)
        try:
            is_dry_run = flag("dryRun", dry_run)
            await share.run(_check_deployed, tenant, api)
            async with share.body(request) as body:
                posted = _Posted(api, body, base_url_of(request))
                work = partial(_dry_run, tenant, posted) if is_dry_run else partial(_submit, tenant, posted, key)
                response = await turns.run(share, body.tell(), work)
        except BatchflowError as error:
            metrics.submissions.labels("failed" if status_of(error) >= 500 else "refused").inc()
            raise
        if not is_dry_run:
            metrics.submissions.labels("accepted").inc()
        return response

    document: dict[str, Any] = {
        "response_model": JobDocument,
        "responses": {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors(400, 401, 403, 422, 503, text=True)},
        "openapi_extra": SUBMISSION_BODY,
    }
    path_errors = errors(400, 401, 403, 404, 503)

    @router.post("/batch/{api}", summary="Submit a job", **document)
    async def submit_by_name(request: Request, api: str, dry_run: _DryRun = "", key: _Key = None) -> Response:
        return await submit(request, api, dry_run, key)

    @router.get("/batch/{api}", summary="A job's status", response_model=JobResponse, responses=path_errors)
    async def get_by_name(request: Request, api: str, job_id: _JobID = "") -> Response:
        return await in_thread(request, _get, api, job_id, base_url_of(request))

    @router.delete("/batch/{api}", summary="Stop a job", response_model=Message, responses=path_errors)
    async def stop_by_name(request: Request, api: str, job_id: _JobID = "") -> Response:
        return await in_thread(request, _stop, api, job_id)

    document = {**document, "responses": {**document["responses"], **errors(404)}}

    @router.post("/{endpoint:path}", summary="Submit a job at its api's own endpoint", **document)
    async def submit_at_endpoint(request: Request, endpoint: str, dry_run: _DryRun = "", key: _Key = None) -> Response:
        api = await in_thread(request, _api_at, endpoint)
        return _nothing_at(request) if api is None else await submit(request, api, dry_run, key)

    @router.get("/{endpoint:path}", summary="A job's status at its api's own endpoint", response_model=JobResponse, responses=path_errors)
    async def get_at_endpoint(request: Request, endpoint: str, job_id: _JobID = "") -> Response:
        api = await in_thread(request, _api_at, endpoint)
        return _nothing_at(request) if api is None else await in_thread(request, _get, api, job_id, base_url_of(request))

    @router.delete("/{endpoint:path}", summary="Stop a job at its api's own endpoint", response_model=Message, responses=path_errors)
    async def stop_at_endpoint(request: Request, endpoint: str, job_id: _JobID = "") -> Response:
        api = await in_thread(request, _api_at, endpoint)
        return _nothing_at(request) if api is None else await in_thread(request, _stop, api, job_id)

    return router


def _api_at(tenant: Tenant, endpoint: str) -> str | None:
    return tenant.endpoints.api_at("/" + endpoint.rstrip("/"))


def _nothing_at(request: Request) -> Response:
    """With the keys of Cortex's errors and of Verda's: whose client it is, nobody knows."""
    return problem(404, "not_found", f"there is nothing at {request.method} {request.url.path}", code="not_found")


def _check_deployed(tenant: Tenant, api: str) -> None:
    """Any name that can't be one is answered like one that is not there."""
    try:
        found = tenant.client.deployed(api)
    except NotFound:
        found = None
    if found is None:
        raise not_deployed(api)


@dataclass(frozen=True, slots=True)
class _Posted:
    """A submission's body, and where the schema is that it should have."""

    api: str
    body: IO[bytes]
    base_url: str

    def submission(self) -> tuple[Submission, str]:
        """The submission, and the SHA-256 of the body; raises InvalidInput in Cortex's words."""
        value, digest = self.value()
        return self.parsed(value), digest

    def value(self) -> tuple[Any, str]:
        """Any JSON value."""
        self.body.seek(0)
        data = self.body.read()
        try:
            return parse_json(data), hashlib.sha256(data).hexdigest()
        except InvalidInput as error:
            raise about_the_schema(error, self.base_url) from None

    def parsed(self, value: Any) -> Submission:
        try:
            return parse_submission(value, api=self.api, strict=False)
        except InvalidInput as error:
            if error.what.endswith(NO_PATHS):  # Cortex finds this later, where it does not tell of its documentation
                raise
            raise about_the_schema(error, self.base_url) from None


def _submit(tenant: Tenant, posted: _Posted, key: str | None) -> Response:
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidInput("Idempotency-Key: must be 1 to 255 visible ASCII characters")
    submission, digest = posted.submission()
    job = tenant.client.submit(submission) if key is None else tenant.client.submit_once(submission, key, digest)
    tenant.jobs.submitted(job)
    document = job.document()
    return JSONResponse({**document, "created_time": document["start_time"]})


def _dry_run(tenant: Tenant, posted: _Posted) -> Response:
    """Bad JSON, or a wrong type in it, gets the error of a real submission, as in Cortex; a broken rule is told as text."""
    value, _ = posted.value()
    with ExitStack() as undo:
        listed = undo.enter_context(SpooledTemporaryFile(max_size=SMALL_BYTES))
        try:
            submission = posted.parsed(value)
        except InvalidInput as error:
            if error.kind == "error":  # rules have kinds of their own
                raise
            return dry_run_answer(error)
        try:
            for file in tenant.client.files(submission):
                listed.write(file.path.encode() + b"\n")
        except BatchflowError as error:
            return dry_run_answer(error)
        listed.write(_DRY_RUN_PASSED)
        undo.pop_all()  # whoever reads it closes it
        return StreamingResponse(_content(listed), headers=TEXT)


def _content(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(SMALL_BYTES):
            yield chunk


def _job(tenant: Tenant, api: str, job_id: str) -> Job:
    """Raises Cortex's errors, in its order."""
    if not job_id:
        raise InvalidInput("query param required: jobID", kind="endpoints.query_param_required")
    try:
        return tenant.client.get(api, job_id)
    except (InvalidInput, NotFound):
        _check_deployed(tenant, api)
    what = f"failed to get job state: unable to find BatchAPI job {job_id} ({api} api)"
    raise NotFound(what, kind="job.not_found")


def _get(tenant: Tenant, api: str, job_id: str, base_url: str) -> Response:
    job = _job(tenant, api, job_id)
    try:
        return JSONResponse(job_response(job, job.status(), base_url=base_url))
    except NotFound as error:  # deleted just now
        return answer(error)


def _stop(tenant: Tenant, api: str, job_id: str) -> Response:
    _job(tenant, api, job_id).stop()
    return JSONResponse({"message": f"stopped job {job_id}"})
