"""How much a worker holds, and in which order its slots get it."""

from __future__ import annotations

import pytest

from batchflow.dequeuer.attempts import Batch
from batchflow.dequeuer.holding import Hand, target
from batchflow.queues.protocol import Delivery
from batchflow.records import JobRef, batch_message

JOB = JobRef("squares", "6ffffffffffffff0")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def batches(*indexes: int, receive_count: int = 1) -> list[Batch]:
    made = []
    for index in indexes:
        made.append(Batch(Delivery(batch_message(JOB, index, 1, "[]"), f"receipt-{index}", receive_count), index, 1, "id"))
    return made


def fast(slots: int = 1, clock: Clock | None = None) -> Hand:
    """A hand that knows its batches to take no time."""
    hand = Hand(slots, clock or Clock())
    hand.put(batches(99))
    taken = hand.take()
    assert taken is not None
    hand.finish(taken, 0.0)
    return hand


@pytest.mark.parametrize(
    ("seconds", "slots", "held"),
    [
        (None, 1, 1),
        (None, 4, 4),
        (3600.0, 1, 1),
        (2.0, 1, 1),
        (1.0, 1, 2),
        (0.5, 1, 4),
        (0.5, 4, 16),
        (0.001, 1, 20),
        (0.0, 1, 20),
        (0.001, 30, 30),
        (60.0, 30, 30),
    ],
)
def test_a_worker_holds_what_it_finishes_in_two_seconds(seconds: float | None, slots: int, held: int) -> None:
    assert target(seconds, slots) == held


def test_at_first_one_batch_is_received_for_each_slot() -> None:
    assert Hand(1).room(0) == 1
    assert Hand(3).room(0) == 3


def test_a_busy_slot_leaves_no_room_before_the_speed_is_known() -> None:
    hand = Hand(1, Clock())
    hand.put(batches(0))
    hand.take()
    assert hand.room(0) == 0


def test_once_half_of_it_is_done_the_next_are_received() -> None:
    hand = fast()
    assert hand.room(0) == 20
    hand.put(batches(*range(11)))
    assert hand.room(0) == 0
    taken = hand.take()
    assert taken is not None
    hand.finish(taken, 0.0)
    assert hand.room(0) == 10


def test_what_waits_behind_a_batch_of_more_than_two_seconds_is_surplus() -> None:
    clock = Clock()
    hand = fast(clock=clock)
    hand.put(batches(0, 1, 2))
    hand.take()
    clock.now += 1.9
    assert hand.surplus() == []
    clock.now += 0.2
    assert [batch.index for batch in hand.surplus()] == [1, 2]
    assert len(hand) == 1
    assert hand.room(0) == 0


def test_a_free_slot_keeps_what_it_is_about_to_take() -> None:
    clock = Clock()
    hand = fast(slots=2, clock=clock)
    hand.put(batches(0, 1, 2))
    hand.take()
    clock.now += 3
    assert [batch.index for batch in hand.surplus()] == [2]


def test_a_slow_batch_lowers_what_is_held() -> None:
    hand = fast()
    hand.put(batches(0))
    taken = hand.take()
    assert taken is not None
    hand.finish(taken, 100.0)
    assert hand.room(0) == 1


def test_suspects_are_taken_alone_and_last() -> None:
    hand = Hand(3, Clock())
    hand.put([*batches(0, 1, receive_count=3), *batches(2)])
    first = hand.take()
    assert first is not None and first.index == 2
    assert hand.room(0) == 0
    hand.finish(first, 1.0)
    alone = hand.take()
    assert alone is not None and alone.index == 0
    hand.put(batches(3))
    assert [b.index for b in hand.close()] == [3, 1]
    assert hand.take() is None


def test_a_closed_hand_takes_nothing_in_and_gives_nothing_out() -> None:
    hand = fast()
    hand.put(batches(0, 1))
    running = hand.take()
    assert running is not None
    assert [batch.index for batch in hand.close()] == [1]
    assert not hand.put(batches(2))
    assert (hand.take(), hand.room(0), len(hand)) == (None, 0, 1)
    assert not hand.wait_until_empty(0)
    hand.finish(running, None)
    assert hand.wait_until_empty(0)
