"""A slot: a thread that takes batches from the hand and has the handler handle them, one at a time. A worker has `max_concurrency`."""

from __future__ import annotations

import time
from threading import Event
from typing import Final

from batchflow import contract
from batchflow.dequeuer.attempts import Batch
from batchflow.dequeuer.handler import Answer, HandlerClient, Result
from batchflow.dequeuer.holding import Hand
from batchflow.dequeuer.readiness import Readiness
from batchflow.dequeuer.settling import Settling
from batchflow.errors import HandlerDown, Unreachable

__all__ = ["Slot"]

REFUSED_PAUSE_S: Final = 0.2


class Slot:
    """Handles batches until the hand is closed.

    A batch that it leaves without settling it (the worker is `closing`) is still held, and given back when the worker ends.
    """

    def __init__(self, client: HandlerClient, readiness: Readiness, hand: Hand, settling: Settling, closing: Event) -> None:
        self.client = client
        self._readiness = readiness
        self._hand = hand
        self._settling = settling
        self._closing = closing

    def run(self) -> None:
        """The slot's thread. Raises HandlerDown, or Unreachable when store or queue have been out of reach for too long."""
        try:
            while (batch := self._hand.take()) is not None:
                seconds = None
                try:
                    seconds = self._handle(batch)
                finally:
                    self._hand.finish(batch, seconds)
        finally:
            self.client.close()

    def _handle(self, batch: Batch) -> float | None:
        """How long the handler had the batch; None if the worker is closing, or it did not get it."""
        try:
            answer = self._post(batch) if self._still_ready() and self._settling.may_start(batch) else None
            if answer is None:
                return None
            if answer.result is Result.OK:
                self._settling.succeeded(batch, answer.seconds)
            else:
                self._settling.failed(batch, answer.reason, answer.seconds)
            return answer.seconds
        except HandlerDown:
            raise
        except Unreachable:
            if self._closing.is_set():
                return None
            raise

    def _still_ready(self) -> bool:
        if not self._readiness.due:
            return True
        self.client.close()  # a server with a single thread answers nobody else as long as this connection is open
        return self._readiness.still(self._closing)

    def _post(self, batch: Batch) -> Answer | None:
        """How the attempt ended; None if it is none, because the worker is closing. A handler that is down is waited for."""
        headers = {
            "Content-Type": "application/json",
            contract.HEADER_JOB: batch.delivery.message.attributes["job_id"],
            contract.HEADER_BATCH_ID: batch.batch_id,
            contract.HEADER_BATCH_INDEX: str(batch.index),
            contract.HEADER_ATTEMPT: str(batch.attempt),
        }
        body = batch.delivery.message.body.encode()
        down_since: float | None = None
        while True:
            answer = self.client.post("/", headers, body)
            if answer.result is Result.BROKEN and self._closing.wait(contract.SIGTERM_FOLLOWS_S):
                return None
            if answer.result is not Result.REFUSED:
                return answer
            # Probes may pass and the next request be refused again (by a server that is stopping, say): the clock runs on.
            down_since = down_since or time.monotonic()
            if self._closing.wait(REFUSED_PAUSE_S) or not self._readiness.wait(self._closing, down_since):
                return None
