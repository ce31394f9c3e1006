"""A call in its courier's hands: what is sent and saved, how it ends, and what becomes of it if the store or the replica is lost."""

from __future__ import annotations

import io
import socket
import threading
import time
from pathlib import Path

import pytest

from batchflow.callrecords import REPLY_LOST, Ending, Reply
from batchflow.courier import courier as module
from batchflow.errors import Unreachable
from batchflow.store.deployments import CallRecords
from batchflow.store.open import open_store
from batchflow.store.protocol import Store
from tests.acceptance.command import until
from tests.contract.work_kit import Request, handler
from tests.unit.raw_server import OK, answers, request, server
from tests.unit.stored_calls import Unreliable, courier, started_call

NEVER_S = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


@pytest.fixture
def unreliable(tmp_path: Path) -> Unreliable:
    return Unreliable(tmp_path)


@pytest.fixture(autouse=True)
def ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_FOLLOWS_S", 0.0)


def replied(records: CallRecords) -> tuple[Reply | None, bytes]:
    stream = records.reply_body()
    if stream is None:
        return records.reply(), b""
    with stream:
        return records.reply(), stream.read()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, ""),
        (201, ""),
        (302, ""),
        (399, ""),
        (400, "container replied with HTTP 400"),
        (500, "container replied with HTTP 500"),
        (599, "container replied with HTTP 599"),
    ],
)
def test_a_call_is_delivered_and_its_reply_stored_and_then_it_ends(status: int, error: str, store: Store) -> None:
    records = started_call(store, b"request", method="POST")
    answer = f"HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nreply".encode()
    got: list[bytes] = []
    before = time.time()
    with server(answers(answer, got=got)) as port, courier(records, port) as at_work:
        at_work.until_recorded("ended.json")
        assert at_work.thread.is_alive(), "a sidecar that ends is started again"
    assert got[0].startswith(b"POST /job?a=1 HTTP/1.1\r\n") and got[0].endswith(b"\r\n\r\nrequest")
    assert replied(records) == (Reply(status, "text/plain", 5), b"reply")
    ending = records.ending()
    assert ending is not None and (ending.error, ending.exit_code) == (error, None)
    assert before <= ending.ended <= time.time()
    assert at_work.error is None


def test_a_call_is_delivered_only_once_it_is_ready_and_shows_so(store: Store) -> None:
    records = started_call(store, b"request")
    ready, answer = threading.Event(), threading.Event()

    def behave(asked: Request) -> int | tuple[int, bytes]:
        if asked.path == "/health":
            return 200 if ready.is_set() else 503
        assert "delivered.json" in records.names()
        answer.wait(20)
        return 200, b"done"

    with handler(behave) as app, courier(records, app.port, health="/health") as at_work:
        until(lambda: app.requests, "a health check")
        assert "delivered.json" not in records.names()
        ready.set()
        at_work.until_recorded("delivered.json")
        assert "reply.json" not in records.names()
        answer.set()
        at_work.until_recorded("ended.json")
    assert [asked.body for asked in app.requests if asked.path != "/health"] == [b"request"]


