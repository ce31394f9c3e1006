"""Load by several clients at once, each over one kept connection."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

from bench.figures import Span
from bench.harness import BenchError

__all__ = ["CLIENTS", "Request", "answered", "asked"]

CLIENTS = 4
REQUEST_S = 300


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, again and again."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def answered(port: int, request: Request, count: int) -> tuple[Span, list[bytes]]:
    """Ask `count` times, each client its share; every answer. Raises BenchError for one that is not a 200."""
    clients = min(CLIENTS, count)
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(lambda _: _client(port, request, count // clients), range(clients)))
    answers = [answer for part in found for answer in part]
    return Span(len(answers), began, time.monotonic()), answers


def asked(port: int, request: Request) -> Any:
    """The JSON of one answer; raises BenchError as `answered`."""
    return json.loads(_client(port, request, 1)[0])


def _client(port: int, request: Request, count: int) -> list[bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)
    answers = []
    try:
        for _ in range(count):
            connection.request(request.method, request.path, request.body, dict(request.headers))
            response = connection.getresponse()
            answers.append(response.read())
            if response.status != 200:
                raise BenchError(f"{request.method} {request.path}: {response.status} {answers[-1][:500]!r}")
    finally:
        connection.close()
    return answers
