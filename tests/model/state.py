"""The state of the model: the queue, the records, and who is at work. Values only; every part is small and hashable."""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from batchflow.records import Checkpoint
from tests.model.programs import Job, Outcomes, accounting

__all__ = ["NOBODY", "Actor", "Delivery", "Message", "Seat", "State", "Worker", "first_state"]

NOBODY: Final = -1  # the receipt of a delivery whose answer was lost


class Message(NamedTuple):
    """In the queue, in the order of sending. `receipt`: of its last delivery; 0 while it is visible. `hidden`: for so many ticks yet."""

    batch: int
    attempt: int
    receipt: int = 0
    hidden: int = 0


class Delivery(NamedTuple):
    """What a worker has in hand, and the answers that its handling had so far."""

    batch: int
    attempt: int
    receipt: int
    tape: tuple[object, ...]


class Worker(NamedTuple):
    """A process that polls and handles one batch at a time.

    `polled`: what it remembers of its polls, a key of protocol.POLLED. `timer`: ticks since that began, None if that does not matter.
    `turn`: the answers since it last was at the beginning of its loop. `known`: the outcomes that finalize knows, None for a worker.
    """

    replaced: bool
    polled: str = "fresh"
    timer: int | None = None
    turn: tuple[object, ...] = ()
    hand: Delivery | None = None
    known: Outcomes | None = None


class Seat(NamedTuple):
    """One of the workflow's workers: who sits there (None once it ended), and how many more tries there are."""

    worker: Worker | None
    tries: int


class Actor(NamedTuple):
    """Enqueuer, finalize or cleanup: the answers so far; finalize's worker while it works off what is left."""

    tape: tuple[object, ...] = ()
    worker: Worker | None = None


class State(NamedTuple):
    """Everything.

    Attributes:
        stage: of the workflow: enqueue, work, finalize, cleanup (which runs beside the others after a stop), ended.
        faults, failures: how many may yet come.
        sent: what the queue drops if it is sent again.
        dlq: the batches in the dead-letter queue.
        total: job.json's.
        hook: its recorded answer: the run, and whether it was good.
        final: status.json: the run, and the status.
        first_cleaner: cleanup of the run before this one, which may yet be at work.
        lost: processes that Argo has given up, and that run on.
        reached: whether a worker of this run reached the handler.
        posts: of the hook; `repeats`: how many more than one are excused.
        unattended: workers that ended for good, and those in `lost`.
    """

    stage: str
    run: int
    faults: int
    failures: int
    queue: tuple[Message, ...] | None = None
    sent: frozenset[str] = frozenset()
    dlq: frozenset[int] = frozenset()
    outcomes: Outcomes = frozenset()
    checkpoint: Checkpoint | None = None
    total: int | None = None
    hook: tuple[int, bool] | None = None
    final: tuple[int, str] | None = None
    stopped: bool = False
    terminated: bool = False
    enqueuer: Actor | None = None
    seats: tuple[Seat, ...] = ()
    finalizer: Actor | None = None
    cleaner: Actor | None = None
    first_cleaner: Actor | None = None
    lost: tuple[Worker, ...] = ()
    reached: bool = False
    posts: int = 0
    repeats: int = 0
    unattended: int = 0

    @property
    def workers(self) -> list[Worker]:
        """All that live, the lost ones too."""
        seated = [seat.worker for seat in self.seats if seat.worker]
        finalizing = [self.finalizer.worker] if self.finalizer and self.finalizer.worker else []
        return [*seated, *finalizing, *self.lost]

    def missing(self, job: Job) -> int:
        return _missing(job.batches, self.outcomes)


@cache
def _missing(batches: int, outcomes: Outcomes) -> int:
    return accounting(batches, outcomes).missing


def first_state(*, faults: int, failures: int) -> State:
    """A job that was just submitted."""
    return State("enqueue", 1, faults, failures, enqueuer=Actor())