def test_a_call_waits_for_an_exit_code_after_its_reply(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_FOLLOWS_S", NEVER_S)
    records = started_call(store)
    with server(answers(OK)) as port, courier(records, port) as at_work:
        at_work.until_recorded("reply.json")
        at_work.leave()
    assert records.ending() is None
    assert at_work.error is None


@pytest.mark.parametrize(
    ("done", "error"),
    [
        (["delivered"], REPLY_LOST),
        (["delivered", "replied"], "container replied with HTTP 500"),
        (["delivered", "replied", "ended"], "deployment deleted"),
        (["delivered", "ended"], "deployment deleted"),
        (["ended"], "deployment deleted"),
    ],
)
def test_a_courier_that_is_started_again_sends_nothing_twice(done: list[str], error: str, store: Store) -> None:
    records = started_call(store)
    if "delivered" in done:
        records.deliver("the one before")
    if "replied" in done:
        records.save_reply(Reply(500, "", 0), io.BytesIO())
    if "ended" in done:
        records.end(Ending("deployment deleted", 1.0))
    with handler(lambda _: 200) as app, courier(records, app.port, health="/health") as at_work:
        at_work.until_recorded("ended.json" if "replied" in done else "stop.json")
        at_work.thread.join(0.3)
        assert at_work.thread.is_alive()
    assert app.requests == []
    ending = records.ending()
    assert ending is not None
    assert ending.error == error
    assert records.stop_reason() == ("" if "replied" in done else REPLY_LOST), "whatever else it does is for nobody"


def test_a_replica_in_a_pod_made_anew_is_stopped(store: Store) -> None:
    """The courier of the one before has said that there is no reply."""
    records = started_call(store)
    records.deliver("the one before")
    records.save_unanswered("")
    with handler(lambda _: 200) as app, courier(records, app.port, health="/health") as at_work:
        at_work.until_recorded("stop.json")
    assert app.requests == []
    assert records.stop_reason() == REPLY_LOST


def test_of_two_couriers_one_delivers(store: Store) -> None:
    records = started_call(store)
    with (
        handler(lambda _: 200) as app,
        courier(records, app.port, health="/health"),
        courier(CallRecords(store, records.ref), app.port, health="/health") as other,
    ):
        other.until_recorded("ended.json")
        other.thread.join(0.3)
    assert [asked.path for asked in app.requests if asked.path != "/health"] == ["/job?a=1"]


def test_a_call_that_nobody_knows_any_more_is_not_delivered(store: Store) -> None:
    records = started_call(store)
    records.delete()
    with handler(lambda _: 200) as app, courier(records, app.port) as at_work:
        at_work.thread.join(0.3)
        assert at_work.thread.is_alive()
    assert (app.requests, records.names()) == ([], frozenset())


def test_a_call_that_was_stopped_before_is_not_delivered(store: Store) -> None:
    """By a purge, just when its replica was created."""
    records = started_call(store)
    records.ask_to_stop("purged from queue")
    with handler(lambda _: 200) as app, courier(records, app.port) as at_work:
        at_work.thread.join(1)
        assert at_work.thread.is_alive()
    assert app.requests == []
    assert not records.names() & {"delivered.json", "unanswered.json", "ended.json"}


# The replica.


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nrep", "container gave no whole HTTP reply: the connection ended first"),
        (b"no HTTP\r\n\r\n", "container gave no whole HTTP reply: BadStatusLine"),
    ],
)
def test_a_connection_that_broke_is_no_reply_and_never_tried_again(answer: bytes, error: str | None, store: Store) -> None:
    records = started_call(store, b"request")
    with socket.create_server(("127.0.0.1", 0)) as listener, courier(records, listener.getsockname()[1]) as at_work:
        listener.settimeout(20)
        accepted, _ = listener.accept()
        with accepted:
            request(accepted)
            accepted.sendall(answer)
        listener.settimeout(1.5)  # three times as long as it waits where it tries again
        with pytest.raises(TimeoutError):
            listener.accept()
        assert at_work.thread.is_alive()
    ending = records.ending()
    assert (records.reply(), ending and ending.error) == (None, error)
    assert records.unanswered() == (error or "")


def test_what_was_closed_before_a_byte_was_sent_is_tried_again(unreliable: Unreliable) -> None:
    records = started_call(unreliable)  # type: ignore[arg-type]
    closed = threading.Event()
    got: list[bytes] = []
    looks = iter(range(10))

    def fails(method: str, key: str) -> bool:
        """Not at all; but a delivery is not noted before the first connection is closed."""
        if method == "create" and key.endswith("delivered.json") and next(looks) == 0:
            assert closed.wait(20)
        return False

    def close(accepted: socket.socket) -> None:
        accepted.shutdown(socket.SHUT_RDWR)
        closed.set()

    unreliable.fails = fails
    with server(close, answers(OK, got=got)) as port, courier(records, port) as at_work:
        at_work.until_recorded("ended.json")
    assert len(got) == 1


def test_a_replica_that_is_healthy_before_it_listens_is_waited_for(store: Store) -> None:
    records = started_call(store)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with handler(lambda _: 200) as healthy, courier(records, port, health="/health", health_port=healthy.port) as at_work:
        until(lambda: len(healthy.requests) > 1, "a second look")
        assert "delivered.json" not in records.names()
        with handler(lambda _: 200, port) as app:
            at_work.until_recorded("ended.json")
            assert [asked.path for asked in app.requests] == ["/job?a=1"]


def test_a_reply_that_is_too_large_ends_the_call_and_says_so(store: Store) -> None:
    records = started_call(store)
    with handler(lambda _: (200, bytes(1001))) as app, courier(records, app.port, max_reply_bytes=1000) as at_work:
        at_work.until_recorded("ended.json")
    assert (records.reply(), records.reply_body()) == (None, None)
    ending = records.ending()
    assert ending is not None and ending.error == "container replied with more than 1000 bytes"


def test_a_reply_of_the_largest_size_is_kept(store: Store) -> None:
    records = started_call(store)
    with handler(lambda _: (200, bytes(1000))) as app, courier(records, app.port, max_reply_bytes=1000) as at_work:
        at_work.until_recorded("ended.json")
    assert replied(records) == (Reply(200, "", 1000), bytes(1000))


# The store.


def test_a_store_that_is_out_of_reach_at_first_is_waited_for(unreliable: Unreliable) -> None:
    records = started_call(unreliable, b"request")  # type: ignore[arg-type]
    unreliable.down.set()
    with handler(lambda _: 200) as app, courier(records, app.port, health="/health"):
        until(lambda: unreliable.failed > 2, "a few tries")
        assert app.requests == []
        unreliable.down.clear()
        until(lambda: "ended.json" in records.names(), "the ending")
    assert [asked.body for asked in app.requests if asked.path == "/job?a=1"] == [b"request"]


