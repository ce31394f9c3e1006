"""The endpoints of Cortex's operator, which its command line and its Python client used: deploy, get, delete (spec/cortex.md section 6)."""

from __future__ import annotations

import asyncio
from typing import IO, Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse, Response

from batchflow.client import ApiSummary, Deployment
from batchflow.client.documents import api_view, deployment_document
from batchflow.errors import InvalidInput, NotFound
from batchflow.gateway.answers import not_deployed
from batchflow.gateway.parameters import SPELLINGS, base_url_of, flag, in_thread, share_of, tenant_of
from batchflow.gateway.schemas import DEPLOY_BODY, ApiDocument, DeploymentDocument, Message, errors
from batchflow.gateway.tenants import Tenant
from batchflow.spec.project import MAX_PROJECT_BYTES
from batchflow.status.model import JobStatus

__all__ = ["routes"]

JOBS_SHOWN: Final = 10
_MAX_CONFIG_BYTES: Final = 2**20  # YAML takes a hundred times its size to read
_CONFIG: Final = "config"
_PROJECT: Final = "project.zip"

_Force = Annotated[str, Query(json_schema_extra=SPELLINGS)]
_KeepCache = Annotated[str, Query(alias="keepCache", json_schema_extra=SPELLINGS)]


def routes() -> APIRouter:
    """They come before an api's own endpoint: one at such a path is reached at `/batch/<api>`."""
    router = APIRouter()
    one_deployment = asyncio.Lock()  # at a time: a project is in memory as a whole

    @router.get("/get", summary="Every api", response_model=list[ApiDocument], responses=errors(400, 401, 403, 503))
    async def get_apis(request: Request) -> Response:
        return JSONResponse(await in_thread(request, _deployed_apis, base_url_of(request)))

    @router.get("/get/{api}", summary="An api and its jobs", response_model=list[ApiDocument], responses=errors(400, 401, 403, 503))
    async def get_api(request: Request, api: str) -> Response:
        return JSONResponse([await in_thread(request, _deployed_api, api, base_url_of(request))])

    @router.post(
        "/deploy",
        summary="Deploy the apis of a cortex.yaml",
        response_model=list[DeploymentDocument],
        responses=errors(400, 401, 403, 503),
        openapi_extra=DEPLOY_BODY,
    )
    async def deploy(request: Request, name: Annotated[str, Query(alias="configFileName")] = "cortex.yaml", force: _Force = "") -> Response:
        flag("force", force)  # nothing runs between jobs, so that there is nothing to force
        tenant, share = await tenant_of(request), share_of(request)
        async with share.body(request, MAX_PROJECT_BYTES + 2 * _MAX_CONFIG_BYTES) as body, one_deployment:
            config, project = await _files(request, body)
            deployed = await share.run(_deploy, tenant, name, config, project)
        await share.run(tenant.endpoints.forget)  # which waits for whoever reads them
        return JSONResponse([deployment_document(deployment, base_url=base_url_of(request)) for deployment in deployed])

    @router.delete("/delete/{api}", summary="Delete an api and its jobs", response_model=Message, responses=errors(400, 401, 403, 503))
    async def delete(request: Request, api: str, keep_cache: _KeepCache = "") -> Response:
        keeps = flag("keepCache", keep_cache)
        tenant, share = await tenant_of(request), share_of(request)
        try:
            async with share.deletions:
                await share.run(tenant.client.delete_api, api, keep_cache=keeps)
        except NotFound:
            raise not_deployed(api) from None
        await share.run(tenant.endpoints.forget)  # which waits for whoever reads them
        return JSONResponse({"message": f"deleting {api}"})

    @router.post("/refresh/{api}", summary="Nothing to refresh", response_model=Message, responses=errors(400, 401, 403, 503))
    async def refresh(request: Request, api: str, force: _Force = "") -> Response:
        flag("force", force)
        await in_thread(request, _deployed_api, api, base_url_of(request))  # raises if there is no such api
        return JSONResponse({"message": f"{api} (BatchAPI) is up to date: each job starts pods of its own"})

    return router


def _deploy(tenant: Tenant, name: str, config: bytes, project: bytes | None) -> list[Deployment]:
    """Raises InvalidInput with what to do in its text: this is our file's error, not one of Cortex's."""
    if len(config) > _MAX_CONFIG_BYTES:
        raise InvalidInput(f"{name}: is larger than {_MAX_CONFIG_BYTES // 2**20} MiB")
    try:
        return tenant.client.deploy_files(config, project, name=name)
    except InvalidInput as error:
        raise InvalidInput(str(error), kind=error.kind) from error


def _deployed_apis(tenant: Tenant, base_url: str) -> list[dict[str, Any]]:
    shown = (_api(tenant, api.name, base_url, _live_or_latest(tenant, api)) for api in tenant.client.apis())
    return [document for document in shown if document]


def _deployed_api(tenant: Tenant, name: str, base_url: str) -> dict[str, Any]:
    """With its newest jobs; raises NotFound, also for what can't be a name."""
    try:
        document = _api(tenant, name, base_url, _newest(tenant, name))
    except NotFound:
        document = None
    if document is None:
        raise not_deployed(name)
    return document


def _api(tenant: Tenant, name: str, base_url: str, jobs: list[JobStatus]) -> dict[str, Any] | None:
    """None if the api is not deployed."""
    found = tenant.client.deployed(name)
    if found is None:
        return None
    return api_view(*found, tenant.client.versions(name), jobs, base_url=base_url)


def _live_or_latest(tenant: Tenant, api: ApiSummary) -> list[JobStatus]:
    live = [job.status() for job in tenant.client.running(api.name)] if api.running_jobs else []
    return live or (tenant.client.jobs(api.name, limit=1).statuses if api.latest else [])


def _newest(tenant: Tenant, api: str) -> list[JobStatus]:
    """All that run, filled to ten with those that ended last; newest first."""
    newest = tenant.client.jobs(api, limit=JOBS_SHOWN).statuses
    shown = {status.job_id for status in newest}
    live = [job.status() for job in tenant.client.running(api) if job.id not in shown]
    room = max(0, JOBS_SHOWN - len(live))
    kept = [status for index, status in enumerate(newest) if index < room or not status.ended]
    return sorted((*live, *kept), key=lambda status: status.job_id)


async def _files(request: Request, body: IO[bytes]) -> tuple[bytes, bytes | None]:
    """The cortex.yaml, and the project's zip if there is one: parts of a form, as Cortex's clients send them, or the file alone."""
    body.seek(0)
    if not request.headers.get("content-type", "").startswith("multipart/"):
        return body.read(), None

    async def replay() -> dict[str, Any]:
        chunk = body.read(2**16)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    try:
        async with Request(request.scope, replay).form(max_files=2, max_fields=2, max_part_size=_MAX_CONFIG_BYTES) as form:
            parts = {name: await _content(part) for name, part in form.multi_items()}
    except MultiPartException as error:
        raise InvalidInput(f"the form can't be read: {error.message}") from error
    except Exception as error:
        # Starlette turns a bad form into an HTTP error of its own where it knows of an app.
        if hasattr(error, "detail"):
            raise InvalidInput(f"the form can't be read: {error.detail}") from error
        raise
    if _CONFIG not in parts:
        raise InvalidInput(f'the form has no part "{_CONFIG}"', hint="put the cortex.yaml there, and the project's files as project.zip")
    return parts[_CONFIG], parts.get(_PROJECT)


async def _content(part: UploadFile | str) -> bytes:
    return part.encode() if isinstance(part, str) else await part.read()
