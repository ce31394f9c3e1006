"""One POST against real sockets: what counts as what."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from batchflow.dequeuer.handler import Answer, HandlerClient, Result
from tests.unit.raw_server import OK, answers, request, server

MOVED = b"HTTP/1.1 307 Go\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
AWAY = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"


def post(client: HandlerClient) -> Answer:
    return client.post("/", {"Content-Type": "application/json"}, b"[1]")


@pytest.mark.parametrize(
    ("reply", "result", "reason"),
    [
        (OK, Result.OK, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Result.OK, ""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", Result.OK, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Result.OK, ""),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n\nfirst\nno", Result.FAILED, "status 500: first"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, Result.FAILED, "status 500: " + "x" * 1024),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 2 + OK, Result.OK, ""),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", Result.FAILED, "status 302"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Result.FAILED, "status 503"),
        (
            b"",
            Result.BROKEN,
            "the connection broke: Remote end closed connection without response (did the handler crash, or run out of memory?)",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            Result.BROKEN,
            "the connection broke: IncompleteRead(0 bytes read, 3 more expected)",
        ),
        (b"nonsense\r\n\r\n", Result.BROKEN, "the connection broke: nonsense"),
    ],
)
def test_what_an_answer_means(reply: bytes, result: Result, reason: str) -> None:
    with server(answers(reply)) as port:
        client = HandlerClient(port, 10)
        answer = post(client)
        client.close()
    assert (answer.result, answer.reason.strip()) == (result, reason)


@pytest.mark.parametrize(
    ("replies", "result", "reason"),
    [
        ([MOVED, OK], Result.OK, ""),
        ([MOVED, b"HTTP/1.1 201 No\r\nContent-Length: 0\r\n\r\n"], Result.FAILED, "status 201 from http://127.0.0.1:{0}/there"),
        ([AWAY], Result.BROKEN, "the connection broke: nobody listens at http://127.0.0.1:1/, where it redirected to"),
        ([MOVED, b""], Result.BROKEN, "the connection broke: Remote end closed connection without response"),
    ],
)
def test_the_end_of_a_redirect_counts(replies: list[bytes], result: Result, reason: str) -> None:
    connections = [answers(*replies)]
    if replies[-1] == b"":  # a kept connection that breaks at once is tried again
        connections.append(answers(b""))
    with server(*connections) as port:
        client = HandlerClient(port, 10)
        answer = post(client)
        client.close()
    assert answer.result is result
    assert answer.reason.partition(" (")[0] == reason.format(port)


def test_nobody_listening_is_a_refusal() -> None:
    assert post(HandlerClient(1, 10)).result is Result.REFUSED


def test_a_status_that_says_stopping_is_a_refusal() -> None:
    with server(answers(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) as port:
        client = HandlerClient(port, 10, runtime=True)
        assert post(client).result is Result.REFUSED
        client.close()


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (b"", Result.REFUSED),  # killed before it had the request: no attempt
        (b"HTTP/1.1 100 Continue\r\n\r\n", Result.BROKEN),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Result.OK),
    ],
)
def test_the_runtime_says_when_it_has_a_request(reply: bytes, result: Result) -> None:
    with server(answers(reply)) as port:
        client = HandlerClient(port, 10, runtime=True)
        assert post(client).result is result
        client.close()


def test_a_connection_is_kept() -> None:
    with server(answers(OK, OK, OK)) as port:
        client = HandlerClient(port, 10)
        assert [post(client).result for _ in range(3)] == [Result.OK] * 3
        client.close()


def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    with server(answers(OK), answers(OK)) as port:
        client = HandlerClient(port, 10)
        assert [post(client).result for _ in range(2)] == [Result.OK] * 2
        client.close()


def test_a_kept_connection_closed_when_the_request_arrives_is_tried_again_on_a_new_one() -> None:
    def takes_and_closes(accepted: socket.socket) -> None:
        answers(OK)(accepted)
        request(accepted)

    with server(takes_and_closes, answers(OK)) as port:
        client = HandlerClient(port, 10)
        assert [post(client).result for _ in range(2)] == [Result.OK] * 2
        client.close()


def test_a_server_that_breaks_the_new_connection_too_has_failed() -> None:
    def takes_and_closes(accepted: socket.socket) -> None:
        answers(OK)(accepted)
        request(accepted)

    with server(takes_and_closes, lambda accepted: request(accepted) and None) as port:
        client = HandlerClient(port, 10)
        assert [post(client).result for _ in range(2)] == [Result.OK, Result.BROKEN]
        client.close()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
def test_no_whole_answer_in_time_is_a_timeout(sent: bytes) -> None:
    over = threading.Event()

    def hangs(accepted: socket.socket) -> None:
        answers(sent)(accepted)
        over.wait(20)

    with server(hangs) as port:
        client = HandlerClient(port, 0.3)
        answer = post(client)
        over.set()
    assert (answer.result, answer.reason) == (Result.TIMED_OUT, "no answer within 0.3 s")


def test_an_answer_that_trickles_is_a_timeout_too() -> None:
    def trickles(accepted: socket.socket) -> None:
        request(accepted)
        with contextlib.suppress(OSError):
            accepted.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.1):
                accepted.sendall(b"x")

    over = threading.Event()
    with server(trickles) as port:
        answer = post(HandlerClient(port, 0.5))
        over.set()
    assert (answer.result, answer.reason) == (Result.TIMED_OUT, "no answer within 0.5 s")


def test_a_request_under_way_can_be_aborted() -> None:
    got = threading.Event()

    def hangs(accepted: socket.socket) -> None:
        request(accepted)
        got.set()
        assert accepted.recv(1) == b""

    with server(hangs) as port:
        client = HandlerClient(port, 60)
        aborting = threading.Thread(target=lambda: (got.wait(20), client.abort()))
        aborting.start()
        assert post(client).result is Result.BROKEN
        aborting.join()


def test_an_early_answer_is_read_although_sending_broke() -> None:
    def refuses(accepted: socket.socket) -> None:
        accepted.recv(1000)
        accepted.sendall(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        accepted.shutdown(socket.SHUT_WR)
        while accepted.recv(1 << 20):
            pass

    with server(refuses) as port:
        client = HandlerClient(port, 10)
        answer = client.post("/", {}, b"[" + b"1," * 5_000_000 + b"1]")
        client.close()
    assert answer.reason == "status 413"
