"""What one namespace has of the gateway at once: whoever's store does not answer, or whose clients are slow, holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import IO, Final, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from batchflow.gateway.body import MAX_BODY_BYTES, SMALL_BYTES, read_body

__all__ = ["Share", "Turns"]

_THREADS: Final = 24
# Small bodies are worked on by threads beside those, so that questions are answered meanwhile.
_SMALL_AT_ONCE: Final = 16
_LARGE_AT_ONCE: Final = 4  # that are not parsed, but on their way to the store, a few MiB of each in memory
# A body takes up to SMALL_BYTES of memory and, if it is larger, its size on disk, from its first byte to its request's end.
_BODIES: Final = 32
_SCRAPES: Final = 4  # they wait for each other in threads
_DELETIONS: Final = 4  # of apis: each waits in a thread for its jobs' ends

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Share:
    """A namespace's. Who finds none of it left waits for those of the same namespace."""

    def __init__(self) -> None:
        self._threads = CapacityLimiter(_THREADS)
        self._small = CapacityLimiter(_SMALL_AT_ONCE)
        self._large = CapacityLimiter(_LARGE_AT_ONCE)
        self._bodies = asyncio.Semaphore(_BODIES)
        self.scrapes = asyncio.Semaphore(_SCRAPES)
        self.deletions = asyncio.Semaphore(_DELETIONS)

    async def run(self, work: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        """Run `work` in a thread."""
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._threads)

    async def run_with_body(self, size_bytes: int, work: Callable[[], _Result]) -> _Result:
        """Run `work`, which takes a body of that size, in a thread."""
        return await to_thread.run_sync(work, limiter=self._large if size_bytes > SMALL_BYTES else self._small)

    @asynccontextmanager
    async def body(self, request: Request, limit_bytes: int = MAX_BODY_BYTES) -> AsyncIterator[IO[bytes]]:
        """As `read_body`. Those that wait are not read: the server takes 64 KiB of a connection, then the client has to wait."""
        async with self._bodies, read_body(request, limit_bytes) as body:
            yield body


class Turns:
    """Large bodies that are parsed are worked on one at a time, whosever they are, by one thread: each then takes many times its size."""

    def __init__(self) -> None:
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-body")

    async def run(self, share: Share, size_bytes: int, work: Callable[[], _Result]) -> _Result:
        """Run `work`, which takes a body of that size, in a thread."""
        if size_bytes > SMALL_BYTES:
            return await asyncio.get_running_loop().run_in_executor(self._large, work)
        return await share.run_with_body(size_bytes, work)
