"""A connection to one server, kept alive between exchanges, each of which has a deadline."""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
import time
from typing import Any, Final, cast

from batchflow import contract
from batchflow.exchange.messages import Origin, Reply, Request

__all__ = ["Connection"]

# Servers close idle connections after 2 s or more; a younger one is used again.
MAX_IDLE_S: Final = 1.0
# A server that had closed the connection says so at once; one that breaks it later had begun with the request.
STALE_S: Final = 1.0
_CHUNK_BYTES: Final = 65_536


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
            connection.settimeout(_left_s(deadline))
            # A server that answers early (413, say) and closes breaks our sending, but its answer is there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
                keep = True
            reading = _Reading(connection, deadline)
            try:
                # It asks a socket for its file, and for nothing else.
                with http.client.HTTPResponse(cast(socket.socket, reading), method=method) as response:
                    reply = _read(response)
                    keep = keep and not response.will_close
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


class _Reading(io.RawIOBase):
    """What comes from a socket until the deadline; HTTPResponse alone would wait anew for every byte."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.begun = False
        self._connection = connection
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        """As a socket does."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left_s(self._deadline))
        count = self._connection.recv_into(buffer)
        self.begun = self.begun or count > 0
        return count


def _read(response: http.client.HTTPResponse) -> Reply:
    response.begin()
    while http.client.CONTINUE < response.status < http.client.OK and response.status != http.client.SWITCHING_PROTOCOLS:
        # Such as 103 Early Hints: not the answer yet. `begin` skips only 100, and does nothing where it has headers already.
        response.headers = cast(http.client.HTTPMessage, None)
        response.begin()
    head = b""
    while response.length != 0:  # None: not said, as in chunks
        chunk = response.read1(_CHUNK_BYTES)
        if not chunk:
            break
        head += chunk[: contract.MAX_REASON_BYTES - len(head)]
    if response.length:  # read1 does not say so
        raise http.client.IncompleteRead(b"", response.length)
    return Reply(response.status, response.headers.get("Location", ""), head)


def _open(origin: Origin, deadline: float) -> socket.socket:
    """Connect to one of the host's addresses; all of them together have until the deadline."""
    failed: OSError | None = None
    for *_, address in socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM):
        try:
            return socket.create_connection((str(address[0]), origin.port), _left_s(deadline))
        except OSError as error:
            failed = failed or error
    raise failed or OSError(f"{origin.host} has no address")


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")  # in a socket's own words
    return left_s
