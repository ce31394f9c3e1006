"""One suite for every queue: SQLite, SQS on ElasticMQ (a real SQS server), SQS on moto's server."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchflow.errors import Internal
from batchflow.queues.protocol import Delivery, Depth, Queue
from batchflow.records import Message

BACKENDS = ("sqlite", "elasticmq", "moto")
SOON_S = 20.0  # bounds a hang; nothing should take so long


def but_not(reasons: dict[str, str]) -> pytest.MarkDecorator:
    """Runs a test on every backend but the servers that are known not to do here what SQS does."""
    params = [pytest.param(b, marks=pytest.mark.skip(reason=f"{b} {reasons[b]}")) if b in reasons else b for b in BACKENDS]
    return pytest.mark.parametrize("backend", params)


def message(number: int, *, body: str = "", group: str = "", attempt: int = 1) -> Message:
    return Message(body or f'["{number}"]', group or str(number), f"job-{number}-{attempt}", {"batch_index": str(number)})


def receive_all(queue: Queue) -> list[Delivery]:
    """Until a receive that waits finds nothing."""
    found: list[Delivery] = []
    while some := queue.receive(10, wait_s=1, visibility_s=600):
        found += some
    return found


def receive_two(queue: Queue, *, visibility_s: int) -> list[Delivery]:
    """Two messages, held for that long each; waits at most SOON_S for them."""
    deadline = time.monotonic() + SOON_S
    found: list[Delivery] = []
    while len(found) < 2:
        assert time.monotonic() < deadline, "nothing to receive"
        found += queue.receive(2 - len(found), wait_s=1, visibility_s=visibility_s)
    return found


def bodies(deliveries: Sequence[Delivery]) -> list[str]:
    return sorted(delivery.message.body for delivery in deliveries)


def receive_one(queue: Queue, *, visibility_s: int = 60) -> Delivery:
    """The next delivery, waiting at most SOON_S for it."""
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        if found := queue.receive(1, wait_s=1, visibility_s=visibility_s):
            return found[0]
    pytest.fail("nothing to receive")


@pytest.mark.parametrize(
    "body",
    ['["plain"]', '["grün 日本 \N{GRINNING FACE}"]', '[\n\t"two lines"\r\n]', '["<&> ]]>"]', "[" + "7" * 262_141 + "]"],
    ids=["ascii", "non-ascii", "white-space", "markup", "262143-bytes"],
)
def test_a_message_comes_out_as_it_went_in(queue: Queue, body: str) -> None:
    sent = Message(body, "7", "job-7-1", {"batch_index": "7", "api_name": "übung", "attempt": "1"})
    assert queue.send([sent]) == []
    delivery = receive_one(queue)
    assert delivery.message == sent
    assert delivery.receive_count == 1


def test_ten_messages_of_the_largest_batch_go_in_one_send(queue: Queue) -> None:
    messages = [message(n, body=f"[{n}" + "7" * 262_100 + "]") for n in range(10)]
    assert queue.send(messages) == []
    assert bodies(receive_all(queue)) == sorted(m.body for m in messages)


@pytest.mark.parametrize("count", [0, 11])
def test_a_call_takes_one_to_ten_messages(queue: Queue, count: int) -> None:
    with pytest.raises(Internal):
        queue.send([message(n) for n in range(count)])
    with pytest.raises(Internal):
        queue.receive(count, wait_s=0, visibility_s=60)
    assert queue.depth() == Depth(0, 0)


@pytest.mark.parametrize(
    "bad",
    [
        Message("", "1", "1"),
        Message("\x01", "1", "1"),
        Message("\ufffe", "1", "1"),
        Message("[1]", "", "1"),
        Message("[1]", "1", "ü"),
        Message("[1]", "1", "x" * 129),
        Message("[1]", "1", "1", {"attempt": ""}),
        Message("[1]", "1", "1", {"reason": "\x00"}),
        Message("[1]", "1", "1", {"a b": "1"}),
        Message("[1]", "1", "1", {str(n): "1" for n in range(11)}),
        Message("7" * 1_048_577, "1", "1"),
    ],
    ids=lambda bad: f"{bad.body[:3]!r}-{bad.group}-{bad.dedup[:3]}-{len(bad.attributes)}",
)
def test_what_sqs_can_not_carry_is_refused_for_good_and_the_rest_is_sent(queue: Queue, bad: Message) -> None:
    refused = queue.send([message(1), bad, message(2)])
    assert [(r.message, r.permanent, bool(r.reason)) for r in refused] == [(bad, True, True)]
    assert bodies(receive_all(queue)) == ['["1"]', '["2"]']


def test_a_held_message_is_hidden_until_its_time_is_over_and_then_comes_again_with_a_higher_count(queue: Queue) -> None:
    queue.send([message(1)])
    first = receive_one(queue, visibility_s=3)
    assert queue.receive(10, wait_s=0, visibility_s=60) == []
    second = receive_one(queue, visibility_s=3)
    third = receive_one(queue)
    assert [d.receive_count for d in (first, second, third)] == [1, 2, 3]
    assert len({d.receipt for d in (first, second, third)}) == 3
    assert first.message == second.message == third.message


def test_extending_keeps_a_message_hidden(queue: Queue) -> None:
    queue.send([message(1)])
    held = receive_one(queue, visibility_s=3)
    queue.extend([held], 60)
    time.sleep(3.5)
    assert queue.receive(10, wait_s=0, visibility_s=60) == []
    assert queue.depth() == Depth(visible=0, in_flight=1)


def test_extending_by_nothing_gives_back_at_once(queue: Queue) -> None:
    queue.send([message(1)])
    held = receive_one(queue, visibility_s=600)
    queue.extend([held], 0)
    assert receive_one(queue).receive_count == 2


def test_a_deleted_message_never_comes_again(queue: Queue) -> None:
    queue.send([message(1), message(2)])
    held = receive_two(queue, visibility_s=3)
    queue.delete([d for d in held if d.message.group == "1"])
    again = receive_one(queue)
    assert again.message.group == "2"
    queue.delete([again])
    time.sleep(3.5)
    assert queue.receive(10, wait_s=0, visibility_s=60) == []
    assert queue.depth() == Depth(0, 0)


def test_any_number_of_messages_is_extended_and_deleted_at_once(queue: Queue) -> None:
    for start in range(0, 30, 10):
        queue.send([message(n) for n in range(start, start + 10)])
    held = receive_all(queue)
    assert len(held) == 30
    queue.extend(held[:25], 0)
    assert len(receive_all(queue)) == 25
    queue.delete(held[25:])
    assert queue.depth() == Depth(visible=0, in_flight=25)
    queue.extend([], 10)
    queue.delete([])


@but_not({"moto": "accepts stale receipts"})
def test_a_stale_receipt_is_ignored(queue: Queue) -> None:
    queue.send([message(1), message(2)])
    stale = receive_two(queue, visibility_s=1)
    current = receive_two(queue, visibility_s=60)
    queue.extend(stale, 0)
    assert queue.receive(10, wait_s=0, visibility_s=60) == []
    queue.delete(stale)
    assert queue.depth() == Depth(visible=0, in_flight=2)
    queue.delete(current)
    assert queue.depth() == Depth(0, 0)


def test_a_receipt_of_a_deleted_message_is_ignored(queue: Queue) -> None:
    queue.send([message(1), message(2)])
    held = receive_all(queue)
    queue.delete(held[:1])
    queue.delete(held)
    queue.extend(held, 60)
    assert queue.depth() == Depth(0, 0)


@but_not({"moto": "forgets a deduplication id when its message is deleted"})
def test_a_repeated_message_is_dropped_even_after_the_first_was_deleted(queue: Queue) -> None:
    queue.send([message(1), message(1), message(2)])
    queue.send([message(1)])
    held = receive_all(queue)
    assert bodies(held) == ['["1"]', '["2"]']
    queue.delete(held)
    assert queue.send([message(1)]) == []
    assert queue.receive(10, wait_s=0, visibility_s=60) == []


def test_the_next_attempt_of_a_batch_is_no_repeat(queue: Queue) -> None:
    queue.send([message(1)])
    queue.delete([receive_one(queue)])
    queue.send([message(1, attempt=2)])
    assert receive_one(queue).message.dedup == "job-1-2"


@but_not({"moto": "deduplicates over the whole queue", "elasticmq": "deduplicates over the whole queue"})
def test_dedup_ids_count_within_their_group(queue: Queue) -> None:
    queue.send([Message("[1]", "1", "same"), Message("[2]", "2", "same")])
    assert bodies(receive_all(queue)) == ["[1]", "[2]"]


def test_a_group_has_its_order_and_waits_while_a_message_of_it_is_held(queue: Queue) -> None:
    queue.send([message(1, group="g")])
    queue.send([message(2, group="g")])
    first = receive_one(queue)
    assert first.message.body == '["1"]'
    assert queue.receive(10, wait_s=0, visibility_s=60) == []
    queue.delete([first])
    assert receive_one(queue).message.body == '["2"]'


def test_groups_do_not_block_each_other(queue: Queue) -> None:
    queue.send([message(1), message(2)])
    assert len({receive_one(queue).message.group, receive_one(queue).message.group}) == 2


def test_depth_counts_visible_and_held(queue: Queue) -> None:
    assert queue.depth() == Depth(0, 0)
    queue.send([message(n) for n in range(5)])
    assert queue.depth() == Depth(visible=5, in_flight=0)
    queue.receive(2, wait_s=0, visibility_s=60)
    assert queue.depth() == Depth(visible=3, in_flight=2)


def test_a_receive_that_waits_gets_what_is_sent_meanwhile(queue: Queue) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.receive, 1, 20, 60)
        time.sleep(0.5)
        assert not waiting.done()
        queue.send([message(1)])
        assert bodies(waiting.result(SOON_S)) == ['["1"]']


@but_not({"moto": "may deliver a message twice to receivers that ask at once"})
def test_threads_share_a_queue_and_each_message_is_delivered_once(queue: Queue) -> None:
    found: list[str] = []
    lock = threading.Lock()

    def receive() -> None:
        while some := queue.receive(10, wait_s=2, visibility_s=600):
            queue.extend(some, 600)
            with lock:
                found.extend(d.message.group for d in some)
            queue.delete(some)

    with ThreadPoolExecutor(6) as pool:
        receivers = [pool.submit(receive) for _ in range(3)]
        senders = [pool.submit(queue.send, [message(n) for n in range(start, start + 10)]) for start in range(0, 300, 10)]
        assert [refused for sender in senders for refused in sender.result(60)] == []
        for receiver in receivers:
            receiver.result(60)
    assert sorted(map(int, found)) == list(range(300))
