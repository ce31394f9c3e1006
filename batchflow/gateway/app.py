"""Puts the gateway together."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from batchflow import contract
from batchflow.errors import BatchflowError, Unreachable
from batchflow.gateway import cortex, operator
from batchflow.gateway.answers import answer, problem
from batchflow.gateway.credentials import Credentials
from batchflow.gateway.dispatch import Dispatcher
from batchflow.gateway.guard import Guard
from batchflow.gateway.inference import inference_app
from batchflow.gateway.observe import Observer, RequestMetrics, broken
from batchflow.gateway.parameters import in_thread, share_of
from batchflow.gateway.schemas import complete, documented_methods, errors
from batchflow.gateway.share import Turns
from batchflow.gateway.tenants import Tenant, Tenants
from batchflow.gateway.verda.answers import CODES
from batchflow.gateway.verda.management import management_app

__all__ = ["create_app"]

_log = logging.getLogger(__name__)


def create_app(tenants: Tenants, credentials: Credentials | None, *, max_call_bytes: int) -> ASGIApp:
    """The ASGI application. Without credentials whoever asks has the gateway's own namespace."""
    metrics = RequestMetrics()
    apps = Dispatcher(
        tenants,
        cortex=_cortex_app(tenants, metrics),
        management=management_app(tenants, credentials),
        inference=inference_app(tenants, max_call_bytes),
    )
    return Observer(Guard(apps, credentials, tenants.own), metrics)


def _cortex_app(tenants: Tenants, metrics: RequestMetrics) -> FastAPI:
    app = FastAPI(
        title="batchflow",
        version=contract.VERSION,
        description="Cortex's Batch APIs: submit jobs, ask for their status, stop them; deploy and delete apis.",
        redirect_slashes=False,  # no path is another one
        docs_url=None,  # it would load scripts from another site
        redoc_url=None,
    )
    app.state.tenants = tenants
    _add_own_routes(app, metrics)
    app.include_router(operator.routes(), tags=["apis"])
    app.include_router(cortex.routes(metrics, Turns()), tags=["jobs"])  # last: an api's endpoint may be any path
    for kind, handler in (
        (BatchflowError, _refuse),
        (HTTPException, _refuse_route),
        (RequestValidationError, _refuse_parameters),
        (ClientDisconnect, _forget),
        (Exception, broken),
    ):
        app.add_exception_handler(kind, handler)
    generate = app.openapi
    app.openapi = lambda: complete(generate())  # type: ignore[method-assign]  # FastAPI's way to extend it
    return app


def _add_own_routes(app: FastAPI, metrics: RequestMetrics) -> None:
    @app.get("/healthz", summary="Whether this process answers", response_class=PlainTextResponse, tags=["gateway"])
    async def healthz() -> str:  # needs no thread: there may be none left while the cluster does not answer
        return "ok"

    @app.get(
        "/metrics",
        summary="For Prometheus: requests of all, jobs of the token's namespace",
        tags=["gateway"],
        response_class=PlainTextResponse,
        responses=errors(401, 403, 503),
    )
    async def prometheus(request: Request) -> Response:
        async with share_of(request).scrapes:
            found = await in_thread(request, _jobs_of)
        return Response(generate_latest(metrics.registry) + found, media_type=CONTENT_TYPE_LATEST)


def _jobs_of(tenant: Tenant) -> bytes:
    registry = CollectorRegistry()
    registry.register(tenant.jobs)
    return generate_latest(registry)


async def _refuse(request: Request, error: Any) -> Response:
    if isinstance(error, Unreachable):  # the answer does not tell where
        _log.warning("out of reach", extra={"request_id": request.state.request_id, "error": error})
    return answer(error)


async def _refuse_route(request: Request, error: Any) -> Response:
    """Starlette's own: since any path may be an api's, that is only a method which no path has."""
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
    verdas = CODES.get(error.status_code, CODES[400])  # without credentials it may be a client of Verda's
    headers = {"Allow": ", ".join(documented_methods(request.app.openapi(), request.url.path))} if error.status_code == 405 else None
    return problem(error.status_code, kind, str(error.detail), code=verdas, headers=headers)


async def _refuse_parameters(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    return problem(400, "error", f"{first['loc'][-1]}: {first['msg']}")


async def _forget(request: Request, error: Any) -> Response:
    """The client is gone; nobody reads this."""
    return Response(status_code=499)
