"""What of a request reaches the replica."""

from __future__ import annotations

import pytest

from batchflow.errors import InvalidInput
from batchflow.gateway.forwarding import Preferences, forwarded_headers, given_id, preferences, split_path


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (b"/name", ("name", "/")),
        (b"/name/", ("name", "/")),
        (b"/name/a/b", ("name", "/a/b")),
        (b"/name//a", ("name", "//a")),
        (b"/", ("", "/")),
        (b"/name/%2F%C3%A4", ("name", "/%2F%C3%A4")),
    ],
)
def test_the_name_and_the_rest(path: bytes, parts: tuple[str, str]) -> None:
    assert split_path(path) == parts


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Preferences(False, "")),
        (["respond-async"], Preferences(False, "")),
        (["RESPOND-ASYNC-container"], Preferences(False, "")),
        (["respond-async-proxy"], Preferences(True, "respond-async")),
        (["respond-async", "wait=5; x=y"], Preferences(False, "wait=5; x=y")),
        (["a, respond-async-proxy ,b"], Preferences(True, "a, b, respond-async")),
        (["respond-async; foo=bar"], Preferences(False, "")),
        ([" , "], Preferences(False, "")),
    ],
)
def test_preferences(values: list[str], expected: Preferences) -> None:
    assert preferences(values) == expected


def test_headers() -> None:
    sent = [
        (b"host", b"x"),
        (b"authorization", b"Bearer key"),
        (b"x-cortex-authorization", b"key"),
        (b"content-length", b"3"),
        (b"expect", b"100-continue"),
        (b"connection", b"close, X-Hop"),
        (b"x-hop", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"prefer", b"respond-async"),
        (b"content-type", b"text/plain"),
        (b"x-twice", b"1"),
        (b"x-twice", b"\xe4"),
    ]
    kept = [("content-type", "text/plain"), ("x-twice", "1"), ("x-twice", "ä")]
    assert forwarded_headers(sent, "") == kept
    assert forwarded_headers(sent, "wait=5") == [*kept, ("prefer", "wait=5")]


def test_ids() -> None:
    assert given_id([]) is None
    assert given_id(["A-z_0.9:~"]) == "A-z_0.9:~"
    for values in ([""], ["x" * 129], ["a b"], ["ä"], ["one", "two"], ["a\n"]):
        with pytest.raises(InvalidInput):
            given_id(values)
