"""From the end of an attempt to the committer: what is sent again or to the dead-letter queue, and the outcome that is recorded.

The order is always send, outcome, delete; attempts.py says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import Final

from batchflow.dequeuer import attempts
from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.attempts import Batch, Next, Undecodable
from batchflow.dequeuer.outcomes import Committer, Settled
from batchflow.dequeuer.progress import Progress
from batchflow.errors import BatchflowError, Unreachable
from batchflow.queues.protocol import Queue, Refused
from batchflow.records import FAILED, Message, Outcome, batch_message
from batchflow.retry import Retry

__all__ = ["DeadLetters", "Settling"]

_log = logging.getLogger(__name__)

DLQ_PAUSE_S: Final = 5.0


class DeadLetters:
    """The user's dead-letter queue, opened when the first batch is to go there: a job whose batches succeed doesn't need it.

    One that has refused everything for `patience_s`, or could not be opened, is asked only once for each further batch.
    """

    def __init__(self, open_queue: Callable[[], Queue], max_receive_count: int, *, patience_s: float, abandon: Event) -> None:
        self.max_receive_count = max_receive_count
        self._open_queue = open_queue
        self._queue: Queue | None = None
        self._patience_s = patience_s
        self._abandon = abandon
        self._refusing_since: float | None = None

    def send(self, message: Message) -> str:
        """Returns "" once the message is in the DLQ, or why it can't be; raises Unreachable if `abandon` is set before either."""
        while True:
            refused = self._send(message)
            if refused is None:
                self._refusing_since = None
                return ""
            now = time.monotonic()
            self._refusing_since = self._refusing_since or now
            if refused.permanent or now - self._refusing_since >= self._patience_s:
                return refused.reason
            _log.warning("the dead-letter queue refuses, trying again", extra={"reason": refused.reason})
            if self._abandon.wait(min(DLQ_PAUSE_S, self._patience_s)):
                raise Unreachable(f"the dead-letter queue refuses: {refused.reason}")

    def _send(self, message: Message) -> Refused | None:
        try:
            self._queue = self._queue or self._open_queue()
            refused = self._queue.send([message])
        except BatchflowError as error:
            return Refused(message, str(error), permanent=False)
        return refused[0] if refused else None


class Settling:
    """What follows when a delivery has come to its end. Each call raises Unreachable when store or queue were out of reach for too long."""

    def __init__(
        self,
        assignment: Assignment,
        queue: Queue,
        dead_letters: DeadLetters | None,
        committer: Committer,
        progress: Progress,
        retry: Retry,
    ) -> None:
        self._assignment = assignment
        self._queue = queue
        self._dead_letters = dead_letters
        self._committer = committer
        self._progress = progress
        self._retry = retry

    def may_start(self, batch: Batch) -> bool:
        """Mark the start of a suspect batch; one that has ten marks already is given up instead."""
        if not batch.suspect:
            return True
        records, pod = self._assignment.records, self._assignment.pod
        marks = self._retry(lambda: records.mark_start(batch.index, pod, batch.delivery.receive_count))
        if marks <= attempts.MAX_STARTS:
            return True
        reason = f"lost its worker {attempts.MAX_STARTS} times"
        _log.error("batch given up", extra={"batch": batch.index, "reason": reason})
        self._give_up(batch, attempts.failed(batch, reason, handled=False))
        return False

    def succeeded(self, batch: Batch, seconds: float) -> None:
        self._committer.settle(Settled(batch.delivery, attempts.succeeded(batch, seconds)))

    def failed(self, batch: Batch, reason: str, seconds: float) -> None:
        """An attempt failed: again, or for good."""
        reason = attempts.printable(reason)
        _log.warning("attempt failed", extra={"batch": batch.index, "attempt": batch.attempt, "reason": reason})
        self._progress.failed_attempt()
        outcome = attempts.failed(batch, reason, seconds=seconds)
        follows = attempts.after_failure(batch.attempt, self._dead_letters.max_receive_count if self._dead_letters else None)
        if follows is Next.AGAIN:
            self._send_again(batch, outcome)
        else:
            self._give_up(batch, outcome)

    def undecodable(self, found: Undecodable) -> None:
        """A message that is no batch of ours is deleted; if it says which batch it should have been, that one failed."""
        reason = f"can't be decoded: {found.reason}"
        _log.error("message can't be decoded", extra={"batch": found.index, "reason": found.reason})
        outcome = None if found.index is None else Outcome(found.index, FAILED, 0, 0.0, attempts.printable(reason))
        self._committer.settle(Settled(found.delivery, outcome))

    def _send_again(self, batch: Batch, outcome: Outcome) -> None:
        message = batch_message(self._assignment.records.job, batch.index, batch.attempt + 1, batch.delivery.message.body)
        refused = self._retry(lambda: self._send(message))
        if refused:
            self._give_up(batch, attempts.failed(batch, f"{outcome.error}; could not be sent again: {refused}", seconds=outcome.seconds))
        else:
            self._committer.settle(Settled(batch.delivery, None))

    def _send(self, message: Message) -> str:
        """Returns "" once it is in the queue, or why it never can be."""
        for refused in self._queue.send([message]):
            if not refused.permanent:
                raise Unreachable(f"the queue refuses a message: {refused.reason}", where=self._queue.url)
            return refused.reason
        return ""

    def _give_up(self, batch: Batch, outcome: Outcome) -> None:
        """The batch failed for good: to the DLQ if there is one, and its outcome is recorded."""
        if self._dead_letters:
            refused = self._dead_letters.send(attempts.dead_letter(batch.delivery.message, outcome.error))
            if refused:
                error = attempts.printable(f"{outcome.error}; the dead-letter queue refuses: {refused}")
                outcome = Outcome(outcome.index, FAILED, outcome.attempts, outcome.seconds, error)
        self._committer.settle(Settled(batch.delivery, outcome))
