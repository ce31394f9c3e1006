"""A connection to one server, kept alive between exchanges, each of which has a deadline."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import time
from typing import Final

from batchflow.exchange.messages import Origin, Reply, Request
from batchflow.exchange.reading import Reading, left_s

__all__ = ["Connection"]

# Servers close idle connections after 2 s or more; a younger one is used again.
MAX_IDLE_S: Final = 1.0
# A server that had closed the connection says so at once; one that breaks it later had begun with the request.
STALE_S: Final = 1.0


class Connection:
    """For one thread, but `abort` may come from another. `begun`: whether anything of the last answer came."""

    def __init__(self, origin: Origin) -> None:
        self.begun = False
        self._aborted = False
        self._origin = origin
        self._socket: socket.socket | None = None
        self._last_used = 0.0

    def exchange(self, request: Request, deadline: float) -> Reply:
        """Send the request and read its answer to the end, since a server may still be at work while it streams one.

        `deadline` is in seconds of time.monotonic. Raises ConnectionRefusedError if nobody listens, TimeoutError at the deadline, another
        OSError or an http.client.HTTPException if the connection broke, or what came is not HTTP.
        """
        data = request.encoded()
        reused = self._usable()
        started = time.monotonic()
        try:
            return self._exchange(data, request.method, deadline)
        except (OSError, http.client.HTTPException) as error:
            at_once = time.monotonic() - started < STALE_S and not isinstance(error, TimeoutError)
            if not reused or self.begun or not at_once:
                raise
        # The server closed the kept connection just when we used it. Delivery is at least once, so it may get the batch again;
        # if it is the batch that kills the server, this time it counts.
        return self._exchange(data, request.method, deadline)

    def abort(self) -> None:
        """Break the exchange that is under way; there is none after it."""
        self._aborted = True
        used = self._socket
        if used is not None:
            with contextlib.suppress(OSError):
                used.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _usable(self) -> bool:
        """Whether the kept connection may be used again; closes it if not. Readable between requests means closed by the server."""
        kept = self._socket
        if kept is None:
            return False
        if time.monotonic() - self._last_used < MAX_IDLE_S and not select.select([kept], [], [], 0)[0]:
            return True
        self.close()
        return False

    def _exchange(self, data: bytes, method: str, deadline: float) -> Reply:
        self.begun = keep = False
        try:
            connection = self._connected(deadline)
            if self._aborted:  # looked at last: whoever aborts from now on finds the socket
                raise ConnectionAbortedError("given up")
            connection.settimeout(left_s(deadline))
            # A server that answers early (413, say) and closes breaks our sending, but its answer is there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
                keep = True
            reading = Reading(connection, deadline)
            try:
                reply = reading.reply(method)
                keep = keep and reading.keeps
            finally:
                self.begun = reading.begun
        except BaseException:
            self.close()
            raise
        if keep:
            self._last_used = time.monotonic()
        else:
            self.close()
        return reply

    def _connected(self, deadline: float) -> socket.socket:
        if self._socket is None:
            opened = _open(self._origin, deadline)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._origin.scheme == "https":
                opened = ssl.create_default_context().wrap_socket(opened, server_hostname=self._origin.host)
            self._socket = opened
        return self._socket


def _open(origin: Origin, deadline: float) -> socket.socket:
    """Connect to one of the host's addresses; all of them together have until the deadline."""
    failed: OSError | None = None
    for *_, address in socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM):
        try:
            return socket.create_connection((str(address[0]), origin.port), left_s(deadline))
        except OSError as error:
            failed = failed or error
    raise failed or OSError(f"{origin.host} has no address")
