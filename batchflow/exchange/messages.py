"""A request, a reply, and the request that a redirect asks for: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

__all__ = ["Origin", "Reply", "Request", "redirected", "target_of"]

# Go's redirectBehavior: these ask again with GET and without the body, unless the method was GET or HEAD …
_AS_GET: Final = (301, 302, 303)
# … and these send the same again.
_AS_IT_WAS: Final = (307, 308)
_PORTS: Final = {"http": 80, "https": 443}
# A name or an IPv4 address, as getaddrinfo takes them, or an IPv6 address, as urlsplit gives it.
_HOST: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?|[0-9a-f]*:[0-9a-f:.]*")
_AS_WRITTEN: Final = "!$%&'()*+,/:;=?@[]~"  # in a path and query; all else is sent as %XX


class Origin(NamedTuple):
    """Where a server listens; `scheme` is http or https."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Request(NamedTuple):
    """`target` is path and query; `body` is None for a request that has none."""

    method: str
    origin: Origin
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None

    @property
    def url(self) -> str:
        return f"{self.origin.scheme}://{self.origin.authority}{self.target}"

    @property
    def place(self) -> str:
        """The URL for a reader; a query may hold secrets."""
        return self.url.partition("?")[0]

    def encoded(self) -> bytes:
        """As it goes over the wire: in one packet, if it fits."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {self.origin.authority}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body is None:
            return "\r\n".join((*lines, "", "")).encode()
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join((*lines, "", "")).encode() + self.body


class Reply(NamedTuple):
    """The head of an answer: its status, its Location, and the start of its body. `url` is who gave it, if that is not who was asked."""

    status: int
    location: str
    head: bytes
    url: str = ""

    @property
    def reason(self) -> str:
        """For a reader: the status and the first line of the body."""
        first = self.head.decode(errors="replace").strip().partition("\n")[0].strip()
        return f"status {self.status}" + (f" from {self.url}" if self.url else "") + (f": {first}" if first else "")


def target_of(path: str | bytes) -> str:
    """A path, and perhaps a query, as a request line can carry it."""
    target = quote(path, _AS_WRITTEN)
    return target if target.startswith("/") else f"/{target}"


def redirected(request: Request, reply: Reply) -> Request | None:
    """The request that follows; None if the reply is final: no redirect, or one without a Location.

    Raises ValueError for a Location that is no http(s) URL. The headers go along, as Go's do; user and password in a Location, and
    Go's Referer, do not.
    """
    if reply.status not in _AS_GET + _AS_IT_WAS or not reply.location:
        return None
    parts = urlsplit(urljoin(request.url, reply.location))
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host):
        raise ValueError("no http or https URL")
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    origin = Origin(parts.scheme, host, parts.port or _PORTS[parts.scheme])
    follows = request._replace(origin=origin, target=target_of(target.encode("latin-1")))  # as headers are decoded, whatever they were
    return follows if reply.status in _AS_IT_WAS else follows._replace(method="GET", body=None)
