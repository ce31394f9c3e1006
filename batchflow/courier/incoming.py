"""Reads an answer of any size. The standard library parses it, but doesn't wait as we must, nor notice each place where it is cut off."""

from __future__ import annotations

import http.client
import io
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, cast

from batchflow.courier.disk import on_disk

__all__ = ["Answer", "BrokenOff"]

_LOOK_S: Final = 0.2  # how often it is asked whether a silent connection is given up
_CHUNK_BYTES: Final = 65_536


class BrokenOff(http.client.HTTPException):
    """Something came, but no whole answer. Its text says what happened."""


class _Incoming(io.RawIOBase):
    """What comes over a connection until `given_up()`.

    `began`: something came. `ended`: the other side has closed it, and all that it sent was read.
    """

    def __init__(self, connection: socket.socket, given_up: Callable[[], bool]) -> None:
        self.began = False
        self.ended = False
        self._connection = connection
        self._given_up = given_up

    def makefile(self, mode: str) -> io.BufferedReader:
        """As a socket does; HTTPResponse asks it for nothing else."""
        return io.BufferedReader(self, _CHUNK_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._given_up():
            if select.select([self._connection], [], [], _LOOK_S)[0]:
                count = self._connection.recv_into(buffer)
                self.began = self.began or count > 0
                self.ended = count == 0
                return count
        raise TimeoutError("given up")


class Answer:
    """The final answer to a request, 1xx skipped, redirects not followed: made once its status and headers came, to be read once.

    Making and reading it raises BrokenOff if the connection broke, ended or was given up before the answer was whole, or what came is not
    HTTP. If nothing came at all, it raises TimeoutError when it was given up, else another OSError or an http.client.HTTPException.
    An answer that doesn't say how long it is ends with the connection.
    """

    def __init__(self, connection: socket.socket, method: str, given_up: Callable[[], bool]) -> None:
        self._incoming = _Incoming(connection, given_up)
        self._response = http.client.HTTPResponse(cast(socket.socket, self._incoming), method=method)
        with self._breaking_off():
            self._begin()

    def _begin(self) -> None:
        self._response.begin()
        while self._response.status < http.client.OK:
            if self._response.status == http.client.SWITCHING_PROTOCOLS:
                raise http.client.HTTPException("it answered 101 Switching Protocols, for which nobody asked")
            # Such as 103 Early Hints. `begin` skips only 100, and does nothing where it has headers already.
            self._response.headers = cast(http.client.HTTPMessage, None)
            self._response.begin()
        self._check_that_it_goes_on()  # else headers that were cut off would pass for all of them

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def content_type(self) -> str:
        """Empty if it says none, or none that a header can carry."""
        text = " ".join(self._response.headers.get("Content-Type", "").split())
        return text if text.isprintable() else ""

    def copy(self, into: BinaryIO, limit_bytes: int) -> int:
        """Write the body into a file, as it comes; returns its size: of one that is larger than the limit, somewhat more than that.

        Raises Unreachable if the file takes no more.
        """
        with self._breaking_off():
            return self._copy(into, limit_bytes)

    def _copy(self, into: BinaryIO, limit_bytes: int) -> int:
        size_bytes = 0
        while size_bytes <= limit_bytes and self._response.length != 0:  # None: not said, as in chunks
            chunk = self._response.read1(_CHUNK_BYTES)
            if not chunk:
                break
            with on_disk():
                into.write(chunk)
            size_bytes += len(chunk)
        with on_disk():
            into.flush()
        if self._response.chunked or self._response.length:
            self._check_that_it_goes_on()
        return size_bytes

    @contextmanager
    def _breaking_off(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            if not self._incoming.began:
                raise
            why = "the connection ended first" if self._incoming.ended else type(error).__name__
            raise BrokenOff(why) from error

    def _check_that_it_goes_on(self) -> None:
        if self._incoming.ended:
            raise http.client.IncompleteRead(b"", self._response.length)
