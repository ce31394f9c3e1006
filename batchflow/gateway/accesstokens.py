"""Access and refresh tokens of Verda's clients: signed, not stored, so that every gateway that reads the same credentials takes them.

A token is `<client's id and expiry>.<signature>`. The signature's key is made of the client's secret, so a token dies with its client, and
when the secret changes.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

__all__ = ["ACCESS_S", "ApiClient", "Use", "client_of", "make_token"]

# What `expires_in` says; the SDK uses a token up to that instant by its own clock, and tries nothing again (spec/verda.md section 2.1).
ACCESS_S: Final = 3600
_GRACE_S: Final = 60
_REFRESH_S: Final = 24 * 3600

_CLAIMS: Final = re.compile(r"(\d{1,12}) ([!-~]+)", re.ASCII)


class Use(Enum):
    """What a token is good for; each has signatures of its own."""

    ACCESS = "access"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class ApiClient:
    """A client of Verda's management API, and the namespace that it manages."""

    id: str
    secret: str = field(repr=False)
    namespace: str


def make_token(client: ApiClient, use: Use, *, now: float) -> str:
    """`now` is in Unix seconds."""
    return _signed(client, use, int(now) + (ACCESS_S if use is Use.ACCESS else _REFRESH_S))


def client_of(token: str, use: Use, find: Callable[[str], ApiClient | None], *, now: float) -> ApiClient | None:
    """The client of a token that is good now; `find` gives a client by its id. None for any other text."""
    encoded, _, _ = token.partition(".")
    try:
        claims = _CLAIMS.fullmatch(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("ascii"))
    except ValueError:
        return None
    client = find(claims[2]) if claims else None
    if claims is None or client is None:
        return None
    expires = int(claims[1])
    is_signed = hmac.compare_digest(_signed(client, use, expires).encode(), token.encode("utf-8", "surrogatepass"))
    return client if is_signed and now <= expires + _GRACE_S else None


def _signed(client: ApiClient, use: Use, expires: int) -> str:
    claims = f"{expires} {client.id}".encode("ascii")
    key = hmac.digest(client.secret.encode("ascii"), f"batchflow {use.value} token".encode("ascii"), "sha256")
    signature = hmac.digest(key, claims, "sha256")
    return f"{_base64(claims)}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
