"""`metrics_client` as an agent on the node hears it, over a real UDP socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from batchflow.runtime.metrics import MetricsClient

HANG_S = 10


@pytest.fixture
def agent() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(HANG_S)
        yield listening


def client(agent: socket.socket) -> MetricsClient:
    return MetricsClient("127.0.0.1", agent.getsockname()[1])


@pytest.mark.parametrize(
    ("method", "arguments", "named", "datagram"),
    [
        ("gauge", ("active_connections", 1001), {"tags": {"protocol": "http"}}, "active_connections:1001|g|#protocol:http"),
        ("gauge", ("load", 0.5), {}, "load:0.5|g"),
        ("increment", ("model_calls",), {}, "model_calls:1|c"),
        ("increment", ("model_calls",), {"tags": {"version": "v1", "zone": "é"}}, "model_calls:1|c|#version:v1,zone:é"),
        ("increment", (), {"metric": "items", "value": 16, "tags": {}}, "items:16|c"),
        ("histogram", ("inference_time_milliseconds", 120, {"n": 1}), {}, "inference_time_milliseconds:120|h|#n:1"),
    ],
)
def test_each_call_is_a_datagram(
    agent: socket.socket, method: str, arguments: tuple[Any, ...], named: dict[str, Any], datagram: str
) -> None:
    getattr(client(agent), method)(*arguments, **named)
    assert agent.recv(1024).decode() == datagram


@pytest.mark.parametrize("method", ["gauge", "increment", "histogram"])
@pytest.mark.parametrize("metric", ["cortex_batch_succeeded", "istio_requests"])
def test_reserved_names_raise_and_send_nothing(agent: socket.socket, method: str, metric: str) -> None:
    with pytest.raises(ValueError, match=f'metric name "{metric}" is reserved: names can\'t start with cortex_ or istio_'):
        getattr(client(agent), method)(metric, 1)
    client(agent).increment("after")
    assert agent.recv(1024) == b"after:1|c"


def test_without_an_agent_nothing_happens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    absent = MetricsClient("127.0.0.1", port)
    for _ in range(3):  # the system reports the first one's end with the next
        absent.increment("unheard")
    MetricsClient("no-such-host.invalid").gauge("unheard", 1)


def test_what_is_too_long_for_a_datagram_is_left_out(agent: socket.socket) -> None:
    told = client(agent)
    told.gauge("m" * 70_000, 1)
    told.gauge("short", 1)
    assert agent.recv(1024) == b"short:1|g"


def test_an_agent_that_listens_on_ipv6_is_reached() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as listening:
        try:
            listening.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listening.settimeout(HANG_S)
        MetricsClient("::1", listening.getsockname()[1]).increment("heard")
        assert listening.recv(1024) == b"heard:1|c"
