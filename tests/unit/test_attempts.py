"""What follows an attempt: tables of pure decisions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.dequeuer.attempts import Batch, Next, Undecodable, after_failure, dead_letter, decode, failed, printable, succeeded
from batchflow.queues.protocol import Delivery
from batchflow.records import JobRef, Message, Outcome, batch_id, batch_message

JOB = JobRef("squares", "6ffffffffffffff0")


def delivery(message: Message, receive_count: int = 1) -> Delivery:
    return Delivery(message, "receipt", receive_count)


def batch(attempt: int = 1, receive_count: int = 1) -> Batch:
    found = decode(delivery(batch_message(JOB, 4, attempt, "[1]"), receive_count), JOB, 10)
    assert isinstance(found, Batch)
    return found


def test_a_batch_message_is_decoded() -> None:
    found = batch(attempt=3)
    assert (found.index, found.attempt, found.batch_id) == (4, 3, batch_id(JOB.job_id, 4))


def test_a_batch_beyond_the_total_is_not_ours() -> None:
    found = decode(delivery(batch_message(JOB, 10, 1, "[]")), JOB, 10)
    assert isinstance(found, Undecodable)
    assert found.index is None


@pytest.mark.parametrize("text", ["", "1.0", "-1", "٣", "1" * 19, " 1", "0x1"])
def test_only_plain_digits_are_numbers(text: str) -> None:
    message = batch_message(JOB, 4, 1, "[]")
    attributes: dict[str, Any] = {**message.attributes, "batch_index": text}
    found = decode(delivery(Message("[]", "4", "d", attributes)), JOB, 10)
    assert isinstance(found, Undecodable)
    assert found.index is None


@pytest.mark.parametrize(
    ("attempt", "max_receive_count", "follows"),
    [
        (1, None, Next.FINAL),
        (7, None, Next.FINAL),
        (1, 1, Next.DEAD_LETTER),
        (1, 2, Next.AGAIN),
        (2, 2, Next.DEAD_LETTER),
        (3, 2, Next.DEAD_LETTER),
        (4, 5, Next.AGAIN),
    ],
)
def test_what_follows_a_failed_attempt(attempt: int, max_receive_count: int | None, follows: Next) -> None:
    assert after_failure(attempt, max_receive_count) is follows


@pytest.mark.parametrize(("receive_count", "suspect"), [(1, False), (2, False), (3, True), (9, True)])
def test_from_its_third_receive_a_batch_is_suspect(receive_count: int, suspect: bool) -> None:
    assert batch(receive_count=receive_count).suspect is suspect


def test_outcomes_count_the_attempts_that_ended() -> None:
    assert succeeded(batch(attempt=3), 1.5) == Outcome(4, "succeeded", 3, 1.5)
    assert succeeded(batch(attempt=3), 1.5).failed_attempts == 2
    assert failed(batch(attempt=3), "no", seconds=2.0) == Outcome(4, "failed", 3, 2.0, "no")
    assert failed(batch(attempt=3), "lost", handled=False) == Outcome(4, "failed", 2, 0.0, "lost")


def test_a_dead_letter_is_the_message_and_why() -> None:
    message = batch_message(JOB, 4, 2, '[{"a": "ü"}]')
    dead = dead_letter(message, "why")
    assert (dead.body, dead.group, dead.dedup) == (message.body, message.group, message.dedup)
    assert dead.attributes == {**message.attributes, "reason": "why"}


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("a\tb\nc\rd", "a\tb\nc\rd"),
        ("bell\x07", "bell\ufffd"),
        ("\ud800", "\ufffd"),
        ("\uffff\ufffe", "\ufffd\ufffd"),
        ("😀", "😀"),
        ("é" * 600, "é" * 512),
        ("a" + "é" * 600, "a" + "é" * 511),
    ],
)
def test_a_reason_is_what_sqs_takes(reason: str, sent: str) -> None:
    assert printable(reason) == sent


@given(st.text(alphabet=st.characters(), max_size=2000))
def test_any_reason_fits(reason: str) -> None:
    sent = printable(reason)
    assert len(sent.encode()) <= 1024
    assert all(c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000" for c in sent)
