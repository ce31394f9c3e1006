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


@pytest.mark.parametrize(
    "dropped",
    [
        ("Host", "the-gateway:80"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Upgrade", "h2c"),
        ("Expect", "100-continue"),
        ("Accept-Encoding", "gzip"),
        ("X-Inference-Id", "another"),
    ],
)
def test_what_belongs_to_a_connection_or_is_ours_to_say_is_not_passed_on(dropped: tuple[str, str]) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in (("A", "1"), dropped, ("B", "2"))]
    assert forwarded_headers(headers, "") == [("a", "1"), ("b", "2")]


def test_what_connection_names_is_not_passed_on() -> None:
    headers = [(b"x-mine", b"1"), (b"connection", b"close, x-MINE ,X-Other"), (b"x-other", b"2"), (b"x-kept", b"3")]
    assert forwarded_headers(headers, "") == [("x-kept", "3")]


def test_ids() -> None:
    assert given_id([]) is None
    assert given_id(["A-z_0.9:~"]) == "A-z_0.9:~"
    for values in ([""], ["x" * 129], ["a b"], ["ä"], ["one", "two"], ["a\n"]):
        with pytest.raises(InvalidInput):
            given_id(values)
