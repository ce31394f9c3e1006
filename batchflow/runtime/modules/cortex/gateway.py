"""Requests to batchflow's gateway."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .exceptions import CortexBinaryException, CortexException

__all__ = ["Gateway"]

_TIMEOUT_S = 300.0  # without a word from the gateway, which may be storing a project or stopping an api's jobs
_SHOWN = 200  # characters of an answer that is not the gateway's


class Gateway:
    """One gateway; each request has a connection of its own, past any proxy."""

    def __init__(self, url: str, token: str) -> None:
        """`token` is empty for a gateway without credentials."""
        parts = urlsplit(url)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:  # of the port
            self._host = ""
        if parts.scheme not in ("http", "https") or not self._host:
            raise CortexException(f"BATCHFLOW_GATEWAY_URL is {url}, which is no http or https URL")
        self._is_tls = parts.scheme == "https"
        self._path = parts.path.rstrip("/")
        self._token = token

    def ask(
        self,
        method: str,
        *path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
    ) -> Any:
        """The JSON of an answer with status 200; raises CortexBinaryException. `path` is in segments."""
        target = "/".join((self._path, *(quote(segment, safe="") for segment in path)))
        target += f"?{urlencode(query)}" if query else ""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if content_type:
            headers["Content-Type"] = content_type
        try:
            status, answer = self._exchange(method, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            reason = f"{method} {target}: the gateway at {self._host} can't be reached: {error or type(error).__name__}"
            raise CortexBinaryException(reason, kind="unreachable") from error
        return _json(status, answer, f"{method} {target}")

    def _exchange(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _json(status: int, answer: bytes, request: str) -> Any:
    try:
        document = json.loads(answer)
    except ValueError:
        text = answer.decode(errors="replace").strip()[:_SHOWN]
        raise CortexBinaryException(f"{request} was answered with status {status}: {text}") from None
    if status == http.client.OK:
        return document
    fields = document if isinstance(document, dict) else {}
    message = fields.get("message") or f"{request} was answered with status {status}"
    raise CortexBinaryException(str(message), kind=str(fields.get("kind") or "error"))
