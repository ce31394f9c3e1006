"""A request's body: bounded while it comes, on disk while it waits for its turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, NoReturn

from starlette.requests import Request

from batchflow.errors import InvalidInput

__all__ = ["MAX_BODY_BYTES", "SMALL_BYTES", "BodyTooLarge", "parse_json", "parse_object", "read_body"]

# Cortex's, the limit of AWS API Gateway (spec/cortex.md section 4).
MAX_BODY_BYTES: Final = 10 * 2**20
SMALL_BYTES: Final = 2**18
# A client that still sends may not read the answer; so much more is taken and dropped.
_DROPPED_BYTES: Final = 2 * MAX_BODY_BYTES
_IDLE_S: Final = 60.0


class BodyTooLarge(InvalidInput):
    """In Cortex's words."""

    def __init__(self) -> None:
        super().__init__("http: request body too large")


@asynccontextmanager
async def read_body(request: Request, limit_bytes: int = MAX_BODY_BYTES) -> AsyncIterator[IO[bytes]]:
    """The whole body as a file, at its end; raises BodyTooLarge, or InvalidInput if for a minute nothing of it comes."""
    with SpooledTemporaryFile(max_size=SMALL_BYTES) as file:
        size = 0
        try:
            async with asyncio.timeout(_IDLE_S) as idle:
                async for chunk in request.stream():
                    idle.reschedule(asyncio.get_running_loop().time() + _IDLE_S)
                    size += len(chunk)
                    if size <= limit_bytes:
                        file.write(chunk)
                    elif size > limit_bytes + _DROPPED_BYTES:
                        break
        except TimeoutError:
            raise InvalidInput(f"nothing of the request's body came for {_IDLE_S:.0f} s") from None
        if size > limit_bytes:
            raise BodyTooLarge
        yield file


def parse_json(data: bytes) -> Any:
    """Any JSON value; of a key that is there twice the last one counts, as with Cortex's decoder. Raises InvalidInput."""
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None
    except ValueError as reason:  # of JSON, of UTF-8, or an integer of thousands of digits
        raise InvalidInput(f"the body is not valid JSON: {reason}") from None


def parse_object(data: bytes) -> dict[str, Any]:
    """As `parse_json`, which must be an object."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise InvalidInput("the body should be a JSON object")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is a number that JSON doesn't have")
