"""Changes of the code that each break the protocol: the model must find every one of them, or it proves nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final
from unittest import mock

from batchflow.dequeuer.attempts import Batch, dead_letter
from batchflow.dequeuer.outcomes import Committer, Settled
from batchflow.dequeuer.receiver import Leaving, Receiver
from batchflow.dequeuer.settling import Settling
from batchflow.enqueuer.enqueue import _Enqueuer
from batchflow.finalizer.cleanup import cleanup
from batchflow.finalizer.finalize import _Finalizer
from batchflow.records import JobRef, Message, Outcome, batch_message
from batchflow.status import model
from batchflow.status.accounting import Accounting
from tests.model.programs import Code
from tests.model.world import World

__all__ = ["MUTANTS", "Mutant"]

BATCHES: Final = 2


class DeletesFirst(Committer):
    def write_outcomes(self) -> None:
        for settled in self._settled:
            self._queue.delete([settled.delivery])
        super().write_outcomes()


class DeletesBeforeSendingAgain(Settling):
    def _send_again(self, batch: Batch, outcome: Outcome) -> None:
        self._queue.delete([batch.delivery])
        super()._send_again(batch, outcome)


class DeadLettersLast(Settling):
    def _give_up(self, batch: Batch, outcome: Outcome) -> None:
        self._committer.settle(Settled(batch.delivery, outcome))
        self._committer.close()
        self._committer.write_outcomes()
        self._committer.delete_messages()
        assert self._dead_letters
        self._dead_letters.send(dead_letter(batch.delivery.message, outcome.error))


def without_attempt(job: JobRef, index: int, attempt: int, body: str) -> Message:
    """A deduplication id that does not name the attempt."""
    return replace(batch_message(job, index, attempt, body), dedup=f"{job.job_id}-{index}")


class LeavesOnDepth(Receiver):
    def run(self) -> None:
        while True:
            polled_at = self._clock()
            if deliveries := self._receive(1, 0.0):
                self._accept(deliveries)
            elif self._leaving.may_leave(self._queue.depth(), polled_at):
                return


class Impatient(Leaving):
    """A replacement leaves as soon as others do."""

    def __init__(self, visibility_s: float, *, patient: bool = False, accounting: Accounting | None = None) -> None:
        super().__init__(visibility_s, patient=patient and accounting is not None, accounting=accounting)


class NeverInDoubt(Leaving):
    def in_doubt(self, now: float) -> None:
        pass


class HooksFirst(_Finalizer):
    def run(self) -> int:
        self._account()
        return self._hook(self.records.job)


class TrustsTheFirstAccount(_Finalizer):
    """Posts the hook although batches were left over."""

    def run(self) -> int:
        accounting = self._account()
        return self.work_off(accounting) or self._hook(self.records.job)


class ConfirmsBeforeSending(_Enqueuer):
    def _checkpoint(self) -> None:
        ahead = min(self.sender.confirmed.next_index + 1, BATCHES)
        self._save(replace(self.saved, next_index=ahead, file=ahead))


class SendsAll(_Enqueuer):
    def _accounting(self) -> Accounting:
        return Accounting(0)


def deletes_the_queue_first(records: Any, *, queues: Any, **others: Any) -> Any:
    queues.remove("queue")
    return cleanup(records, queues=queues, **others)


def says_succeeded(records: Any, **others: Any) -> Any:
    """As if the verdict looked at the workflow alone."""
    with mock.patch("batchflow.status.adapter.verdict", lambda **_: (model.SUCCEEDED, "")):
        return cleanup(records, **others)


def says_it_anew(records: Any, **others: Any) -> Any:
    """A second try of cleanup writes the status again."""
    records.final = lambda: None
    return cleanup(records, **others)


ORDINARY: Final = World()


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is wrong, and the smallest job and world in which it shows."""

    name: str
    code: Code
    rule: str
    batches: int = 1
    hook: bool = False
    max_receive_count: int | None = None
    faults: int = 1
    failures: int = 0
    world: World = ORDINARY


SENT: Final = "a batch that was sent has an outcome or a message"
LEFT: Final = "batches are left over only if the job was cut off, or nobody replaced a worker"
IN_DLQ: Final = "a batch that failed for good is in the dead-letter queue"
HOOK: Final = "the hook is posted only after every batch has an outcome"
STATUS_FIRST: Final = "the queue is deleted only after the final status is written"
RESUMED: Final = "a resumed run sends only batches without an outcome"
TRUE: Final = "`succeeded` only if every batch has a recorded success"
STOPS: Final = World(stops=True)

MUTANTS: Final = (
    Mutant("deletes before the outcome is written", Code(committer=DeletesFirst), SENT),
    Mutant("deletes before it sends again", Code(settling=DeletesBeforeSendingAgain), SENT, max_receive_count=2, failures=1),
    Mutant("dead-letters after the outcome", Code(settling=DeadLettersLast), IN_DLQ, max_receive_count=1, failures=1),
    Mutant("resends under the same deduplication id", Code(message=without_attempt), SENT, max_receive_count=2, failures=1),
    Mutant("leaves on the depth only", Code(receiver=LeavesOnDepth), LEFT),
    Mutant("a replacement does not wait", Code(leaving=Impatient), LEFT),
    Mutant("a lost answer leaves no doubt", Code(leaving=NeverInDoubt), LEFT),
    Mutant("posts the hook first", Code(finalizer=HooksFirst), HOOK, hook=True, world=STOPS, faults=3),
    Mutant("posts the hook whatever is left", Code(finalizer=TrustsTheFirstAccount), HOOK, hook=True, world=World(gives_up=True)),
    Mutant("confirms what it has not sent", Code(enqueuer=ConfirmsBeforeSending), SENT, batches=BATCHES),
    Mutant("a resumed run sends all", Code(enqueuer=SendsAll), RESUMED, batches=2, world=STOPS, faults=0),
    Mutant("deletes the queue before the status", Code(cleanup=deletes_the_queue_first), STATUS_FIRST),
    Mutant("takes an ended workflow for success", Code(cleanup=says_succeeded), TRUE, faults=3),
    Mutant("says the status twice", Code(cleanup=says_it_anew), STATUS_FIRST, hook=True, world=STOPS),
)