def test_a_body_that_is_cut_off_is_fetched_again_from_its_start(unreliable: Unreliable) -> None:
    records = started_call(unreliable, b"request" * 100_000)  # type: ignore[arg-type]
    cut = iter([True, True, False])
    opened = unreliable._inner.open

    class Cut:
        """Gives some bytes, and then the store is lost."""

        def __init__(self, stream: object) -> None:
            self._stream = stream

        def __enter__(self) -> Cut:
            return self

        def __exit__(self, *_: object) -> None:
            self._stream.close()  # type: ignore[attr-defined]

        def read(self, size: int) -> bytes:
            data = self._stream.read(size)  # type: ignore[attr-defined]
            if self._stream.tell() > 200_000:  # type: ignore[attr-defined]
                raise Unreachable("the store is down")
            return bytes(data)

    def open_cut(key: str) -> object:
        stream = opened(key)
        return Cut(stream) if next(cut) else stream

    unreliable._inner.open = open_cut  # type: ignore[method-assign,assignment]
    with handler(lambda _: 200) as app, courier(records, app.port) as at_work:
        at_work.until_recorded("ended.json")
    assert [asked.body for asked in app.requests] == [b"request" * 100_000]


def test_a_store_that_is_lost_while_the_replica_works_breaks_nothing(unreliable: Unreliable) -> None:
    records = started_call(unreliable, b"request" * 100_000)  # type: ignore[arg-type]

    def behave(_: Request) -> tuple[int, bytes]:
        unreliable.down.set()
        return 200, b"reply" * 1000

    with handler(behave) as app, courier(records, app.port, retry_s=0):
        until(lambda: unreliable.failed > 3, "a few tries to save the reply, for longer than other tries")
        unreliable.down.clear()
        until(lambda: "ended.json" in records.names(), "the ending")
    assert replied(records) == (Reply(200, "", 5000), b"reply" * 1000)
    assert len(app.requests) == 1


def test_a_delivery_whose_note_was_stored_but_not_confirmed_is_made(unreliable: Unreliable, monkeypatch: pytest.MonkeyPatch) -> None:
    records = started_call(unreliable)  # type: ignore[arg-type]
    create = unreliable._inner.create
    lost = iter([True])

    def create_and_lose_the_answer(key: str, data: bytes) -> bool:
        made = create(key, data)
        if key.endswith("delivered.json") and next(lost, False):
            raise Unreachable("no answer")
        return made

    monkeypatch.setattr(unreliable._inner, "create", create_and_lose_the_answer)
    with handler(lambda _: 200) as app, courier(records, app.port) as at_work:
        at_work.until_recorded("ended.json")
    assert len(app.requests) == 1


def test_a_store_that_stays_out_of_reach_is_given_up_before_anything_is_sent(unreliable: Unreliable) -> None:
    records = started_call(unreliable)  # type: ignore[arg-type]
    unreliable.fails = lambda method, key: key.endswith("delivered.json")
    with handler(lambda _: 200) as app, courier(records, app.port, retry_s=0) as at_work:
        at_work.thread.join(20)
        assert not at_work.thread.is_alive()
    assert isinstance(at_work.error, Unreachable)
    assert app.requests == []


# The end.


def test_who_is_asked_to_leave_before_a_delivery_leaves(store: Store) -> None:
    records = started_call(store)
    with handler(lambda _: 503) as app, courier(records, app.port, health="/health") as at_work:
        until(lambda: app.requests, "a health check")
        at_work.leave()
    assert at_work.error is None
    assert records.names() == {"request.json", "body", "fate.json"}


def test_a_reply_that_comes_after_the_request_to_leave_is_saved_and_its_judgement_left_to_others(store: Store) -> None:
    records = started_call(store)
    asked, leaving = threading.Event(), threading.Event()

    def behave(_: Request) -> tuple[int, bytes]:
        asked.set()
        leaving.wait(20)
        return 200, b"late"

    with handler(behave) as app, courier(records, app.port) as at_work:
        assert asked.wait(20)
        at_work.shutdown.asked.set()
        at_work.thread.join(0.5)
        assert at_work.thread.is_alive(), "the reply is still to come"
        leaving.set()
        at_work.leave()
    assert replied(records) == (Reply(200, "", 4), b"late")
    assert (records.ending(), at_work.error) == (None, None)


def test_a_reply_that_does_not_come_before_the_grace_period_is_over_is_given_up(store: Store) -> None:
    records = started_call(store)
    asked, over = threading.Event(), threading.Event()

    def silent(accepted: socket.socket) -> None:
        request(accepted)
        asked.set()
        over.wait(20)

    with server(silent) as port:
        with courier(records, port) as at_work:
            assert asked.wait(20)
            at_work.shutdown.over.set()
            at_work.leave()
        over.set()
    assert (records.reply(), records.ending(), at_work.error) == (None, None, None)


def test_a_reply_that_can_not_be_saved_before_the_grace_period_is_over_is_an_error(unreliable: Unreliable) -> None:
    records = started_call(unreliable)  # type: ignore[arg-type]
    unreliable.fails = lambda method, key: method == "put_file"
    with handler(lambda _: 200) as app, courier(records, app.port) as at_work:
        until(lambda: unreliable.failed, "a try")
        at_work.shutdown.over.set()
        at_work.leave()
    assert isinstance(at_work.error, Unreachable)
    assert len(app.requests) == 1
