"""Around every request: its id, its line in the log, its share of the metrics, and an answer even if the code breaks."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batchflow.gateway.answers import problem
from batchflow.gateway.guard import OPEN_PATHS
from batchflow.gateway.verda.answers import CODES, UNAVAILABLE

__all__ = ["Observer", "RequestMetrics", "broken"]

_log = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_HEADER: Final = "X-Request-Id"


async def broken(request: Request, error: Exception) -> Response:
    """The answer where the code broke; the log has the rest."""
    return _error_of_ours(request.state.request_id, "internal_error")


class RequestMetrics:
    """Counters of this process, for all namespaces."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("batchflow_http_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram("batchflow_http_request_seconds", "Time to the end of the answer.", ["route"], registry=self.registry)
        self.submissions = Counter("batchflow_submissions", "Submissions, by what became of them.", ["result"], registry=self.registry)
        for result in ("accepted", "refused", "failed"):
            self.submissions.labels(result)


class Observer:
    """Takes a request's id over, or makes one; logs and counts it by the route that answered, so that paths can't flood the metrics."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(_HEADER, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started, status = time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_HEADER] = request_id
            await send(message)

        scope.setdefault("state", {})["request_id"] = request_id
        try:
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:  # at the end of the grace period; the server would log it as a defect
            if not status:
                message = "the gateway ends; send it again"
                headers = {"Retry-After": "1", "Connection": "close"}
                await problem(503, "error", message, code=UNAVAILABLE, headers=headers)(scope, receive, answer)
        except Exception:
            _log.exception("request failed", extra={"request_id": request_id, "method": scope["method"], "path": _path(scope)})
            if not status:  # else it has its answer, as of `broken`; here it was not known yet whose client asks
                await _error_of_ours(request_id, CODES[500])(scope, receive, answer)
        finally:
            self._record(scope, request_id, status, time.monotonic() - started)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in ("GET", "POST", "PATCH", "DELETE") else "other"
        self._metrics.requests.labels(method, route, str(status or "none")).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        visitor = scope.get("state", {}).get("visitor")
        fields = {"request_id": request_id, "method": method, "path": _path(scope), "status": status, "seconds": round(seconds, 3)}
        level = logging.DEBUG if scope["path"] in OPEN_PATHS else logging.INFO  # Kubernetes asks every few seconds
        _log.log(level, "request", extra={**fields, "namespace": visitor.namespace if visitor else "-"})


def _error_of_ours(request_id: str, code: str) -> Response:
    return problem(500, "error", f"an error of batchflow's own; its log has more about request {request_id}", code=code)


def _path(scope: Scope) -> str:
    """As it was sent, so that no line end in it makes a line of the log."""
    raw: bytes = scope["raw_path"]
    return raw.decode("ascii", "backslashreplace")
