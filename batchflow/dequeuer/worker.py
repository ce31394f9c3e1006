"""A worker: wires the threads, waits for the end, and sees to it that nothing is lost on the way out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Event, Thread
from typing import Final

from batchflow import contract
from batchflow.dequeuer import progress
from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.handler import HandlerClient
from batchflow.dequeuer.held import Held
from batchflow.dequeuer.holding import Hand
from batchflow.dequeuer.outcomes import DELETERS, Committer
from batchflow.dequeuer.progress import Progress
from batchflow.dequeuer.readiness import Readiness, hint_of, probes_of
from batchflow.dequeuer.receiver import Leaving, Receiver
from batchflow.dequeuer.settling import DeadLetters, Settling
from batchflow.dequeuer.slot import Slot
from batchflow.errors import HandlerDown, Unreachable
from batchflow.queues.protocol import Queue
from batchflow.records import Outcome
from batchflow.retry import Retry
from batchflow.status.accounting import Accounting

__all__ = ["work", "work_off"]

_log = logging.getLogger(__name__)

# Kept of the grace period for what follows when the handler is through: commit, give back, save the counters.
COMMIT_RESERVE_S: Final = 3.0
_LOOK_AGAIN_S: Final = 0.1
_JOIN_S: Final = 1.5  # longer than a poll


def work(assignment: Assignment, queue: Queue, dead_letters: Callable[[], Queue] | None, stop: Event, *, replaced: bool) -> int:
    """Handle batches until none is left; `dead_letters` opens the user's queue for those that fail; `replaced`: in place of a lost pod.

    Returns an exit code of contract.py: 0, 69 (the handler is down), 75 (store or queue were out of reach) or 143 (`stop` was set).
    Any other error is raised after an orderly end.
    """
    leaving = Leaving(assignment.settings.visibility_s, patient=replaced)
    return _Worker(assignment, queue, dead_letters, leaving, stop).run()


def work_off(assignment: Assignment, queue: Queue, dead_letters: Callable[[], Queue] | None, stop: Event, accounting: Accounting) -> int:
    """As `work`, for finalize: until `accounting` (to which it adds) misses none, or nothing was left for one visibility timeout.

    Waits for the handler to be ready even if no batch is left: the hook is next.
    """
    leaving = Leaving(assignment.settings.visibility_s, patient=True, accounting=accounting)
    return _Worker(assignment, queue, dead_letters, leaving, stop, accounting).run()


class _Worker:
    """The threads of a worker, and what they share."""

    def __init__(
        self,
        assignment: Assignment,
        queue: Queue,
        dead_letters: Callable[[], Queue] | None,
        leaving: Leaving,
        stop: Event,
        accounting: Accounting | None = None,
    ) -> None:
        settings, additions = assignment.settings, assignment.api.additions
        self._assignment = assignment
        self._stop = stop
        self._accounting = accounting
        self._failure: BaseException | None = None
        self._done = False  # the receiver found nothing left
        self._closing = Event()  # no further batch is begun; set by whoever first sees that the worker ends
        self._abandon = Event()  # the committer tries no longer
        self._ended = Event()  # nothing is held any more
        retry = Retry(settings.retry_s, self._closing)
        self._hand = Hand(additions.max_concurrency)
        self._progress = Progress(assignment, queue.depth)
        self._held = Held(queue, visibility_s=settings.visibility_s, heartbeat_s=settings.heartbeat_s)
        self._committer = Committer(assignment, queue, self._held, retry=Retry(settings.retry_s, self._abandon), committed=self._committed)
        dlq = None
        if dead_letters is not None and assignment.max_receive_count is not None:
            dlq = DeadLetters(dead_letters, assignment.max_receive_count, patience_s=settings.retry_s, abandon=self._closing)
        settling = Settling(assignment, queue, dlq, self._committer, self._progress, retry)
        self._readiness = Readiness(
            probes_of(assignment.api, assignment.port),
            assignment.port,
            failures=assignment.mnt / contract.FAILURES_FILE,
            timeout_s=additions.start_timeout_s,
            waiting=self._progress.waiting_for,
            hint=hint_of(assignment.api),
        )
        self._slots = [
            Slot(_client(assignment), self._readiness, self._hand, settling, self._closing) for _ in range(additions.max_concurrency)
        ]
        self._receiver = Receiver(
            assignment, queue, self._hand, self._held, settling, self._committer, leaving, retry=retry, closing=self._closing
        )

    def run(self) -> int:
        """Work until nothing is left, something fails or `stop` is set; returns the exit code, or raises what has none."""
        _log.info("starts", extra={"pod": self._assignment.pod, "port": self._assignment.port})
        beside: list[Thread] = []
        try:
            Retry(self._assignment.settings.retry_s, self._stop)(self._progress.announce)  # before anything is received
            beside.append(self._start("counters", self._progress.save_regularly, self._ended))
            beside.append(self._start("heartbeat", self._held.beat, self._ended))
            if self._readiness.wait(self._stop):
                _log.info("ready", extra={"pod": self._assignment.pod})
                self._handle_batches()
        except BaseException as error:
            self._fail(error)
        self._ended.set()
        self._progress.wake()
        _join(beside, _JOIN_S)
        return self._end()

    def _handle_batches(self) -> None:
        committer = [self._start("outcomes", self._committer.write_outcomes)]
        committer += [self._start(f"deletes-{number}", self._committer.delete_messages) for number in range(DELETERS)]
        others = [self._start(f"slot-{number}", slot.run) for number, slot in enumerate(self._slots)]
        others.append(self._start("receiver", self._receive))
        while not self._closing.wait(_LOOK_AGAIN_S):
            if self._stop.is_set():
                self._closing.set()
        self._progress.state(progress.LEAVING)
        _log.info("leaving", extra={"pod": self._assignment.pod, "in_hand": len(self._hand)})
        self._let_go(committer, others)

    def _receive(self) -> None:
        self._receiver.run()
        self._done = not self._closing.is_set()
        self._closing.set()

    def _let_go(self, committer: Sequence[Thread], others: Sequence[Thread]) -> None:
        """Bring what is in hand to an end, in this order, so that whatever was handled is committed and all else is given back.

        What waits goes back at once. What is in the handler may finish if we were asked to stop; if something failed (handler, queue
        or store are away), it can't. Only when no slot can settle any more is the committer told to end. What it did not commit, and
        what a slot left behind, is still held, and goes back last.
        """
        grace_s = self._assignment.settings.grace_s
        reserve_s = min(COMMIT_RESERVE_S, grace_s / 2)
        self._held.give_back([batch.delivery for batch in self._hand.close()])
        if self._stop.is_set():
            self._hand.wait_until_empty(grace_s - reserve_s)
        for slot in self._slots:
            slot.client.abort()
        _join(others, min(_JOIN_S, reserve_s / 2))
        self._committer.close()
        _join(committer, reserve_s / 2 if self._stop.is_set() else grace_s)
        self._abandon.set()
        _join(committer, _JOIN_S)
        self._held.give_back_all()

    def _end(self) -> int:
        """Save the last state, which is what people see of a worker that failed; returns the exit code."""
        failure = self._failure
        if self._stop.is_set() and (failure or not self._done):
            self._progress.save()
            return contract.EXIT_TERMINATED
        if failure is None:
            self._progress.state(progress.DONE)
            self._progress.save()
            return contract.EXIT_OK
        self._progress.state(progress.FAILED, str(failure))
        self._progress.save()
        if not isinstance(failure, Unreachable):
            raise failure
        _log.error("failed", extra={"error": str(failure)})
        return contract.EXIT_HANDLER_DOWN if isinstance(failure, HandlerDown) else contract.EXIT_TRY_AGAIN

    def _committed(self, outcomes: Sequence[Outcome]) -> None:
        self._progress.finished(outcomes)
        if self._accounting is not None:
            for outcome in outcomes:
                self._accounting.add(outcome)

    def _start(self, name: str, target: Callable[..., None], *args: Event) -> Thread:
        thread = Thread(target=self._guarded, args=(target, *args), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, target: Callable[..., None], *args: Event) -> None:
        """No thread dies silently: its error ends the worker."""
        try:
            target(*args)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """The first error counts; those that follow are mostly its consequences."""
        self._failure = self._failure or error
        self._closing.set()


def _client(assignment: Assignment) -> HandlerClient:
    timeout_s = assignment.api.additions.batch_timeout_s
    if assignment.api.handler:
        return HandlerClient(assignment.port, timeout_s + contract.RUNTIME_ANSWERS_S, runtime=True)
    return HandlerClient(assignment.port, timeout_s)


def _join(threads: Iterable[Thread], timeout_s: float) -> None:
    """Wait for all of them, `timeout_s` in all."""
    give_up = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
