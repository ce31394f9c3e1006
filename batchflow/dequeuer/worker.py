"""A worker: wires the threads, waits for the end, and sees to it that nothing is lost on the way out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from batchflow import contract
from batchflow.dequeuer import progress
from batchflow.dequeuer.handler import HandlerClient
from batchflow.dequeuer.held import Held
from batchflow.dequeuer.holding import Hand
from batchflow.dequeuer.outcomes import Committer
from batchflow.dequeuer.progress import Progress
from batchflow.dequeuer.readiness import Readiness, probes_of
from batchflow.dequeuer.receiver import FinalizeLeaves, Leaving, Receiver, WorkerLeaves
from batchflow.dequeuer.settling import DeadLetters, Settling
from batchflow.dequeuer.slot import Slot
from batchflow.errors import HandlerDown, Unreachable
from batchflow.queues.protocol import Queue
from batchflow.records import Outcome
from batchflow.retry import Retry
from batchflow.settings import Settings
from batchflow.spec.model import Api
from batchflow.status.accounting import Accounting
from batchflow.store.jobs import JobRecords

__all__ = ["Assignment", "work", "work_off"]

log = logging.getLogger(__name__)

# The runtime of a Handler answers 504 itself at `batch_timeout_s`, naming the batch; wait for that answer.
RUNTIME_ANSWERS_S: Final = 5.0
# Kept of the grace period for what follows when the handler is through: commit, give back, save the counters.
COMMIT_RESERVE_S: Final = 3.0
_LOOK_AGAIN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker works on, and where it is.

    `pod` is unique to each try of a step; `port` is where the handler really listens; `total` and `workers` are the job's numbers of
    batches and of workers; `max_receive_count` is the DLQ's, None without one; `mnt` is the folder that all containers share.
    """

    records: JobRecords
    api: Api
    pod: str
    step: str
    port: int
    total: int
    workers: int
    max_receive_count: int | None
    mnt: Path
    progress_file: Path | None
    settings: Settings


def work(assignment: Assignment, queue: Queue, dead_letters: Queue | None, stop: Event, *, replaced: bool) -> int:
    """Handle batches until none is left; `replaced`: this worker replaces a lost pod.

    Returns an exit code of contract.py: 0, 69 (the handler is down), 75 (store or queue were out of reach) or 143 (`stop` was set).
    Any other error is raised after an orderly end.
    """
    return _Worker(assignment, queue, dead_letters, WorkerLeaves(replaced=replaced), stop).run()


def work_off(assignment: Assignment, queue: Queue, dead_letters: Queue | None, stop: Event, accounting: Accounting) -> int:
    """As `work`, for finalize: until `accounting` (to which it adds) misses none, or nothing was left for one visibility timeout.

    Waits for the handler to be ready even if no batch is left: the hook is next.
    """
    leaving = FinalizeLeaves(accounting, quiet_s=assignment.settings.visibility_s)
    return _Worker(assignment, queue, dead_letters, leaving, stop, accounting).run()


class _Worker:
    """The threads of a worker, and what they share."""

    def __init__(
        self,
        assignment: Assignment,
        queue: Queue,
        dead_letters: Queue | None,
        leaving: Leaving,
        stop: Event,
        accounting: Accounting | None = None,
    ) -> None:
        a, settings, additions = assignment, assignment.settings, assignment.api.additions
        self._assignment = a
        self._stop = stop
        self._accounting = accounting
        self._failure: BaseException | None = None
        self._failing = Lock()
        self._closing = Event()  # no further batch is begun; set by whoever first sees that the worker ends
        self._abandon = Event()  # the committer tries no longer
        self._ended = Event()  # nothing is held any more
        retry = Retry(settings.retry_s, self._closing)
        self._hand = Hand(additions.max_concurrency)
        share = math.ceil(a.total / max(a.workers, 1))
        self._progress = Progress(a.records, a.pod, a.step, share=share, file=a.progress_file, hand=self._hand)
        self._held = Held(queue, visibility_s=settings.visibility_s, heartbeat_s=settings.heartbeat_s)
        self._committer = Committer(
            a.records, a.pod, queue, self._held, retry=Retry(settings.retry_s, self._abandon), committed=self._committed
        )
        dlq = None
        if dead_letters is not None and a.max_receive_count is not None:
            dlq = DeadLetters(dead_letters, a.max_receive_count, patience_s=settings.retry_s, abandon=self._closing)
        settling = Settling(a.records.job, queue, dlq, self._committer, self._progress, retry)
        self._readiness = Readiness(
            probes_of(a.api, a.port),
            failures=a.mnt / contract.FAILURES_FILE,
            timeout_s=additions.start_timeout_s,
            waiting=self._progress.waiting_for,
        )
        timeout_s = additions.batch_timeout_s + (RUNTIME_ANSWERS_S if a.api.handler else 0.0)
        self._slots = [
            Slot(
                HandlerClient(a.port, timeout_s),
                self._readiness,
                self._hand,
                settling,
                records=a.records,
                pod=a.pod,
                retry=retry,
                closing=self._closing,
            )
            for _ in range(additions.max_concurrency)
        ]
        self._receiver = Receiver(
            a.records.job,
            queue,
            self._hand,
            self._held,
            settling,
            self._committer,
            leaving,
            total=a.total,
            visibility_s=settings.visibility_s,
            retry=retry,
            closing=self._closing,
        )

    def run(self) -> int:
        log.info("starts", extra={"pod": self._assignment.pod, "port": self._assignment.port})
        helpers = [self._start("counters", self._progress.save_regularly, self._ended), self._start("heartbeat", self._held.beat, self._ended)]
        threads: list[Thread] = []
        committer: Thread | None = None
        if self._ready():
            committer = self._start("committer", self._committer.run)
            threads = [self._start(f"slot-{number}", slot.run) for number, slot in enumerate(self._slots)]
            threads.append(self._start("receiver", self._receive))
            while not self._closing.wait(_LOOK_AGAIN_S):
                if self._stop.is_set():
                    self._closing.set()
        self._leave(threads, committer)
        self._ended.set()
        for thread in helpers:
            thread.join(1.0)
        return self._exit_code()
