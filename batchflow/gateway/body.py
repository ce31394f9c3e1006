"""A request's body: bounded while it comes, on disk while it waits for its turn, so that memory does not grow with those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import IO, Final, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from batchflow.errors import InvalidInput

__all__ = ["MAX_BODY_BYTES", "Turns", "read_body"]

# Cortex's, the limit of AWS API Gateway (spec/cortex.md section 4).
MAX_BODY_BYTES: Final = 10 * 2**20
SMALL_BYTES: Final = 2**18
_SMALL_AT_ONCE: Final = 16
# A client that still sends may not read the answer; so much more is taken and dropped, for so long.
_DROPPED_BYTES: Final = 2 * MAX_BODY_BYTES
_BODY_S: Final = 300.0

_Result = TypeVar("_Result")


@asynccontextmanager
async def read_body(request: Request, limit_bytes: int = MAX_BODY_BYTES) -> AsyncIterator[IO[bytes]]:
    """The whole body as a file, at its end; raises InvalidInput if it is too big, or takes too long."""
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
            raise InvalidInput("http: request body too large")
        yield file


class Turns:
    """Large bodies are worked on one at a time, by one thread: parsed, one takes many times its size."""

    def __init__(self) -> None:
        self._small = asyncio.Semaphore(_SMALL_AT_ONCE)
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-body")

    async def run(self, size_bytes: int, work: Callable[[], _Result]) -> _Result:
        """Run `work`, which takes a body of that size, in a thread."""
        if size_bytes > SMALL_BYTES:
            return await asyncio.get_running_loop().run_in_executor(self._large, work)
        async with self._small:
            return await run_in_threadpool(work)
