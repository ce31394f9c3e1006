"""The gateway as a process among others: its end, its log, its health, its metrics, and clients that misbehave."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.acceptance.command import HANG_S, Terminal, until
from tests.acceptance.gateway.kit import Gateway, handler, item_list, pod, serving


@pytest.fixture
def gateway(shell: Terminal) -> Iterator[Gateway]:
    with serving(shell) as opened:
        opened.deploy(pod("plain")).ok()
        yield opened


@pytest.fixture(scope="module")
def shared(shared_shell: Terminal) -> Iterator[Gateway]:
    with serving(shared_shell) as opened:
        opened.deploy(pod("plain")).ok()
        yield opened


def begun(gateway: Gateway, body: bytes, *, length: int | None = None) -> socket.socket:
    """A submission of which the server has the head and the beginning of its body."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_S)
    length = len(body) if length is None else length
    connection.sendall(f"POST /batch/plain HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode() + body)
    return connection


def answered(connection: socket.socket) -> tuple[int, bytes]:
    """The status and all that follows, once the server closes."""
    received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert received, "closed without an answer"
    return int(received.split(b" ", 2)[1]), received


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_hand_are_answered_before_the_end(gateway: Gateway, number: signal.Signals) -> None:
    body = json.dumps(item_list(range(1000), batch_size=500)).encode()
    with begun(gateway, body[:100], length=len(body)) as connection:
        assert gateway.get("/healthz").status == 200  # so the one before was read, too
        gateway.process.send_signal(number)
        until(lambda: refuses(gateway), "no more connections to be taken")
        connection.sendall(body[100:])
        status, received = answered(connection)
    assert status == 200 and gateway.wait() == 0
    job_id = json.loads(received.partition(b"\r\n\r\n")[2])["job_id"]
    # The job goes on without it, and is there when it is back.
    gateway.start()
    assert gateway.ended("plain", job_id)["status"] == "succeeded"


def refuses(gateway: Gateway) -> bool:
    try:
        socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_S).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_client_that_sends_no_more_does_not_keep_it_from_ending(shell: Terminal) -> None:
    with serving(shell, BATCHFLOW_GRACE_S="1") as gateway:
        gateway.deploy(pod("plain")).ok()
        with begun(gateway, b"{", length=1000), begun(gateway, b""):
            assert gateway.get("/healthz").status == 200
            gateway.terminate()
            assert gateway.wait() == 0
        assert "Traceback" not in gateway.log()


def test_an_idle_connection_does_not_keep_it_from_ending(gateway: Gateway) -> None:
    connection = gateway.connect()
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    gateway.stop()
    connection.close()


def test_a_second_signal_is_no_disaster(gateway: Gateway) -> None:
    gateway.terminate()
    if gateway.runs:
        gateway.terminate()
    assert gateway.wait() == 0


def test_a_client_that_goes_away_leaves_no_job_and_no_traceback(gateway: Gateway) -> None:
    for _ in range(3):
        begun(gateway, b'{"workers": 1, ', length=100).close()
    begun(gateway, b"x" * 1_000_000, length=2_000_000).close()
    with begun(gateway, b"", length=10) as connection:
        connection.shutdown(socket.SHUT_WR)
    assert gateway.get("/healthz").status == 200
    assert gateway.job_ids("plain") == []
    gateway.stop()  # looks for tracebacks


