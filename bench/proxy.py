"""A TCP proxy that makes a loopback server as far away as the cloud: what a client sends arrives `delay` later, answers at once.

    python -m bench.proxy HOST:PORT DELAY_MS

prints its port. One thread and no HTTP: it only moves bytes, so calls on different connections wait at the same time. Nagle's algorithm
is off on both sides. It ends when its stdin is closed.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
import time
from collections import deque

__all__ = ["DelayProxy"]

CHUNK_BYTES = 262_144


class DelayProxy:
    """Delays every chunk from a client by `delay_s`; the order of chunks stays, since all wait equally long."""

    def __init__(self, upstream: tuple[str, int], delay_s: float) -> None:
        self._upstream = upstream
        self._delay_s = delay_s
        # select() takes its timeout in microseconds, epoll in whole milliseconds.
        self._selector = selectors.SelectSelector()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._due: deque[tuple[float, socket.socket, bytes]] = deque()

    def serve(self, listener: socket.socket) -> None:
        """Forward until the process ends."""
        self._selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(self._wait_s()):
                if key.fileobj is listener:
                    self._accept(listener)
                elif key.fileobj in self._peers:  # else closed by an earlier event of this turn
                    self._read(key.fileobj)
            while self._due and self._due[0][0] <= time.monotonic():
                _, server, data = self._due.popleft()
                self._forward(server, data)

    def _wait_s(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        try:
            server = socket.create_connection(self._upstream)
        except OSError:
            client.close()
            return
        self._clients.add(client)
        for end, peer in ((client, server), (server, client)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[end] = peer
            self._selector.register(end, selectors.EVENT_READ)

    def _read(self, end: socket.socket) -> None:
        try:
            data = end.recv(CHUNK_BYTES)
        except OSError:
            data = b""
        peer = self._peers[end]
        if not data:
            self._close(end)
        elif end in self._clients and self._delay_s:
            self._due.append((time.monotonic() + self._delay_s, peer, data))
        else:
            self._forward(peer, data)

    def _forward(self, end: socket.socket, data: bytes) -> None:
        """Blocking, and yet nobody waits: a call is some kilobytes, and what it goes to reads it."""
        if end not in self._peers:
            return
        try:
            end.sendall(data)
        except OSError:
            self._close(end)

    def _close(self, end: socket.socket) -> None:
        """Both sides of the connection; a client that hangs up does not wait for an answer."""
        for one in (end, self._peers[end]):
            self._selector.unregister(one)
            self._clients.discard(one)
            del self._peers[one]
            one.close()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    DelayProxy((host, int(port)), float(sys.argv[2]) / 1000).serve(listener)


if __name__ == "__main__":
    main()
