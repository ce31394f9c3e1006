"""The one exchange with the replica: the stored request goes out, the reply goes into a file."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import BinaryIO, Final

from batchflow.callrecords import CallRequest, Reply
from batchflow.courier.incoming import Answer

__all__ = ["encoded_head", "exchange", "is_closed"]

_WITH_BODY: Final = ("PATCH", "POST", "PUT")  # a server may wait for the length of these, though it is 0


def encoded_head(request: CallRequest, authority: str, body_bytes: int) -> bytes:
    """The request's first line and headers, as they go over the wire. `authority`: of the replica.

    What it adds is not among the stored headers: gateway/forwarding.py.
    """
    target = request.target if request.target.startswith("/") else f"/{request.target}"
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    lines += [f"X-Inference-Id: {request.id}", "Accept-Encoding: identity", "Connection: close"]
    if body_bytes or request.method in _WITH_BODY:
        lines.append(f"Content-Length: {body_bytes}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")  # as the gateway's server decoded them


def exchange(
    connection: socket.socket,
    request: CallRequest,
    authority: str,
    *,
    body: BinaryIO,
    reply_body: BinaryIO,
    limit_bytes: int,
    given_up: Callable[[], bool],
) -> Reply:
    """Send the request, and read the reply, which takes as long as it takes. Call it once for a connection.

    `body` and `reply_body` are files on disk. Of a reply that is larger than the limit the rest is not read. Raises as `Answer`.
    """
    head = encoded_head(request, authority, os.fstat(body.fileno()).st_size)
    # Beside reading: a server may answer while it still reads, and then read no further until its answer is taken.
    sending = Thread(target=_send, args=(connection, head, body), name="sending")
    sending.start()
    try:
        answer = Answer(connection, request.method, given_up)
        size_bytes = answer.copy(reply_body, limit_bytes)
        return Reply(answer.status, answer.content_type, size_bytes)
    finally:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # then the sending ends, too
        sending.join()


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection over which nothing was sent yet, or spoken first."""
    return bool(select.select([connection], [], [], 0)[0])


def _send(connection: socket.socket, head: bytes, body: BinaryIO) -> None:
    # A server that answers early (413, say) and closes breaks our sending, but its answer is there to be read.
    with suppress(OSError):
        connection.sendall(head)
        connection.sendfile(body)