def raw(gateway: Gateway, sent: bytes) -> bytes:
    """All that comes back, once nothing more is sent."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_S) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


NO_HTTP = {
    "words": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1e3\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 20\r\n\r\n{}",
    "an unknown coding": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{}",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\x00c\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_is_refused(shared: Gateway, name: str) -> None:
    """Whoever takes one of two lengths, where a proxy took the other, lets requests be smuggled in."""
    assert raw(shared, NO_HTTP[name]).split(b" ", 2)[1] in (b"400", b"501")
    assert shared.get("/healthz").status == 200


def test_a_length_beside_chunks_does_not_let_a_request_be_smuggled_in(shared: Gateway) -> None:
    head = b"POST /batch/plain?dryRun=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = raw(shared, head + b"0\r\n\r\nGET /get HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"BatchAPI" not in received


def test_very_many_headers_are_refused_and_do_not_harm(shared: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=HANG_S) as connection:
        try:
            connection.sendall(b"GET /get HTTP/1.1\r\nHost: localhost\r\n")
            for number in range(2_000):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))
            connection.sendall(b"\r\n")
        except ConnectionError:
            pass  # it has closed already
    assert shared.get("/healthz").status == 200
    assert shared.memory_peak_bytes() < 300 * 2**20


@pytest.mark.parametrize("given", ["abc-123", "a" * 128, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
def test_a_requests_id_is_taken_over(shared: Gateway, given: str) -> None:
    answer = shared.get("/get", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] == given
    until(lambda: given in shared.log(), "the request's line in the log", shared.log)


@pytest.mark.parametrize("given", ["", "two words", "a" * 10_000, "é", '"\x7f'])
def test_what_is_no_id_is_replaced_by_one(shared: Gateway, given: str) -> None:
    answers = [shared.get("/get", headers={"X-Request-Id": given}) for _ in range(2)]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert ids[0] != ids[1] and all(re.fullmatch(r"[!-~]{8,128}", made) for made in ids)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nobody"), ("POST", "/batch/nobody"), ("PUT", "/get"), ("GET", "/healthz"), ("GET", "/batch/plain")]
)
def test_every_answer_has_an_id(shared: Gateway, method: str, path: str) -> None:
    answer = shared.request(method, path, headers={"X-Request-Id": "asked"})
    assert answer.headers["X-Request-Id"] == "asked"
    assert shared.request(method, path, headers={"Origin": "https://attacker.example"}).headers["X-Request-Id"]


def test_a_request_can_not_forge_a_line_of_the_log(shared: Gateway) -> None:
    shared.get("/forged%0a2024-01-01%20ERROR%20all%20is%20lost%0d%1b[31m")
    until(lambda: "/forged" in shared.log(), "the request's line", shared.log)
    assert not [line for line in shared.log().splitlines() if line.startswith("2024-01-01 ERROR")]
    assert "\x1b" not in shared.log()


def test_healthz_answers(shared: Gateway) -> None:
    answer = shared.get("/healthz")
    assert (answer.status, answer.text.strip()) == (200, "ok")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/batch/plain", "/plain", "/get", "/deploy", "/healthz", "/delete/plain"])
def test_a_method_that_a_path_does_not_have_is_answered_in_json(shared: Gateway, method: str, path: str) -> None:
    answer = shared.request(method, path)
    assert answer.status in (404, 405) and {"kind", "message"} <= set(answer.json())


def test_no_page_of_the_gateway_loads_anything_from_elsewhere(shared: Gateway) -> None:
    answer = shared.get("/docs")
    assert answer.status in (200, 404)
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", answer.text)


def samples(gateway: Gateway) -> list[Sample]:
    answer = gateway.get("/metrics")
    assert answer.status == 200 and answer.type.startswith("text/plain; version="), answer
    return [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]


def total(found: list[Sample], name: str, **labels: str) -> float:
    return sum(sample.value for sample in found if sample.name == name and labels.items() <= sample.labels.items())


GATED = """\
import pathlib, time

class Handler:
    def __init__(self, config):
        self.folder = pathlib.Path(config["folder"])

    def handle_batch(self, payload):
        if payload == ["fails"]:
            raise ValueError("meant to fail")
        while payload == ["waits"] and not (self.folder / "open").exists():
            time.sleep(0.02)
"""


def test_metrics_count_requests_submissions_jobs_and_batches(gateway: Gateway, tmp_path: Path) -> None:
    gateway.deploy(handler("gated"), files={"handler.py": GATED}).ok()
    config = {"folder": str(tmp_path)}
    failing = gateway.submit("gated", item_list([1, 2, "fails"], config=config))
    assert gateway.ended("gated", failing)["status"] == "completed_with_failures"
    running = gateway.submit("gated", item_list([1, "waits"], config=config))
    until(lambda: gateway.status("gated", running)["status"] == "running", "the second job to run")
    gateway.post("/batch/gated", item_list(workers=0))
    gateway.post("/batch/gated?dryRun=true", item_list())
    gateway.get("/batch/gated?jobID=0000000000000000")
    found = samples(gateway)
    assert total(found, "batchflow_http_requests_total", method="POST", status="200") >= 4
    assert total(found, "batchflow_http_requests_total", method="POST", status="400") == 1
    assert total(found, "batchflow_http_requests_total", method="GET", status="400") == 1
    assert total(found, "batchflow_http_request_seconds_count") == total(found, "batchflow_http_requests_total")
    assert total(found, "batchflow_submissions_total", result="accepted") == 2
    assert total(found, "batchflow_submissions_total", result="refused") == 1
    assert total(found, "batchflow_jobs", status="running") == 1 == total(found, "batchflow_jobs")
    assert total(found, "batchflow_jobs_ended_total", status="completed_with_failures") == 1
    assert total(found, "batchflow_batches_total", outcome="failed") == 1
    (tmp_path / "open").touch()
    gateway.ended("gated", running)
    found = samples(gateway)
    assert total(found, "batchflow_jobs") == 0
    assert total(found, "batchflow_jobs_ended_total", status="succeeded") == 1
    assert total(found, "batchflow_batches_total", outcome="succeeded") == 4
    assert total(samples(gateway), "batchflow_batches_total") == 5, "counted again"


def test_the_repeat_of_a_submission_counts_no_job_twice(gateway: Gateway) -> None:
    gateway.deploy(pod("keyed")).ok()
    for _ in range(2):
        gateway.ended("keyed", gateway.submit("keyed", headers={"Idempotency-Key": "one"}))
        assert total(samples(gateway), "batchflow_jobs_ended_total", api="keyed") == 1


def test_paths_do_not_flood_the_metrics(shared: Gateway) -> None:
    def ask(number: int) -> None:
        shared.get(f"/path-{number}")
        shared.get(f"/get/api-{number}")
        shared.request(f"METHOD{number}", "/get")
        shared.get(f"/batch/api-{number}?jobID=x")

    ask(0)
    samples(shared)
    before = len(samples(shared))
    for number in range(1, 50):
        ask(number)
    assert len(samples(shared)) == before
