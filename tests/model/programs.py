"""The code under test as programs of a tape: each wires real classes to collaborators that ask the tape.

Effects are named after what they do outside the process: on the queue, the store, the handler. Effects that only read what can't change
meanwhile are answered here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest import mock

from batchflow import contract
from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.attempts import Batch, decode
from batchflow.dequeuer.held import Held
from batchflow.dequeuer.outcomes import Committer
from batchflow.dequeuer.progress import Progress
from batchflow.dequeuer.receiver import Leaving, Receiver
from batchflow.dequeuer.settling import DeadLetters, Settling
from batchflow.dequeuer.slot import Slot
from batchflow.enqueuer.enqueue import _Enqueuer
from batchflow.finalizer.cleanup import SPARE_S, Observed, cleanup
from batchflow.finalizer.finalize import _Finalizer
from batchflow.queues.protocol import Delivery
from batchflow.records import (
    Checkpoint,
    HookAnswer,
    JobRef,
    Message,
    Outcome,
    SubmissionRecord,
    batch_message,
)
from batchflow.settings import Settings
from batchflow.spec.model import Additions, Api, Pod
from batchflow.status.accounting import Accounting
from tests.model.stand_ins import VISIBILITY, SyncSender, TapeHandler, TapeQueue, TapeQueues, TapeRecords, job_ref
from tests.model.tape import Tape, again

__all__ = ["VISIBILITY", "Cleaning", "Code", "Enqueuing", "Finalizing", "Handling", "Job", "Outcomes", "Polling", "accounting", "job_ref"]

enqueue_module = import_module("batchflow.enqueuer.enqueue")  # the package has a function of that name

SETTINGS: Final = Settings(visibility_s=VISIBILITY, retry_s=0, grace_s=0)

Outcomes = frozenset[tuple[int, str]]


def accounting(total: int, outcomes: Outcomes) -> Accounting:
    """What batchflow counts."""
    return Accounting(total, [Outcome(index, outcome, 1, 0.0) for index, outcome in outcomes])


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """What is checked. A mutant has something else in one place."""

    leaving: type[Leaving] = Leaving
    receiver: type[Receiver] = Receiver
    settling: type[Settling] = Settling
    committer: type[Committer] = Committer
    finalizer: type[_Finalizer] = _Finalizer
    enqueuer: type[_Enqueuer] = _Enqueuer
    cleanup: Callable[..., Any] = cleanup
    message: Callable[[JobRef, int, int, str], Message] = batch_message


@dataclass(frozen=True, slots=True, eq=False)  # a job equals only itself, which is quick to see
class Job:
    """The job that is run. `max_receive_count` is None without a dead-letter queue (DLQ)."""

    batches: int
    workers: int
    hook: bool
    max_receive_count: int | None = None
    code: Code = Code()

    @property
    def api(self) -> Api:
        return Api("squares", "/squares", pod=Pod(containers=(), port=8080), additions=Additions(), has_hook=self.hook)

    @property
    def submission(self) -> SubmissionRecord:
        items = {"items": list(range(self.batches)), "batch_size": 1}
        body = {"workers": self.workers, "item_list": items}
        return SubmissionRecord("squares", "api", job_ref(1).job_id, "2026-01-01T00:00:00Z", body)

    def assignment(self, tape: Tape, run: int) -> Assignment:
        return Assignment(
            records=cast(Any, TapeRecords(tape, self.submission, run)),
            api=self.api,
            pod="pod",
            step=contract.STEP_WORK,
            port=0,
            total=self.batches,
            workers=self.workers,
            max_receive_count=self.max_receive_count,
            mnt=Path("/"),
            progress_file=None,
            settings=SETTINGS,
        )


@dataclass(frozen=True, slots=True)
class Polling:
    """A worker with nothing in hand, or finalize's (`known`: the outcomes that its accounting has). Ends when it leaves."""

    job: Job
    replaced: bool
    known: Outcomes | None

    def run(self, tape: Tape) -> str:
        assignment = self.job.assignment(tape, 1)
        queue: Any = TapeQueue(tape)
        held = Held(queue, visibility_s=VISIBILITY, heartbeat_s=1)
        known = None if self.known is None else accounting(self.job.batches, self.known)
        waits = self.replaced or known is not None
        leaving = self.job.code.leaving(VISIBILITY, patient=waits, accounting=known)
        hand, settling, committer = (cast(Any, part) for part in (_EmptyHand(), None, _IdleCommitter()))
        receiver = self.job.code.receiver(
            assignment,
            queue,
            hand,
            held,
            settling,
            committer,
            leaving,
            retry=cast(Any, again),
            closing=Event(),
            clock=lambda: tape.ask("clock"),
        )
        receiver.run()
        return "leaves"


