"""Errors as Cortex answers them: JSON with `kind` and `message`."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import JSONResponse, Response

from batchflow.client.client import KEY_REUSED
from batchflow.errors import BatchflowError, Conflict, InvalidInput, NotFound, Unreachable

__all__ = ["TEXT", "about_the_schema", "answer", "dry_run_answer", "message_of", "not_deployed", "problem", "status_of"]

TEXT: Final = {"Content-Type": "text/plain"}  # as Cortex says it, without a charset
_RETRY_AFTER_S: Final = 5


def answer(error: BatchflowError) -> Response:
    """With the status that `status_of` gives."""
    headers = {"Retry-After": str(_RETRY_AFTER_S)} if isinstance(error, Unreachable) else {}
    return problem(status_of(error), error.kind, message_of(error), headers=headers)


def dry_run_answer(error: BatchflowError) -> Response:
    """The same for a dry run, whose answers are text."""
    return Response(f"\n{message_of(error)}\n", status_code=status_of(error), headers=TEXT)


def problem(status: int, kind: str, message: str, *, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """A body of Cortex's form."""
    return JSONResponse({"kind": kind, "message": message, **more}, status_code=status, headers=headers)


def about_the_schema(error: InvalidInput, base_url: str) -> InvalidInput:
    """What is wrong with a submission's form, with a line at its end that leads to the documentation, as Cortex had it."""
    hint = f"\n\njob submission schema can be found at {base_url}/openapi.json"
    return InvalidInput(error.what + hint, where=error.where, kind=error.kind)


def not_deployed(api: str) -> NotFound:
    """In Cortex's words, which tell nothing of what is there."""
    return NotFound(f"{api} is not deployed", kind="resources.api_not_deployed")


def status_of(error: BatchflowError) -> int:
    """400, as Cortex for everything; 503 for what another try may mend."""
    if isinstance(error, Conflict) and error.kind == KEY_REUSED:
        return 422  # no Cortex had it; https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
    return 503 if isinstance(error, Unreachable) else 400


def message_of(error: BatchflowError) -> str:
    """Cortex's words, which have no place but a field's; the place of what is out of reach is ours to know: a path, an address."""
    return f"{error.where}: {error.what}" if error.where and isinstance(error, InvalidInput) else error.what
