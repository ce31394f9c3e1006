"""What of a client's request its replica sees (spec/verda.md section 3.2); pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from batchflow.errors import InvalidInput

__all__ = ["INFERENCE_ID", "Preferences", "forwarded_headers", "given_id", "preferences", "split_path"]

INFERENCE_ID: Final = "x-inference-id"

_ID: Final = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
_ASYNC: Final = ("respond-async", "respond-async-container")
_PROXY: Final = "respond-async-proxy"
# RFC 9110 section 7.6.1, and older ones that are still sent.
_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_OURS: Final = frozenset(
    (
        "authorization",
        "x-cortex-authorization",  # the guard takes it for the other
        "prefer",
        # The courier says these itself. Of a reply only its type and bytes are kept, so it must come as it is.
        "accept-encoding",
        "content-length",
        "host",
        "x-inference-id",
        "expect",  # nobody waits for leave to send the body
    )
)

_Headers = Sequence[tuple[bytes, bytes]]


class Preferences(NamedTuple):
    """`is_quiet`: the answer has no body. `forwarded`: the replica's `Prefer`, empty for none."""

    is_quiet: bool
    forwarded: str


def split_path(raw_path: bytes) -> tuple[str, str]:
    """The first part of a path as it was sent, and the rest: a path again."""
    _, _, path = raw_path.partition(b"/")
    name, _, rest = path.partition(b"/")
    return name.decode("latin-1"), "/" + rest.decode("latin-1")


def given_id(values: Sequence[str]) -> str | None:
    """The call's id, by the `X-Inference-Id` headers of a request; None if there is none. Raises InvalidInput."""
    if not values:
        return None
    if len(values) > 1 or not _ID.fullmatch(values[0]):
        raise InvalidInput("X-Inference-Id should have 1 to 128 of the characters A-Z a-z 0-9 . _ : ~ -")
    return values[0]


def preferences(values: Iterable[str]) -> Preferences:
    """Of a request's `Prefer` headers. A call is asynchronous whatever they say."""
    parts = [part.strip() for value in values for part in value.split(",") if part.strip()]
    names = [re.split(r"[\s;=]", part, maxsplit=1)[0].lower() for part in parts]
    others = [part for part, name in zip(parts, names, strict=True) if name not in (*_ASYNC, _PROXY)]
    is_quiet = _PROXY in names
    return Preferences(is_quiet, ", ".join([*others, *(["respond-async"] if is_quiet else [])]))


def forwarded_headers(headers: _Headers, prefer: str) -> list[tuple[str, str]]:
    """End-to-end headers but for those that are between the client and us, or the courier's to say: courier/delivery.py adds these."""
    named = {name.strip().lower() for key, value in headers if key.lower() == b"connection" for name in value.decode("latin-1").split(",")}
    dropped = _HOP_BY_HOP | _OURS | named
    kept = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in headers]
    added = [("prefer", prefer)] if prefer else []
    return [*((key, value) for key, value in kept if key.lower() not in dropped), *added]
