"""One batch, one POST: the HTTP client of a slot, and what became of the request."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from batchflow import contract

__all__ = ["Answer", "HandlerClient", "Result"]

# Servers close idle connections after 2 s or more; a younger one is used again.
MAX_IDLE_S: Final = 1.0
# A server that had closed the connection says so at once; one that breaks it later had begun with the batch.
STALE_S: Final = 1.0
# What our runtime answers while it stops; any other server's 503 is a failed attempt.
RUNTIME_STOPPING: Final = 503
_CHUNK_BYTES: Final = 65_536


class Result(Enum):
    """What became of a request. `REFUSED`: nobody listened, or the server was stopping, so nothing was tried."""

    OK = "answered 200"
    FAILED = "answered something else"
    BROKEN = "connection broken"
    TIMED_OUT = "no answer in time"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """`reason` is empty for OK; `seconds` is how long the handler had the request."""

    result: Result
    reason: str
    seconds: float


class HandlerClient:
    """Posts to the handler over a connection that is kept alive; for one thread, but `abort` may come from another.

    A redirect is not followed: like every status but 200 it is a failure. The answer's body is read to its end (a server may still be
    at work while it streams one) and dropped. `runtime`: the server is ours, which says `100 Continue` when it has a request, so that a
    batch counts as tried only if it reached a living handler; and answers 503 to what it does not begin with, because it is stopping.
    """

    def __init__(self, port: int, timeout_s: float, *, runtime: bool = False) -> None:
        self._address = (contract.HANDLER_HOST, port)
        self._timeout_s = timeout_s
        self._runtime = runtime
        self._socket: socket.socket | None = None
        self._last_used = 0.0

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request and wait for the whole answer, at most `timeout_s` in all."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {contract.HANDLER_HOST}:{self._address[1]}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["Expect: 100-continue"] if self._runtime else []
        request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body  # in one packet, if it fits
        reused = self._usable()
        answer, begun = self._exchange(request)
        if reused and not begun and answer.result is Result.BROKEN and answer.seconds < STALE_S:
            # The server closed the kept connection just when we used it. Delivery is at least once, so it may get the batch again;
            # if it is the batch that kills the server, this time it counts.
            answer, _ = self._exchange(request)
        return answer

    def abort(self) -> None:
        """Break the request that is under way."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

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

    def _exchange(self, request: bytes) -> tuple[Answer, bool]:
        """The answer, and whether any of it had come before the connection broke."""
        started = time.monotonic()
        deadline = started + self._timeout_s
        begun = keep = False
        try:
            connection = self._send(request, deadline)
            begun = self._runtime and bool(connection.recv(1, socket.MSG_PEEK))
            response = http.client.HTTPResponse(connection, method="POST")
            with response:
                response.begin()
                begun = True
                result, reason = self._read(response, connection, deadline)
                keep = not response.will_close
        except ConnectionRefusedError as error:
            result, reason = Result.REFUSED, str(error)
        except TimeoutError:
            result, reason = Result.TIMED_OUT, f"no answer within {self._timeout_s:g} s"
        except (OSError, http.client.HTTPException) as error:
            result = Result.REFUSED if self._runtime and not begun else Result.BROKEN
            reason = f"the connection broke: {error or type(error).__name__}"
            if isinstance(error, ConnectionError):
                # Which of the two, Kubernetes knows as long as the pod lives: an ended sidecar has no `lastState`.
                reason += " (did the handler crash, or run out of memory?)"
        ended = time.monotonic()
        if keep:
            self._last_used = ended
        else:
            self.close()
        return Answer(result, reason, ended - started), begun

    def _send(self, request: bytes, deadline: float) -> socket.socket:
        connection = self._socket
        if connection is None:
            connection = self._socket = socket.create_connection(self._address, _left_s(deadline))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(_left_s(deadline))
        # A server that answers early (413, say) and closes breaks our sending, but its answer is there to be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        return connection

    def _read(self, response: http.client.HTTPResponse, connection: socket.socket, deadline: float) -> tuple[Result, str]:
        """Read the answer to its end; the reason is its status and the first line of its body."""
        head = b""
        while response.length != 0:  # None: not said, as in chunks
            connection.settimeout(_left_s(deadline))
            chunk = response.read1(_CHUNK_BYTES)
            if not chunk:
                break
            head += chunk[: contract.MAX_REASON_BYTES - len(head)]
        if response.length:  # read1 does not say so
            raise http.client.IncompleteRead(b"", response.length)
        if response.status == 200:
            return Result.OK, ""
        if self._runtime and response.status == RUNTIME_STOPPING:
            return Result.REFUSED, "the handler is stopping"
        first = head.decode(errors="replace").strip().partition("\n")[0].strip()
        return Result.FAILED, f"status {response.status}" + (f": {first}" if first else "")


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
