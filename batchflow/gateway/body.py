"""A request's body: bounded while it comes, on disk while it waits for its turn, so that memory does not grow with those who wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, NoReturn, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from batchflow.errors import InvalidInput

__all__ = ["MAX_BODY_BYTES", "BodyTooLarge", "Turns", "parse_json", "parse_object", "read_body"]

# Cortex's, the limit of AWS API Gateway (spec/cortex.md section 4).
MAX_BODY_BYTES: Final = 10 * 2**20
SMALL_BYTES: Final = 2**18
_SMALL_AT_ONCE: Final = 16
# A client that still sends may not read the answer; so much more is taken and dropped, for so long.
_DROPPED_BYTES: Final = 2 * MAX_BODY_BYTES
_BODY_S: Final = 300.0

_Result = TypeVar("_Result")


class BodyTooLarge(InvalidInput):
    """In Cortex's words."""

    def __init__(self) -> None:
        super().__init__("http: request body too large")


@asynccontextmanager
async def read_body(request: Request, limit_bytes: int = MAX_BODY_BYTES) -> AsyncIterator[IO[bytes]]:
    """The whole body as a file, at its end; raises BodyTooLarge, or InvalidInput if it takes too long."""
    with SpooledTemporaryFile(max_size=SMALL_BYTES) as file:
        size = 0
        try:
            async with asyncio.timeout(_BODY_S):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size <= limit_bytes:
                        file.write(chunk)
                    elif size > limit_bytes + _DROPPED_BYTES:
                        break
        except TimeoutError:
            raise InvalidInput(f"the request's body took longer than {_BODY_S:.0f} s") from None
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


class Turns:
    """Large bodies are worked on one at a time, by one thread: parsed, one takes many times its size.

    `large_at_once`: of those that are not parsed there may be more.
    """

    def __init__(self, large_at_once: int = 1) -> None:
        self._small = asyncio.Semaphore(_SMALL_AT_ONCE)
        self._large = ThreadPoolExecutor(large_at_once, thread_name_prefix="large-body")

    async def run(self, size_bytes: int, work: Callable[[], _Result]) -> _Result:
        """Run `work`, which takes a body of that size, in a thread."""
        if size_bytes > SMALL_BYTES:
            return await asyncio.get_running_loop().run_in_executor(self._large, work)
        async with self._small:
            return await run_in_threadpool(work)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is a number that JSON doesn't have")
