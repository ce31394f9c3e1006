"""What every queue does. tests/contract holds one suite that each implementation passes.

Semantics are SQS FIFO's in high-throughput mode (deduplication scope and throughput limit per message group):
at-least-once delivery, a delivery hidden for `visibility_s` seconds, deduplication by id within a group for 5 minutes,
one delivery in flight per group. Any call may raise `errors.Unreachable`; its caller decides how long to try again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from batchflow.records import Message

__all__ = ["MAX_ENTRIES", "Delivery", "Depth", "Queue", "Queues", "Refused"]

# SQS quota "messages per batch": https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_ENTRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as received once. `receipt` is good until the message is hidden no more, deleted, or received again."""

    message: Message
    receipt: str
    receive_count: int


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry of a send that was not accepted. `permanent`: sending the same again can't help."""

    message: Message
    reason: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class Depth:
    """Approximate numbers of messages: `visible` may be received now, `in_flight` are held by somebody."""

    visible: int
    in_flight: int


class Queue(Protocol):
    """One queue; any number of threads may use it at once."""

    @property
    def url(self) -> str: ...

    def send(self, messages: Sequence[Message]) -> list[Refused]:
        """Send up to 10 messages in one call; all but the returned ones are in the queue. A repeat is dropped silently."""
        ...

    def receive(self, limit: int, wait_s: float, visibility_s: int) -> list[Delivery]:
        """Up to `limit` (≤ 10) messages, hidden from others for `visibility_s`; waits up to `wait_s` for the first."""
        ...

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        """Delete any number of them for good; a stale receipt is ignored."""
        ...

    def extend(self, deliveries: Sequence[Delivery], visibility_s: int) -> None:
        """Hide any number of them for `visibility_s` from now on (0: give back at once); a stale receipt is ignored."""
        ...

    def depth(self) -> Depth: ...

    def close(self) -> None: ...


class Queues(Protocol):
    """A queue service: makes, finds and removes queues."""

    def create(self, name: str, *, visibility_s: int, tags: Mapping[str, str]) -> Queue:
        """The queue of that name, made if there is none. `name` ends in `.fifo`, ≤ 80 characters."""
        ...

    def open(self, url: str) -> Queue:
        """The queue with that URL; the queue itself is not asked."""
        ...

    def find(self, name: str) -> Queue | None:
        """The queue of that name, if there is one."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """The names of the FIFO queues that start with `prefix`, in no order; one just made or removed may be missing or still there."""
        ...

    def open_arn(self, arn: str) -> Queue:
        """A user's queue by its ARN; raises `errors.NotFound` if there is none that we may see."""
        ...

    def has_arn(self, arn: str) -> bool:
        """Whether `open_arn` would find it; makes nothing. Raises InvalidInput for no FIFO queue's ARN, Unreachable if nobody knows."""
        ...

    def remove(self, url: str) -> None:
        """Delete the queue with all messages; no error if it is gone."""
        ...
