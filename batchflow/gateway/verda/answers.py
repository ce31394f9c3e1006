"""Errors as Verda answers them: JSON with `code` and `message`, whatever the request was (spec/verda.md section 2.5)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from batchflow.errors import BatchflowError, Conflict, InvalidInput, NotFound, Unreachable

__all__ = ["CODES", "EXCEPTION_HANDLERS", "FORBIDDEN", "UNAUTHORIZED", "UNAVAILABLE", "answer", "problem"]

_log = logging.getLogger(__name__)

UNAUTHORIZED: Final = "unauthorized_request"
FORBIDDEN: Final = "forbidden_action"
UNAVAILABLE: Final = "service_unavailable"
CODES: Final = {
    400: "invalid_request",
    401: UNAUTHORIZED,
    403: FORBIDDEN,
    404: "not_found",
    405: "invalid_request",  # Verda's list has none for it
    409: "conflict",
    500: "server_error",
    501: "not_implemented",
    503: UNAVAILABLE,
}
_RETRY_AFTER_S: Final = 5
_FIELD: Final = re.compile(r"\w+(: (index \d+|\w+))*")


def problem(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """With the code of that status."""
    return JSONResponse({"code": CODES.get(status, CODES[400]), "message": message}, status_code=status, headers=headers)


def answer(error: BatchflowError) -> Response:
    """An error of ours. Where something is out of reach is ours to know."""
    if isinstance(error, Unreachable):
        return problem(503, error.what, headers={"Retry-After": str(_RETRY_AFTER_S)})
    if isinstance(error, NotFound):
        return problem(404, error.what)
    if isinstance(error, InvalidInput):
        return problem(409 if isinstance(error, Conflict) else 400, _message(error))
    return problem(500, error.what)


def _message(error: InvalidInput) -> str:
    """As Verda's validator writes: `containers.0.exposed_port should not be null or undefined`."""
    field = error.where.replace(": index ", ".").replace(": ", ".") + " " if _FIELD.fullmatch(error.where) else ""
    return f"{field}{error.what}; {error.hint}" if error.hint else f"{field}{error.what}"


async def _refuse(request: Request, error: Any) -> Response:
    if isinstance(error, Unreachable):
        _log.warning("out of reach", extra={"request_id": request.state.request_id, "error": error})
    return answer(error)


async def _refuse_route(request: Request, error: Any) -> Response:
    """Starlette's own: no such route, or not with this method."""
    return problem(error.status_code, f"there is nothing at {request.method} {request.scope['path']}", headers=error.headers)


async def _forget(request: Request, error: Any) -> Response:
    """The client is gone; nobody reads this."""
    return Response(status_code=499)


async def _broken(request: Request, error: Any) -> Response:
    return problem(500, f"an error of batchflow's own; its log has more about request {request.state.request_id}")


EXCEPTION_HANDLERS: Final[dict[Any, Any]] = {
    BatchflowError: _refuse,
    HTTPException: _refuse_route,
    ClientDisconnect: _forget,
    Exception: _broken,
}
