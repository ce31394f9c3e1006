"""Which probes are asked, and what a handler that is not ready is said to lack."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from batchflow.dequeuer.readiness import Readiness, probes_of
from batchflow.errors import HandlerDown
from batchflow.spec.model import Api, Container, Handler, Pod, Probe
from tests.acceptance.command import until
from tests.contract.work_kit import handler
from tests.unit.raw_server import server

HTTP = Probe("http_get", port=8080, path="/ready")
TCP = Probe("tcp_socket", port=8080)
NOBODY = 1
OWN_PORT = 2  # of an api whose server is none of the test's business


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
    readiness = Readiness(probes, OWN_PORT, failures=tmp_path / "failures.jsonl", timeout_s=timeout_s, waiting=said)
    return readiness.wait(abandon or threading.Event())


@pytest.mark.parametrize("status", [200, 302, 399])
def test_http_passes_up_to_399(tmp_path: Path, status: int) -> None:
    with handler(lambda _: status) as answering:
        assert waits(tmp_path, Probe("http_get", port=answering.port, path="/ready"))
    assert [request.path for request in answering.requests] == ["/ready"]


@pytest.mark.parametrize(("path", "asked"), [("", "/"), ("ready?full=1", "/ready?full=1"), ("/wie geht's", "/wie%20geht's")])
def test_a_path_is_asked_as_http_can_carry_it(tmp_path: Path, path: str, asked: str) -> None:
    with handler(lambda _: 200) as answering:
        assert waits(tmp_path, Probe("http_get", port=answering.port, path=path))
    assert [request.path for request in answering.requests] == [asked]


def test_a_probe_that_trickles_is_bounded_by_its_timeout(tmp_path: Path) -> None:
    over = threading.Event()

    def trickle(accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            accepted.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.2):
                accepted.sendall(b"x")

    with server(trickle) as port:
        with pytest.raises(HandlerDown, match=r"did not answer its readiness probe \(timed out\)"):
            waits(tmp_path, Probe("http_get", port=port), timeout_s=0.5)
        over.set()


@pytest.mark.parametrize("status", [400, 503])
def test_http_does_not_pass_from_400_on(tmp_path: Path, status: int) -> None:
    with (
        handler(lambda _: status) as answering,
        pytest.raises(HandlerDown, match=rf"/ready answered its readiness probe with {status} within 0\.3 s"),
    ):
        waits(tmp_path, Probe("http_get", port=answering.port, path="/ready"), timeout_s=0.3)


def test_it_passes_as_often_in_a_row_as_asked(tmp_path: Path) -> None:
    answers = iter([200, 500, 200, 200, 200])
    with handler(lambda _: next(answers)) as answering:
        assert waits(tmp_path, Probe("http_get", port=answering.port, success_threshold=3))
    assert len(answering.requests) == 5


def test_what_is_waited_for_is_told_once_and_taken_back(tmp_path: Path) -> None:
    said: list[str] = []
    answers = iter([500, 500, 200])
    with handler(lambda _: next(answers)) as answering:
        assert waits(tmp_path, Probe("http_get", port=answering.port), said=said.append)
    assert said == [f"waiting for the handler: 127.0.0.1:{answering.port}/ answered its readiness probe with 500", ""]


def test_one_probe_that_does_not_pass_is_enough(tmp_path: Path) -> None:
    with handler(lambda _: 200) as answering, pytest.raises(HandlerDown, match=r"nothing listened on 127\.0\.0\.1:1 within"):
        waits(tmp_path, Probe("tcp_socket", port=answering.port), Probe("tcp_socket", port=NOBODY), timeout_s=0.2)


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
    with handler(lambda _: 200) as answering:
        readiness = Readiness(
            (Probe("tcp_socket", port=answering.port),), OWN_PORT, failures=tmp_path / "failures.jsonl", timeout_s=1, waiting=print
        )
        assert readiness.wait(threading.Event())
    failed_starts(tmp_path, "c")
    with pytest.raises(HandlerDown, match="not ready within 1 s: c"):
        readiness.wait(threading.Event())


def ready(tmp_path: Path, *probes: Probe, port: int = OWN_PORT, said: Callable[[str], None] = lambda _: None) -> Readiness:
    readiness = Readiness(probes, port, failures=tmp_path / "failures.jsonl", timeout_s=1, waiting=said)
    assert readiness.wait(threading.Event())
    return readiness


OFTEN_S = 1  # a probe's shortest period


def test_a_probe_is_asked_again_before_a_batch_once_its_period_is_over(tmp_path: Path) -> None:
    with handler(lambda _: 200) as often, handler(lambda _: 200) as seldom:
        probes = (Probe("http_get", port=often.port, period_s=OFTEN_S), Probe("http_get", port=seldom.port, period_s=3600))
        readiness = ready(tmp_path, *probes)
        until(lambda: readiness.still(threading.Event()) and len(often.requests) == 3, "the probe to be asked for the third time")
        assert len(seldom.requests) == 1


def test_a_probe_that_fails_later_holds_the_batch_back_until_it_passes_as_often_as_asked(tmp_path: Path) -> None:
    said: list[str] = []
    answers = iter([200, 200, 503, 503, 503, 200, 503, 200, 200])
    with handler(lambda _: next(answers)) as answering:
        probe = Probe("http_get", port=answering.port, period_s=OFTEN_S, success_threshold=2, initial_delay_s=0)
        readiness = ready(tmp_path, probe, said=said.append)
        until(lambda: readiness.still(threading.Event()) and len(answering.requests) > 2, "the probe to be asked again")
        assert len(answering.requests) == 9
    where = f"127.0.0.1:{answering.port}"
    failing = f"waiting for the handler: {where}/ answered its readiness probe with 503"
    once = f"waiting for the handler: port {answering.port} answered 1 of 2 times"
    assert said == [once, "", failing, once, failing, once, ""]


def test_who_is_not_ready_again_in_time_is_down(tmp_path: Path) -> None:
    answers = iter([200])
    with handler(lambda _: next(answers, 503)) as answering:
        readiness = ready(tmp_path, Probe("http_get", port=answering.port, period_s=OFTEN_S))
        with pytest.raises(HandlerDown, match="answered its readiness probe with 503 within 1 s"):
            until(lambda: not readiness.still(threading.Event()), "the handler to be given up")


def test_the_apis_own_port_is_not_asked_again(tmp_path: Path) -> None:
    with handler(lambda _: 200) as answering:
        readiness = ready(tmp_path, Probe("tcp_socket", port=answering.port, period_s=OFTEN_S), port=answering.port)
    time.sleep(OFTEN_S)
    assert readiness.still(threading.Event())


def test_another_containers_port_is_asked_again(tmp_path: Path) -> None:
    with handler(lambda _: 200) as answering:
        readiness = ready(tmp_path, Probe("tcp_socket", port=answering.port, period_s=OFTEN_S))
    with pytest.raises(HandlerDown, match=f"nothing listened on 127.0.0.1:{answering.port}"):
        until(lambda: not readiness.still(threading.Event()), "the other container to be missed")


def test_an_initial_delay_counts_once(tmp_path: Path) -> None:
    said: list[str] = []
    answers = iter([200, 503, 503, 200])
    with handler(lambda _: next(answers)) as answering:
        probe = Probe("http_get", port=answering.port, period_s=OFTEN_S, initial_delay_s=1)
        readiness = Readiness((probe,), OWN_PORT, failures=tmp_path / "failures.jsonl", timeout_s=60, waiting=said.append)
        readiness.wait(threading.Event())
        until(lambda: readiness.still(threading.Event()) and len(answering.requests) == 4, "the probe to pass again")
    delayed = "waiting for the handler: not yet asked"
    assert said == [delayed, "", f"waiting for the handler: 127.0.0.1:{answering.port}/ answered its readiness probe with 503", ""]
