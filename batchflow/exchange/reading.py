"""Reads an answer: a plain one by itself, any other with the standard library, whose parser costs more than the rest of an exchange."""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from typing import Any, Final, cast

from batchflow import contract
from batchflow.exchange.messages import Reply

__all__ = ["Reading", "left_s"]

_CHUNK_BYTES: Final = 65_536
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_CONTINUE: Final = b"HTTP/1.1 100 "
_OK: Final = b"HTTP/1.1 200 "
_LENGTH: Final = re.compile(rb"^Content-Length:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
# A line that begins with white space goes on with the one before it.
_NOT_PLAIN: Final = re.compile(rb"^(?:[ \t]|Transfer-Encoding|Connection:(?!\s*keep-alive\s*$))", re.IGNORECASE | re.MULTILINE)


class Reading(io.RawIOBase):
    """What comes from a socket until the deadline; HTTPResponse alone would wait anew for every byte.

    Attributes:
        begun: whether anything came.
        keeps: whether the server keeps the connection open after the answer.
    """

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.begun = False
        self.keeps = False
        self._connection = connection
        self._deadline = deadline
        self._unread = b""

    def reply(self, method: str) -> Reply:
        """The whole answer. Raises TimeoutError at the deadline, another OSError or an http.client.HTTPException if there is none."""
        plain = self._plain_reply()
        if plain is not None:
            self.keeps = True
            return plain
        # It asks a socket for its file, and for nothing else.
        with http.client.HTTPResponse(cast(socket.socket, self), method=method) as response:
            reply = _read(response)
            self.keeps = not response.will_close
        return reply

    def makefile(self, mode: str) -> io.BufferedReader:
        """As a socket does."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._unread or self._receive()
        count = min(len(data), len(buffer))
        buffer[:count] = data[:count]
        self._unread = data[count:]
        return count

    def _plain_reply(self) -> Reply | None:
        """The answer if it is a plain 200; None as soon as it is seen to be another, and then all of it is still to be read."""
        received = b""
        while len(received) < _CHUNK_BYTES and (more := self._receive()):
            received += more
            answer = _without_interim(received)
            if answer[: len(_OK)] != _OK[: len(answer)]:
                break
            end = _BLANK_LINE.search(answer)
            if end is None:
                continue
            body = answer[end.end() :]
            length = _plain_length(answer[: end.start()])
            if length == len(body):
                return Reply(http.client.OK, "", body[: contract.MAX_REASON_BYTES])
            if length is None or length < len(body):
                break
        self._unread = received
        return None

    def _receive(self) -> bytes:
        """Some bytes; none at the end."""
        self._connection.settimeout(left_s(self._deadline))
        data = self._connection.recv(_CHUNK_BYTES)
        self.begun = self.begun or bool(data)
        return data


def left_s(deadline: float) -> float:
    """Until `deadline`, in seconds of time.monotonic; raises TimeoutError if it is past."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")  # in a socket's own words
    return seconds


def _without_interim(data: bytes) -> bytes:
    """What follows the server's word that it has the request."""
    while data.startswith(_CONTINUE):
        end = _BLANK_LINE.search(data)
        data = data[end.end() :] if end else b""
    return data


def _plain_length(head: bytes) -> int | None:
    """How many bytes follow the head of a plain 200: one that says so once, and has no chunks and no last words on the connection."""
    lengths = _LENGTH.findall(head)
    return int(lengths[0]) if head.startswith(_OK) and len(lengths) == 1 and not _NOT_PLAIN.search(head) else None


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
