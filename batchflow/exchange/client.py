"""Asks the server in the pod, and goes where it redirects to."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from batchflow import contract
from batchflow.exchange.connection import Connection
from batchflow.exchange.messages import Origin, Reply, Request, redirected

__all__ = ["Client"]

MAX_REQUESTS: Final = 10  # of one exchange, redirects included, as Go's default client


class Client:
    """For one thread, but `abort` may come from another. The connection to the pod's server is kept alive, others are not.

    A redirect may lead to any http or https server, as Go's client lets it. That gives the user's server no reach that it hasn't by
    itself: it is in the same pod. We send no credentials and no cookies, use no proxy, drop the body of a success, and keep of a
    failure its first line, for the job's own records.
    """

    def __init__(self, port: int) -> None:
        self._origin = Origin("http", contract.HANDLER_HOST, port)
        self._kept = Connection(self._origin)
        self._elsewhere: Connection | None = None
        self._aborted = False

    @property
    def begun(self) -> bool:
        """Whether anything of the last answer of the pod's own server came."""
        return self._kept.begun

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, deadline: float) -> Reply:
        """The final answer, redirects followed; a redirect that can't be followed is final, and its `reason` says why.

        Raises as `Connection.exchange`; ConnectionRefusedError only if the pod's own server did not listen when asked first.
        """
        first = request = Request(method, self._origin, target, headers, body)
        for _ in range(MAX_REQUESTS):
            try:
                reply = self._exchange(request, deadline)
            except ConnectionRefusedError as error:
                if request is first:
                    raise
                raise OSError(f"nobody listens at {request.place}, where it redirected to") from error
            if request is not first:
                reply = reply._replace(url=request.place)
            try:
                follows = redirected(request, reply)
            except ValueError as error:
                return reply._replace(head=f"can't be redirected to {reply.location}: {error}".encode())
            if follows is None:
                return reply
            request = follows
        return reply._replace(head=f"stopped after {MAX_REQUESTS} redirects".encode())

    def abort(self) -> None:
        """Break the exchange that is under way; there is none after it."""
        self._aborted = True
        for connection in (self._kept, self._elsewhere):
            if connection is not None:
                connection.abort()

    def close(self) -> None:
        self._kept.close()

    def _exchange(self, request: Request, deadline: float) -> Reply:
        if self._aborted:
            raise ConnectionAbortedError("given up")
        if request.origin == self._origin:
            return self._kept.exchange(request, deadline)
        self._elsewhere = Connection(request.origin)
        with contextlib.closing(self._elsewhere):
            return self._elsewhere.exchange(request, deadline)
