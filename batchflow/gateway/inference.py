"""Verda's inference side: calls of job deployments, their status and their results (spec/verda.md section 3)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import IO, Any, BinaryIO, Final, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from batchflow.callrecords import CallRequest
from batchflow.deployments.calls import Arrivals, Calls
from batchflow.errors import InvalidInput, NotFound
from batchflow.gateway.body import BodyTooLarge
from batchflow.gateway.forwarding import INFERENCE_ID, Preferences, forwarded_headers, given_id, preferences, split_path
from batchflow.gateway.parameters import in_thread, share_of, tenant_of
from batchflow.gateway.share import Share
from batchflow.gateway.tenants import Tenant, Tenants
from batchflow.gateway.verda.answers import EXCEPTION_HANDLERS, problem
from batchflow.spec.jobdeployment import JobDeployment, from_document
from batchflow.store.deployments import TERMINATING, DeploymentRecords

__all__ = ["inference_app"]

_CHUNK_BYTES: Final = 2**18
_HIGHEST_STATUS: Final = 599  # that the server can send
_READING: Final = ("GET", "HEAD")


def inference_app(tenants: Tenants, max_call_bytes: int) -> Starlette:
    """Answers, behind the guard, where the path begins with a job deployment's name, with `status` or with `result`.

    `max_call_bytes`: of a call's body.
    """
    routes = [_Endpoint("/status/{name}", _look_up_status).route, _Endpoint("/result/{name}", _look_up_result).route]
    app = Starlette(routes=routes, exception_handlers={**EXCEPTION_HANDLERS, BodyTooLarge: _refuse_large})
    app.router.redirect_slashes = False  # no path is another one
    app.router.default = _Endpoint("/{path:path}", _Submissions(max_call_bytes).take)  # no route: in its `path` there may be no line end
    app.state.tenants = tenants
    return app


class _Endpoint:
    """What answers at a path, whatever the method: Starlette takes a function for GET only."""

    def __init__(self, path: str, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self.route = Route(path, self)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self.route  # by which requests are counted
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)


class _Submissions:
    """Takes new calls."""

    def __init__(self, max_call_bytes: int) -> None:
        self._max_call_bytes = max_call_bytes
        self._arrivals = Arrivals()

    async def take(self, request: Request) -> Response:
        """A new call; or the health of a deployment, which is always good: a replica comes with its call."""
        name, target = split_path(request.scope["raw_path"])
        tenant, share = await tenant_of(request), share_of(request)
        records, deployment = await share.run(_find, tenant, name)
        if request.method in _READING and target == deployment.healthcheck.path.partition("?")[0]:
            return JSONResponse({"status": "ok"})
        client_id = given_id(request.headers.getlist(INFERENCE_ID)) or str(uuid.uuid4())
        preferred = preferences(request.headers.getlist("prefer"))
        query = request.scope["query_string"].decode("latin-1")
        async with share.body(request, self._max_call_bytes) as body:
            call = CallRequest(
                id=client_id,
                method=request.method,
                target=f"{target}?{query}" if query else target,
                headers=forwarded_headers(request.headers.raw, preferred.forwarded),
                body_bytes=body.tell(),
                deadline_s=deployment.scaling.deadline_s,
                ttl_s=deployment.scaling.ttl_s,
            )
            await share.run_with_body(call.body_bytes, partial(self._enter, Calls(records), call, body))
        tenant.deployments.wake(name)
        return _accepted(name, client_id, preferred)

    def _enter(self, calls: Calls, request: CallRequest, body: IO[bytes]) -> None:
        body.seek(0)
        calls.enter(self._arrivals.next(), request, cast(BinaryIO, body))


def _find(tenant: Tenant, name: str) -> tuple[DeploymentRecords, JobDeployment]:
    """Raises NotFound also for one that is being deleted."""
    records = tenant.deployments.records.find(name)
    record = records.load() if records and not records.has_flag(TERMINATING) else None
    if records is None or record is None:
        raise _no_deployment(name)
    return records, from_document(record.spec)


def _accepted(name: str, client_id: str, preferred: Preferences) -> Response:
    result_path = f"/result/{name}"
    headers = {"X-Inference-Id": client_id, "Location": result_path}
    if preferred.is_quiet:
        return Response(status_code=202, headers=headers)
    return JSONResponse({"Id": client_id, "StatusPath": f"/status/{name}", "ResultPath": result_path}, status_code=202, headers=headers)


async def _look_up_status(request: Request) -> Response:
    calls, client_id = await _asked(request)
    return await share_of(request).run(_status, calls, client_id)


async def _look_up_result(request: Request) -> Response:
    calls, client_id = await _asked(request)
    share = share_of(request)
    return await share.run(_result, share, calls, client_id, with_body=request.method != "HEAD")


async def _asked(request: Request) -> tuple[Calls, str]:
    """The deployment's calls, and the id of the one that is asked for."""
    if request.method not in _READING:
        raise HTTPException(405, headers={"Allow": ", ".join(_READING)})
    client_id = given_id(request.headers.getlist(INFERENCE_ID))
    if client_id is None:
        raise InvalidInput("X-Inference-Id should not be null or undefined")
    return await in_thread(request, _calls, request.path_params["name"]), client_id


def _calls(tenant: Tenant, name: str) -> Calls:
    records = tenant.deployments.records.find(name)
    if records is None:
        raise _no_deployment(name)
    return Calls(records)


def _status(calls: Calls, client_id: str) -> Response:
    status, error = calls.status(client_id)
    return JSONResponse({"Id": client_id, "Status": status, "Error": error})


def _result(share: Share, calls: Calls, client_id: str, *, with_body: bool) -> Response:
    result, body = calls.result(client_id)
    if result.error:
        return problem(result.status, result.error)
    # Not as the response's media type, to which a charset would be added.
    headers = {"Content-Type": result.content_type, "Content-Length": str(result.size_bytes)}
    status = min(result.status, _HIGHEST_STATUS)
    if body and with_body:
        return StreamingResponse(_chunks(share, body), status, headers)
    if body:
        body.close()
    return Response(status_code=status, headers=headers)


async def _chunks(share: Share, body: BinaryIO) -> AsyncIterator[bytes]:
    with body:
        while chunk := await share.run(body.read, _CHUNK_BYTES):
            yield chunk


def _no_deployment(name: str) -> NotFound:
    return NotFound(f'job deployment "{name}" not found')


async def _refuse_large(request: Request, error: Any) -> Response:
    return problem(413, error.what)