class _EmptyHand:
    def surplus(self) -> list[Batch]:
        return []

    def room(self, timeout_s: float) -> int:
        return 1

    def __len__(self) -> int:
        return 0

    def wait_until_empty(self, timeout_s: float) -> bool:
        return True


class _IdleCommitter:
    behind = False

    def flush(self, timeout_s: float) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Handling:
    """One delivery from the hand to its deletion: decode, slot, settling, committer."""

    job: Job
    run_number: int
    index: int
    attempt: int

    def run(self, tape: Tape) -> str:
        code = self.job.code
        message = code.message(job_ref(self.run_number), self.index, self.attempt, f"[{self.index}]")
        delivery = Delivery(message, "receipt", 1)
        assignment = self.job.assignment(tape, self.run_number)
        queue: Any = TapeQueue(tape)
        held = Held(queue, visibility_s=VISIBILITY, heartbeat_s=1)
        committer = code.committer(assignment, queue, held, retry=cast(Any, again), committed=lambda _: None)
        dlq: Any = TapeQueue(tape, "send to the DLQ")
        limit = self.job.max_receive_count
        dead_letters = None if limit is None else DeadLetters(lambda: dlq, limit, patience_s=0, abandon=Event())
        with mock.patch("batchflow.dequeuer.settling.batch_message", code.message):
            settling = code.settling(assignment, queue, dead_letters, committer, Progress(assignment, queue.depth), cast(Any, again))
            found = decode(delivery, assignment.records.job, assignment.total)
            if isinstance(found, Batch):
                slot = Slot(
                    cast(Any, TapeHandler(tape)), cast(Any, SimpleNamespace(due=False)), cast(Any, _OneBatch(found)), settling, Event()
                )
                slot.run()
            else:
                settling.undecodable(found)
        committer.close()
        committer.write_outcomes()
        committer.delete_messages()
        return "handled"


class _OneBatch:
    def __init__(self, batch: Batch) -> None:
        self._batches = [batch]

    def take(self) -> Batch | None:
        return self._batches.pop() if self._batches else None

    def finish(self, batch: Batch, seconds: float | None) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Finalizing:
    """Finalize; its `work_off` is a worker, which is not in this program. Ends with the exit code."""

    job: Job
    run_number: int

    def run(self, tape: Tape) -> int:
        def work_off(known: Accounting) -> int:
            return int(tape.ask("work off"))

        def ask_hook(job: JobRef, port: int, **_: Any) -> HookAnswer | None:
            ok = tape.ask("post hook")
            return None if ok is None else HookAnswer(job.run, 200 if ok else 500, ok=ok)

        records = cast(Any, TapeRecords(tape, self.job.submission, self.run_number))
        with mock.patch("batchflow.finalizer.finalize.ask_hook", ask_hook):
            finalizer = self.job.code.finalizer(records, self.job.api, self.job.batches, 0, work_off, Event(), SETTINGS, again)
            return int(finalizer.run())


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Cleanup, once it waited for the others, or for long enough. Ends with the status."""

    job: Job
    run_number: int

    def run(self, tape: Tape) -> str:
        def observe() -> Observed:
            shutdown = {"shutdown": "Stop"} if tape.ask("observe") else {}
            return Observed({"spec": shutdown, "status": {"phase": "Running"}}, ())

        status = self.job.code.cleanup(
            cast(Any, TapeRecords(tape, self.job.submission, self.run_number)),
            own_pod="cleanup",
            hook_due=self.job.hook,
            queues=cast(Any, TapeQueues(tape)),
            queue_name="queue",
            observe=observe,
            log_tails=lambda: (),
            grace_s=-SPARE_S,
            retry=cast(Any, again),
        )
        return str(status.status)


@dataclass(frozen=True, slots=True)
class Enqueuing:
    """The enqueuer, with a checkpoint after each batch. Ends with its last checkpoint."""

    job: Job
    run_number: int

    def run(self, tape: Tape) -> Checkpoint:
        code = self.job.code
        stop = cast(Any, SimpleNamespace(is_set=lambda: tape.ask("told to stop")))
        records = cast(Any, TapeRecords(tape, self.job.submission, self.run_number))
        message = code.message
        with (
            mock.patch.object(enqueue_module, "Sender", SyncSender),
            mock.patch.object(SyncSender, "message", staticmethod(message)),
        ):
            enqueuer = code.enqueuer(records, cast(Any, TapeQueues(tape)), cast(Any, None), SETTINGS, stop, 0.0, 1)
            return enqueuer.run()
