"""Which probes are asked, and what a handler that is not ready is said to lack."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from batchflow.dequeuer.readiness import Readiness, probes_of
from batchflow.errors import HandlerDown
from batchflow.spec.model import Api, Container, Handler, Pod, Probe
from tests.contract.work_kit import handler

HTTP = Probe("http_get", port=8080, path="/ready")
TCP = Probe("tcp_socket", port=8080)
NOBODY = 1


def pod(*probes: Probe | None) -> Api:
    containers = tuple(Container(f"c{i}", "image", ("run",), readiness_probe=probe) for i, probe in enumerate(probes))
    return Api("api", "/api", pod=Pod(containers, port=8080))


@pytest.mark.parametrize(
    ("api", "probes"),
    [
        (Api("api", "/api", handler=Handler("handler", "python", "handler.py")), [Probe("tcp_socket", port=5000)]),
        (pod(None), [Probe("tcp_socket", port=5000)]),
        (pod(TCP), [replace(TCP, port=5000)]),
        (pod(TCP, TCP), [replace(TCP, port=5000)]),
        (pod(HTTP), [Probe("tcp_socket", port=5000), replace(HTTP, port=5000)]),
        (pod(replace(TCP, port=9000), None), [Probe("tcp_socket", port=5000), replace(TCP, port=9000)]),
        (pod(HTTP, TCP), [replace(HTTP, port=5000), replace(TCP, port=5000)]),
    ],
)
def test_the_apis_own_port_follows_the_real_one_and_is_always_asked(api: Api, probes: list[Probe]) -> None:
    assert list(probes_of(api, 5000)) == probes


def waits(
    tmp_path: Path,
    *probes: Probe,
    timeout_s: float = 20,
    said: Callable[[str], None] = lambda _: None,
    abandon: threading.Event | None = None,
) -> bool:
    readiness = Readiness(probes, failures=tmp_path / "failures.jsonl", timeout_s=timeout_s, waiting=said)
    return readiness.wait(abandon or threading.Event())


@pytest.mark.parametrize("status", [200, 302, 399])
def test_http_passes_up_to_399(tmp_path: Path, status: int) -> None:
    with handler(lambda _: status) as server:
        assert waits(tmp_path, Probe("http_get", port=server.port, path="/ready"))
    assert server.requests[0].path == "/ready"


@pytest.mark.parametrize("status", [400, 503])
def test_http_does_not_pass_from_400_on(tmp_path: Path, status: int) -> None:
    with (
        handler(lambda _: status) as server,
        pytest.raises(HandlerDown, match=rf"/ready answered its readiness probe with {status} within 0\.3 s"),
    ):
        waits(tmp_path, Probe("http_get", port=server.port, path="/ready"), timeout_s=0.3)


def test_it_passes_as_often_in_a_row_as_asked(tmp_path: Path) -> None:
    answers = iter([200, 500, 200, 200, 200])
    with handler(lambda _: next(answers)) as server:
        assert waits(tmp_path, Probe("http_get", port=server.port, success_threshold=3))
    assert len(server.requests) == 5


def test_what_is_waited_for_is_told_once_and_taken_back(tmp_path: Path) -> None:
    said: list[str] = []
    answers = iter([500, 500, 200])
    with handler(lambda _: next(answers)) as server:
        assert waits(tmp_path, Probe("http_get", port=server.port), said=said.append)
    assert said == [f"waiting for the handler: 127.0.0.1:{server.port}/ answered its readiness probe with 500", ""]


def test_one_probe_that_does_not_pass_is_enough(tmp_path: Path) -> None:
    with handler(lambda _: 200) as server, pytest.raises(HandlerDown, match=r"nothing listened on 127\.0\.0\.1:1 within"):
        waits(tmp_path, Probe("tcp_socket", port=server.port), Probe("tcp_socket", port=NOBODY), timeout_s=0.2)


def test_waiting_can_be_abandoned(tmp_path: Path) -> None:
    abandon = threading.Event()
    threading.Timer(0.2, abandon.set).start()
    assert not waits(tmp_path, Probe("tcp_socket", port=NOBODY), abandon=abandon)


def failed_starts(tmp_path: Path, *reasons: str) -> None:
    with (tmp_path / "failures.jsonl").open("a") as file:
        file.writelines(json.dumps({"reason": reason, "time": 1.0}) + "\n" for reason in reasons)


def test_three_failed_starts_are_enough(tmp_path: Path) -> None:
    failed_starts(tmp_path, "a", "b", "no module torch")
    with pytest.raises(HandlerDown, match="failed to start 3 times: no module torch"):
        waits(tmp_path, Probe("tcp_socket", port=NOBODY))


def test_a_late_handler_is_down_for_the_reason_it_noted(tmp_path: Path) -> None:
    failed_starts(tmp_path, "no module torch")
    with pytest.raises(HandlerDown, match=r"not ready within 0\.2 s: no module torch"):
        waits(tmp_path, Probe("tcp_socket", port=NOBODY), timeout_s=0.2)


def test_failed_starts_before_it_was_ready_do_not_count(tmp_path: Path) -> None:
    failed_starts(tmp_path, "a", "b")
    with handler(lambda _: 200) as server:
        readiness = Readiness((Probe("tcp_socket", port=server.port),), failures=tmp_path / "failures.jsonl", timeout_s=1, waiting=print)
        assert readiness.wait(threading.Event())
    failed_starts(tmp_path, "c")
    with pytest.raises(HandlerDown, match="not ready within 1 s: c"):
        readiness.wait(threading.Event())
