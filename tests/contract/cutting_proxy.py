"""A TCP proxy that breaks a connection in the middle of an answer, once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class CuttingProxy:
    """Forwards connections to a server; the first to carry `limit_bytes` of an answer is cut there, after `on_cut()`."""

    def __init__(self, server: str, limit_bytes: int, on_cut: Callable[[], Any]) -> None:
        self._server = server
        self._limit_bytes = limit_bytes
        self._on_cut = on_cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        host, _, port = self._server.removeprefix("http://").partition(":")
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)))
            threading.Thread(target=self._pump, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, self._limit_bytes), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, limit_bytes: int | None) -> None:
        carried = 0
        with source, target, suppress(OSError):
            while data := source.recv(65536):
                carried += len(data)
                if limit_bytes is not None and carried > limit_bytes and self.cuts == 0:
                    self.cuts += 1
                    self._on_cut()
                    break
                target.sendall(data)
            for end in (source, target):
                end.shutdown(socket.SHUT_RDWR)
