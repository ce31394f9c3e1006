"""Who may come in: a token's owner, or without tokens whoever is on this machine; never a browser on another site's behalf."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from batchflow.gateway.answers import problem
from batchflow.gateway.credentials import Credentials, Kind
from batchflow.gateway.verda.answers import CODES, FORBIDDEN, UNAUTHORIZED

__all__ = ["OPEN_PATHS", "Guard", "Visitor", "is_loopback"]

_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::\d{1,5})?")
OPEN_PATHS: Final = ("/healthz",)
_ALLOW: Final = {"Allow": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}
_FOR_STRANGERS: Final = ("/v1/oauth2/token", "/v1/container-types")  # as Verda has them; a browser on another site's behalf is refused


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose request it is: the namespace that its bearer opens, what for, and a token of that namespace for its workers."""

    namespace: str
    token: str
    kinds: frozenset[Kind]


class Guard:
    """Refuses a request, or passes it on with `visitor` in its state, unless anybody may ask that.

    Whose client it is, Cortex's or Verda's, is not known of a request that is refused: the answer has the keys of both.
    Without credentials only requests with a loopback Host and without an Origin pass: a page that a browser on this machine shows has
    an Origin, or, by a name of its own that it lets point to this machine, another Host.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials | None, own_namespace: str) -> None:
        self._app = app
        self._credentials = credentials
        self._own = own_namespace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] == "http" and scope["path"] in OPEN_PATHS and scope["method"] not in ("POST", "DELETE")  # an api's, perhaps
        if scope["type"] != "http" or is_open:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "CONNECT":  # whoever asks: this is no proxy
            refusal = problem(405, "method_not_allowed", "there is nothing to connect to", code=CODES[405], headers=_ALLOW)
            await refusal(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if _is_cross_site(headers) or (self._credentials is None and not _is_local(headers)):
            message = "this request comes from another site, or by a name that is not this machine's"
            await problem(403, "forbidden", message, code=FORBIDDEN)(scope, receive, send)
            return
        if scope["path"] in _FOR_STRANGERS:
            await self._app(scope, receive, send)
            return
        visitor = self._visitor(headers)
        if visitor is None:
            refusal = problem(
                401, "unauthorized", "a valid token or key is needed", code=UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"}
            )
            await refusal(scope, receive, send)
            return
        scope.setdefault("state", {})["visitor"] = visitor
        await self._app(scope, receive, send)

    def _visitor(self, headers: Headers) -> Visitor | None:
        if self._credentials is None:
            return Visitor(self._own, "", frozenset(Kind))
        bearer = self._credentials.bearer(_token(headers))
        return Visitor(bearer.namespace, self._credentials.token_of(bearer.namespace), bearer.kinds) if bearer else None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine by itself, whatever a name server says."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(headers: Headers) -> str:
    """From `Authorization: Bearer`, or Cortex's own header, with or without that word."""
    text = headers.get("authorization") or headers.get("x-cortex-authorization") or ""
    scheme, _, rest = text.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    return "" if "authorization" in headers else text.strip()


def _is_cross_site(headers: Headers) -> bool:
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _is_local(headers: Headers) -> bool:
    if "origin" in headers:
        return False
    host = _HOST.fullmatch(headers.get("host", ""))
    return host is not None and is_loopback(host["v6"] or host["name"])
