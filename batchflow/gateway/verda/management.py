"""Verda's management API for job deployments (spec/verda.md sections 2.3 and 2.6)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batchflow.callrecords import JobDeploymentRecord
from batchflow.deployments.service import Deployments
from batchflow.errors import InvalidInput
from batchflow.gateway.body import parse_object
from batchflow.gateway.credentials import Credentials
from batchflow.gateway.parameters import base_url_of, in_thread, share_of
from batchflow.gateway.tenants import Tenants
from batchflow.gateway.verda.answers import EXCEPTION_HANDLERS, problem
from batchflow.gateway.verda.authentication import TokenEndpoint
from batchflow.spec.reader import document_of

__all__ = ["management_app"]

_MAX_BODY_BYTES: Final = 2**20
_DELETE_MS: Final = 60_000
_LONGEST_DELETE_MS: Final = 300_000
_NUMBER: Final = re.compile(r"\d{1,9}(\.\d{0,20})?([eE][+-]?\d{1,2})?", re.ASCII)  # as Python's clients write a float
_LOOK_AGAIN_S: Final = 0.25

# Secrets and credentials of registries are Kubernetes' here, and logs are Argo's and the store's: docs/verda-api.md.
_NOT_IMPLEMENTED: Final = {
    "/v1/job-deployments/{name}/logs": ("GET",),
    "/v1/job-deployments/{name}/system-logs": ("GET",),
    "/v1/container-types": ("GET",),
    **{path: ("GET", "POST") for path in ("/v1/secrets", "/v1/file-secrets", "/v1/container-registry-credentials")},
    **{path: ("DELETE",) for path in ("/v1/secrets/{name}", "/v1/file-secrets/{name}", "/v1/container-registry-credentials/{name}")},
}

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Handler = Callable[[Request], Awaitable[Response]]


def management_app(tenants: Tenants, credentials: Credentials | None) -> Starlette:
    """Everything below /v1, after the guard."""
    deployment = "/v1/job-deployments/{name}"
    routes = [
        _route("/v1/oauth2/token", POST=TokenEndpoint(credentials)),
        _route("/v1/job-deployments", GET=_list, POST=_create),
        _route(deployment, GET=_get, PATCH=_update, DELETE=_delete),
        _route(f"{deployment}/status", GET=_status),
        _route(f"{deployment}/scaling", GET=_scaling),
        _route(f"{deployment}/pause", POST=partial(_change, Deployments.pause)),
        _route(f"{deployment}/resume", POST=partial(_change, Deployments.resume)),
        _route(f"{deployment}/purge-queue", POST=partial(_change, Deployments.purge)),
        _route("/v1/serverless-compute-resources", GET=_compute_resources),
        *(_route(path, **dict.fromkeys(methods, _not_implemented)) for path, methods in _NOT_IMPLEMENTED.items()),
    ]
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
    app.router.redirect_slashes = False  # no path is another one
    app.state.tenants = tenants
    return app


def _route(path: str, **handlers: _Handler) -> Route:
    async def answer(request: Request) -> Response:
        request.scope["route"] = route  # by which requests are counted; not every Starlette tells it
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    route = Route(path, answer, methods=list(handlers))
    return route


async def _list(request: Request) -> Response:
    records = await _run(request, Deployments.list)
    return JSONResponse([_summary(record) for record in records])


async def _create(request: Request) -> Response:
    document = await _body(request)
    record = await _run(request, Deployments.create, document_of(document))
    return _deployment(request, record, status=201)


async def _get(request: Request) -> Response:
    return _deployment(request, await _run(request, Deployments.get, _name(request)))


async def _update(request: Request) -> Response:
    patch = await _body(request)
    return _deployment(request, await _run(request, Deployments.update, _name(request), patch))


async def _delete(request: Request) -> Response:
    """Returns when the deployment is gone, or its time is up; then it goes on without this request, which holds no thread."""
    timeout_s = _milliseconds(request.query_params.get("timeout", str(_DELETE_MS))) / 1000
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    is_gone = await _run(request, Deployments.delete, _name(request))
    while loop.time() < deadline and not await share_of(request).run(is_gone):
        await asyncio.sleep(min(_LOOK_AGAIN_S, max(0.0, deadline - loop.time())))
    return Response(status_code=200)


async def _status(request: Request) -> Response:
    return JSONResponse({"status": await _run(request, Deployments.status, _name(request))})


async def _scaling(request: Request) -> Response:
    return JSONResponse(await _run(request, Deployments.scaling, _name(request)))


async def _change(change: Callable[[Deployments, str], None], request: Request) -> Response:
    await _run(request, change, _name(request))
    return Response(status_code=201)


async def _compute_resources(request: Request) -> Response:
    tenants: Tenants = request.app.state.tenants
    return JSONResponse(
        [
            {"name": resource.name, "size": size, "is_available": resource.is_available}
            for resource in tenants.rules().compute or ()  # of all namespaces, so that none is opened
            for size in resource.sizes
        ]
    )


async def _not_implemented(request: Request) -> Response:
    return problem(501, f"{request.method} {request.scope['path']} is not implemented here; docs/verda-api.md says what stands in for it")


async def _run(
    request: Request, ask: Callable[Concatenate[Deployments, _Parameters], _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> _Result:
    """Ask the service of the request's namespace."""
    return await in_thread(request, lambda tenant: ask(tenant.deployments.service, *args, **kwargs))


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


async def _body(request: Request) -> dict[str, Any]:
    async with share_of(request).body(request, _MAX_BODY_BYTES) as body:
        body.seek(0)
        return parse_object(body.read())


def _milliseconds(text: str) -> float:
    if not _NUMBER.fullmatch(text) or float(text) > _LONGEST_DELETE_MS:
        raise InvalidInput(f"timeout should be a number of milliseconds from 0 to {_LONGEST_DELETE_MS}")
    return float(text)


def _summary(record: JobDeploymentRecord) -> dict[str, Any]:
    return {"name": record.spec["name"], "created_at": record.created_time, "compute": record.spec["compute"]}


def _deployment(request: Request, record: JobDeploymentRecord, *, status: int = 200) -> Response:
    base_url = f"{base_url_of(request)}/{record.spec['name']}"
    return JSONResponse({**record.spec, "endpoint_base_url": base_url, "created_at": record.created_time}, status_code=status)
