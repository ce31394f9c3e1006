"""Decisions about attempts, pure: what a delivery says, what follows a failed attempt, and what a dead-lettered message looks like.

A batch whose attempt n failed is sent again as attempt n + 1, or to the dead-letter queue (DLQ), before the message of attempt n is
deleted: *send, outcome, delete*. Whatever dies between two of these, the message of attempt n comes back after its visibility:

- after `send again`, before `delete`: attempt n is handled once more. The new message has the same group, so it can't overtake the
  old one, and a second send of attempt n + 1 within 5 minutes is dropped, since its deduplication id is the same. (That id must name
  the attempt: if it did not, the first resend would be dropped as a repeat of the enqueuer's send, and the batch would be lost.)
  Later than that the batch has two messages, and is handled twice; accounting counts it once.
- after `send to the DLQ`, before `outcome`: as above. The batch may even succeed this time; the DLQ then holds one batch too many,
  never one too few. The DLQ drops a second copy sent within 5 minutes.
- after `outcome`, before `delete`: handled once more, a second outcome; accounting counts the batch once.

The other order would lose the batch in each case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from batchflow import contract
from batchflow.queues.protocol import Delivery
from batchflow.records import FAILED, SUCCEEDED, JobRef, Message, Outcome, batch_id

__all__ = ["MAX_STARTS", "Batch", "Next", "Undecodable", "after_failure", "dead_letter", "decode", "failed", "printable", "succeeded"]

# From this receive on a batch is suspected of taking its workers down: it is handled alone, after a start mark.
SUSPECT_RECEIVES: Final = 3
# That many start marks without an outcome are final.
MAX_STARTS: Final = 10

# What SQS accepts is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_NOT_SQS: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Batch:
    """A delivery whose message is a batch of this job. Attempts count from 1."""

    delivery: Delivery
    index: int
    attempt: int
    batch_id: str

    @property
    def suspect(self) -> bool:
        """Whether those who received it before may have died of it."""
        return self.delivery.receive_count >= SUSPECT_RECEIVES


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A delivery that can't be handled. `index` is None if the message does not tell which batch of this job it is."""

    delivery: Delivery
    index: int | None
    reason: str


class Next(Enum):
    """What follows a failed attempt."""

    FINAL = "final"
    AGAIN = "again"
    DEAD_LETTER = "dead letter"


def decode(delivery: Delivery, job: JobRef, total: int) -> Batch | Undecodable:
    """What the message says; of its body only the two ends are looked at, the rest is the handler's."""
    attributes = delivery.message.attributes
    found = attributes.get("job_id")
    if found != job.job_id:
        return Undecodable(delivery, None, f"its job_id is {found!r}, not {job.job_id}")
    index = _natural(attributes.get("batch_index"))
    if index is None or index >= total:
        return Undecodable(delivery, None, f"its batch_index is {attributes.get('batch_index')!r}, not a number below {total}")
    attempt = _natural(attributes.get("attempt"))
    if not attempt:
        return Undecodable(delivery, index, f"its attempt is {attributes.get('attempt')!r}, not a number from 1 on")
    body = delivery.message.body
    if not (body.startswith("[") and body.endswith("]")):
        return Undecodable(delivery, index, "its body is not a JSON array")
    return Batch(delivery, index, attempt, batch_id(job.job_id, index))


def _natural(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None


def after_failure(attempt: int, max_receive_count: int | None) -> Next:
    """What follows when `attempt` failed; `max_receive_count` is None without a DLQ, and then one failed attempt is final."""
    if max_receive_count is None:
        return Next.FINAL
    return Next.AGAIN if attempt < max_receive_count else Next.DEAD_LETTER


def succeeded(batch: Batch, seconds: float) -> Outcome:
    """The outcome of a batch that the handler handled in `seconds`."""
    return Outcome(batch.index, SUCCEEDED, attempts=batch.attempt, seconds=round(seconds, 6))


def failed(batch: Batch, reason: str, *, seconds: float = 0.0, handled: bool = True) -> Outcome:
    """The outcome of a batch that failed for good; `handled` is False if this attempt did not end by itself."""
    attempts = batch.attempt if handled else batch.attempt - 1
    return Outcome(batch.index, FAILED, attempts=attempts, seconds=round(seconds, 6), error=printable(reason))


def dead_letter(message: Message, reason: str) -> Message:
    """The message as the DLQ gets it: body and attributes as they were, and why."""
    return replace(message, attributes={**message.attributes, "reason": printable(reason)})


def printable(reason: str) -> str:
    """At most 1 KiB of UTF-8, only characters that SQS takes; the others become U+FFFD."""
    text = _NOT_SQS.sub("\ufffd", reason)
    return text.encode()[: contract.MAX_REASON_BYTES].decode(errors="ignore")
