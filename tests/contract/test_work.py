"""The loop over a real queue, a real store and a real server: what becomes of batches."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchflow import contract
from batchflow.errors import Unreachable
from batchflow.queues.protocol import Depth
from batchflow.records import FAILED, SUCCEEDED, Message, batch_id, batch_message
from batchflow.spec import model as spec
from batchflow.spec.model import Api, Container, Pod, Probe
from tests.contract.work_kit import ALL, JOB, Handler, Job, Outage, Request, handler, in_background, until

NOBODY = 1  # a port on which nobody listens


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    job.close()


def test_every_batch_is_handled_once_and_its_message_deleted(job: Job) -> None:
    job.enqueue(25)
    with handler(lambda _: 200) as server:
        assert job.work(server.port, workers=2) == contract.EXIT_OK
    assert sorted(request.body for request in server.requests) == sorted(f"[{i}]".encode() for i in range(25))
    assert server.most_at_once == 1
    assert [(o.outcome, o.attempts) for o in job.only_outcomes()] == [(SUCCEEDED, 1)] * 25
    assert job.queue.depth() == Depth(0, 0)
    counters = job.counters()
    assert (counters.state, counters.succeeded, counters.finished, counters.failed) == ("done", 25, 25, 0)
    assert counters.ready is not None
    assert (job.root / "mnt-1" / "progress").read_text() in ("12/12\n", "13/13\n")  # the other worker never came


def test_a_request_says_which_batch_it_is(job: Job) -> None:
    job.enqueue(1)
    with handler(lambda _: 200) as server:
        job.work(server.port)
    headers = server.requests[0].headers
    assert headers["Content-Type"] == "application/json"
    assert headers[contract.HEADER_JOB] == JOB.job_id
    assert headers[contract.HEADER_BATCH_ID] == batch_id(JOB.job_id, 0)
    assert (server.requests[0].path, server.requests[0].index, server.requests[0].attempt) == ("/", 0, 1)


def test_a_worker_without_batches_leaves(job: Job) -> None:
    with handler(lambda _: 200) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert (job.root / "mnt-1" / "progress").read_text() == "1/1\n"


def test_slots_handle_batches_side_by_side(job: Job) -> None:
    job.enqueue(8)
    job.additions = replace(job.additions, max_concurrency=4)
    together = threading.Barrier(4, timeout=20)
    with handler(lambda _: 200 if together.wait() >= 0 else 500) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert server.most_at_once == 4
    assert all(o.outcome == SUCCEEDED for o in job.only_outcomes())


def odd_fails(request: Request) -> tuple[int, bytes]:
    return (200, b"") if request.index % 2 == 0 else (500, b"\nValueError: odd\nmore\n")


def test_without_a_dead_letter_queue_one_failed_attempt_is_final(job: Job) -> None:
    job.enqueue(6)
    with handler(odd_fails) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert set(server.attempts().values()) == {1}
    odd = [o for o in job.only_outcomes() if o.index % 2]
    assert [(o.outcome, o.attempts, o.error) for o in odd] == [(FAILED, 1, "status 500: ValueError: odd")] * 3
    assert (job.counters().failed, job.counters().succeeded, job.counters().finished) == (3, 3, 6)


def test_with_a_dead_letter_queue_a_batch_has_max_receive_count_attempts(job: Job) -> None:
    job.enqueue(4)
    with handler(odd_fails) as server:
        assert job.work(server.port, max_receive_count=3) == contract.EXIT_OK
    assert server.attempts() == {0: 1, 1: 3, 2: 1, 3: 3}
    assert [request.attempt for request in server.requests if request.index == 1] == [1, 2, 3]
    assert [(o.outcome, o.attempts) for o in job.only_outcomes()] == [(SUCCEEDED, 1), (FAILED, 3)] * 2
    assert job.queue.depth() == Depth(0, 0)
    dead = sorted((d.message for d in job.dead_letters.receive(ALL, 0, 60)), key=lambda message: message.body)
    assert [message.body for message in dead] == ["[1]", "[3]"]
    original = batch_message(JOB, 1, 3, "[1]")
    assert dead[0] == replace(original, attributes={**original.attributes, "reason": "status 500: ValueError: odd"})


def test_a_batch_that_recovers_has_succeeded_and_its_failed_attempts_are_counted(job: Job) -> None:
    job.enqueue(1)
    with handler(lambda request: 200 if request.attempt == 3 else 503) as server:
        assert job.work(server.port, max_receive_count=5) == contract.EXIT_OK
    outcome = job.only_outcomes()[0]
    assert (outcome.outcome, outcome.attempts, outcome.failed_attempts) == (SUCCEEDED, 3, 2)
    assert job.dead_letters.depth() == Depth(0, 0)


def test_a_dead_letter_queue_that_refuses_for_too_long_makes_a_failed_outcome_that_says_so(job: Job) -> None:
    job.enqueue(2)
    job.settings = replace(job.settings, retry_s=0.3)
    refusing = Outage(job.dead_letters, ["send"], Unreachable("access denied"))
    refusing.down = True
    job.dead_letters = refusing  # type: ignore[assignment]
    with handler(lambda _: 500) as server:
        assert job.work(server.port, max_receive_count=1) == contract.EXIT_OK
    assert {o.error for o in job.only_outcomes()} == {"status 500; the dead-letter queue refuses: access denied"}
    assert refusing.refused >= 2


@pytest.mark.parametrize("status", [201, 204, 301, 404, 503])
def test_every_status_but_200_is_a_failed_attempt(job: Job, status: int) -> None:
    job.enqueue(1)
    with handler(lambda _: status) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert job.only_outcomes()[0].error == f"status {status}"


def test_a_batch_that_hangs_fails_and_the_others_do_not(job: Job) -> None:
    job.enqueue(3)
    job.additions = replace(job.additions, batch_timeout_s=1)
    released = threading.Event()
    with handler(lambda request: 200 if request.index != 1 else released.wait(60) and 200) as server:
        assert job.work(server.port) == contract.EXIT_OK
        released.set()
    assert [o.outcome for o in job.only_outcomes()] == [SUCCEEDED, FAILED, SUCCEEDED]
    assert job.only_outcomes()[1].error == "no answer within 1 s"


def test_a_connection_broken_in_mid_request_is_a_failed_attempt(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "SIGTERM_FOLLOWS_S", 0.1)
    job.enqueue(3)
    with handler(lambda request: None if request.index == 1 else 200) as server:
        assert job.work(server.port, max_receive_count=2) == contract.EXIT_OK
    assert [(o.outcome, o.attempts) for o in job.only_outcomes()] == [(SUCCEEDED, 1), (FAILED, 2), (SUCCEEDED, 1)]
    assert "the connection broke" in job.only_outcomes()[1].error


def test_a_connection_that_breaks_just_before_sigterm_is_no_attempt(job: Job) -> None:
    job.enqueue(1)

    def node_goes_down(_: Request) -> None:
        threading.Timer(0.3, job.stop.set).start()

    with handler(node_goes_down) as server:
        assert job.work(server.port) == contract.EXIT_TERMINATED
    assert job.outcomes() == {0: []}
    assert job.queue.depth() == Depth(1, 0)


def test_a_server_that_closes_kept_connections_costs_no_attempt(job: Job) -> None:
    job.enqueue(40)
    with handler(lambda _: 200, closes=True) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert all((o.outcome, o.attempts) == (SUCCEEDED, 1) for o in job.only_outcomes())


def test_a_server_with_one_thread_answers_batches_and_the_probes_between_them(job: Job) -> None:
    job.enqueue(6)
    job.additions = replace(job.additions, start_timeout_s=5)
    with handler(lambda _: time.sleep(0.3) or 200, single=True) as server:
        assignment = job.assignment(server.port)
        probed = Container("server", "image", ("run",), readiness_probe=Probe("http_get", port=8080, path="/ready", period_s=1))
        assert job.work(server.port, api=replace(assignment.api, pod=Pod((probed,)))) == 0
    assert [outcome.attempts for outcome in job.only_outcomes()] == [1] * 6
    assert len([request for request in server.requests if request.path == "/ready"]) > 1


def test_a_handler_that_is_down_for_a_while_is_waited_for_and_costs_no_attempt(job: Job) -> None:
    job.enqueue(10)

    def goes_away_after_three(_: Request) -> int:
        if len(first.requests) == 3:
            first.close()  # nobody listens any more; this request is still answered
        return 200

    first = Handler(goes_away_after_three, closes=True)
    with in_background(lambda: job.work(first.port)) as codes:
        until(lambda: len(first.requests) == 3, "three requests")
        until(lambda: job.records.counters() and job.counters().state == "waiting", "the worker notices")
        with handler(lambda _: 200, first.port):
            until(lambda: bool(codes), "the end")
    assert codes == [contract.EXIT_OK]
    assert all((o.outcome, o.attempts) == (SUCCEEDED, 1) for o in job.only_outcomes())


def test_a_handler_that_never_listens_ends_the_worker_with_a_message(job: Job) -> None:
    job.enqueue(3)
    job.additions = replace(job.additions, start_timeout_s=1)
    assert job.work(NOBODY) == contract.EXIT_HANDLER_DOWN
    assert job.queue.depth() == Depth(3, 0)
    counters = job.counters()
    assert (counters.state, counters.ready) == ("failed", None)
    assert counters.error.startswith(
        "nothing listened on 127.0.0.1:1 within 1 s; does the server listen on the port that CORTEX_PORT names?"
    )


def test_a_runtime_that_passes_its_probe_and_takes_no_batch_ends_the_worker(job: Job) -> None:
    job.enqueue(1)
    job.additions = replace(job.additions, start_timeout_s=1)
    api = Api("squares", "/squares", handler=spec.Handler("handler", "python", "handler.py"), additions=job.additions)
    with handler(lambda _: 503) as server, in_background(lambda: job.work(server.port, api=api)) as codes:
        pass
    assert codes == [contract.EXIT_HANDLER_DOWN]
    assert (
        job.counters().error
        == f"127.0.0.1:{server.port} passed its probes, and refused every batch within 1 s; does another server listen there?"
    )
    assert job.queue.depth() == Depth(visible=1, in_flight=0)


def test_a_handler_that_goes_away_for_good_ends_the_worker_and_gives_everything_back(job: Job) -> None:
    job.enqueue(12)
    job.additions = replace(job.additions, start_timeout_s=1)
    server = Handler(lambda request: 200 if request.index < 4 else None)
    closing = threading.Thread(target=lambda: (until(lambda: len(server.requests) >= 4, "requests"), server.close()))
    closing.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "SIGTERM_FOLLOWS_S", 0.05)
        assert job.work(server.port, max_receive_count=9) == contract.EXIT_HANDLER_DOWN
    closing.join(30)
    assert job.counters().state == "failed"
    without = sum(not outcomes for outcomes in job.outcomes().values())
    assert without > 0
    assert job.queue.depth() == Depth(without, 0)


def test_three_failed_starts_in_a_row_end_the_worker_with_the_handlers_own_words(job: Job) -> None:
    job.enqueue(1)
    assignment = job.assignment(NOBODY)
    failures = assignment.mnt / contract.FAILURES_FILE
    failures.parent.mkdir()
    failures.write_text(json.dumps({"reason": "ModuleNotFoundError: torch (handler.py:1)", "time": 1}) * 1 + "\n")
    with in_background(lambda: job.work(NOBODY, mnt=assignment.mnt)) as codes:
        until(lambda: any(c.state == "waiting" and c.error for c in job.records.counters()), "the worker says what it waits for")
        assert not codes
        with failures.open("a") as file:
            file.write((json.dumps({"reason": "ModuleNotFoundError: torch (handler.py:1)", "time": 2}) + "\n") * 2)
    assert codes == [contract.EXIT_HANDLER_DOWN]
    assert "the handler failed to start 3 times: ModuleNotFoundError: torch (handler.py:1)" in job.counters().error


def message(**changes: str | None) -> Message:
    good = batch_message(JOB, 1, 1, "[1]")
    attributes = {**good.attributes, **{k: v for k, v in changes.items() if k != "body"}}
    kept = {k: v for k, v in attributes.items() if v is not None}
    return replace(good, body=changes.get("body") or good.body, attributes=kept)


@pytest.mark.parametrize(
    ("bad", "known"),
    [
        (message(job_id=None), False),
        (message(job_id="6000000000000000"), False),
        (message(batch_index=None), False),
        (message(batch_index="x"), False),
        (message(batch_index="2"), False),
        (message(batch_index="-1"), False),
        (message(attempt=None), True),
        (message(attempt="0"), True),
        (message(attempt="two"), True),
        (message(body='{"items": 1}'), True),
    ],
)
def test_a_message_that_can_not_be_decoded_is_never_a_loop(job: Job, bad: Message, known: bool) -> None:
    job.total = 2
    job.queue.send([batch_message(JOB, 0, 1, "[0]"), bad])
    with handler(lambda _: 200) as server:
        assert job.work(server.port, max_receive_count=3) == contract.EXIT_OK
    assert server.attempts() == {0: 1}
    assert job.queue.depth() == Depth(0, 0)
    assert job.outcomes()[0][0].outcome == SUCCEEDED
    assert [(o.outcome, o.attempts, o.error[:20]) for o in job.outcomes()[1]] == [(FAILED, 0, "can't be decoded: it")] * known


def test_a_batch_with_two_messages_is_handled_twice_and_counts_once(job: Job) -> None:
    job.enqueue(1)
    job.queue.send([replace(batch_message(JOB, 0, 1, "[0]"), dedup="another")])
    with handler(lambda _: 200) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert server.attempts() == {0: 2}
    assert len(job.outcomes()[0]) == 2
    assert job.queue.depth() == Depth(0, 0)


def test_the_heartbeat_keeps_a_long_batch_hidden(job: Job) -> None:
    job.enqueue(1)
    job.settings = replace(job.settings, visibility_s=1, heartbeat_s=0.3)

    def behave(_: Request) -> int:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert job.queue.receive(1, 0.2, 0) == []
        return 200

    with handler(behave) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert job.only_outcomes()[0].outcome == SUCCEEDED


def test_a_stale_receipt_is_ignored_and_the_batch_handled_again(job: Job) -> None:
    job.enqueue(1)
    job.settings = replace(job.settings, visibility_s=1)
    beatless = Outage(job.queue, ["extend"], Unreachable("no heartbeat gets through"))
    beatless.down = True
    job.queue = beatless  # type: ignore[assignment]
    first = threading.Event()

    def behave(_: Request) -> int:
        if not first.is_set():
            first.set()
            # Somebody else receives it meanwhile, and lets it go.
            until(lambda: bool(job.queue.receive(1, 1, 1)), "visible again")
        return 200

    with handler(behave) as server:
        assert job.work(server.port, replaced=True) == contract.EXIT_OK
    assert server.attempts() == {0: 2}
    assert job.queue.depth() == Depth(0, 0)
