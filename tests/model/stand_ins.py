"""The collaborators of a program: queue, store, handler. They ask its tape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Final, cast

from batchflow import contract
from batchflow.dequeuer.handler import Answer, Result
from batchflow.enqueuer.batching import Batch as Cut
from batchflow.enqueuer.sending import Confirmed
from batchflow.queues.protocol import Delivery, Depth
from batchflow.records import Checkpoint, Counters, FinalStatus, HookAnswer, JobRef, Message, Outcome, SubmissionRecord, batch_message
from batchflow.status.model import JobStatus
from tests.model.tape import Tape

__all__ = ["VISIBILITY", "SyncSender", "TapeHandler", "TapeQueue", "TapeQueues", "TapeRecords", "job_ref"]

VISIBILITY: Final = 2  # in ticks of the model's clock: a batch can be lost in the middle of somebody else's
QUEUE_URL: Final = "the run's queue"


def job_ref(run: int) -> JobRef:
    return JobRef("squares", "6ffffffffffffff0", run)


class TapeQueue:
    """A run's queue, or the user's DLQ (whose one effect is `dlq`)."""

    url = QUEUE_URL

    def __init__(self, tape: Tape, send: str = "send") -> None:
        self._tape = tape
        self._send = send

    def send(self, messages: Sequence[Message]) -> list[Any]:
        for message in messages:
            attributes = message.attributes
            self._tape.ask(self._send, int(attributes["batch_index"]), int(attributes["attempt"]), message.dedup)
        return []

    def receive(self, limit: int, wait_s: float, visibility_s: int) -> list[Delivery]:
        """The model keeps what was received: the program that polls is left there."""
        assert visibility_s == VISIBILITY and not self._tape.ask("receive", wait_s > 0)
        return []

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        self._tape.ask("delete", tuple(delivery.receipt for delivery in deliveries))

    def depth(self) -> Depth:
        return Depth(*self._tape.ask("depth"))

    def close(self) -> None:
        pass


class TapeQueues:
    """The queue service: one queue, if it is there."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def create(self, name: str, **_: Any) -> TapeQueue:
        self._tape.ask("create queue")
        return TapeQueue(self._tape)

    def find(self, name: str) -> TapeQueue | None:
        return TapeQueue(self._tape) if self._tape.ask("find queue") else None

    def remove(self, url: str) -> None:
        self._tape.ask("remove queue")


class TapeRecords:
    """A job's records. What was submitted never changes."""

    def __init__(self, tape: Tape, submitted: SubmissionRecord, run: int) -> None:
        self._tape = tape
        self._submitted = submitted
        self.job = job_ref(run)
        self.store = SimpleNamespace(url="/store")
        self.prefix = "job/"

    def submission(self) -> SubmissionRecord:
        return self._submitted

    def request(self) -> SubmissionRecord:
        return self._submitted.without_source()

    def create_outcomes(self, writer: str, number: int, outcomes: Iterable[Outcome]) -> None:
        self._tape.ask("write outcomes", tuple((outcome.index, outcome.outcome) for outcome in outcomes))

    def outcomes(self) -> Iterator[Outcome]:
        return iter([Outcome(index, outcome, 1, 0.0) for index, outcome in sorted(self._tape.ask("read outcomes"))])

    def hook(self) -> HookAnswer | None:
        found = self._tape.ask("read hook")
        return HookAnswer(found[0], 200 if found[1] else 500, ok=found[1]) if found else None

    def save_hook(self, answer: HookAnswer) -> None:
        self._tape.ask("write hook", answer.run, answer.ok)

    def counters(self) -> list[Counters]:
        return [Counters("pod", self.job.run, contract.STEP_WORK, "done", ready=ready) for ready in self._tape.ask("read counters")]

    def checkpoint(self) -> Checkpoint | None:
        found = self._tape.ask("read checkpoint")
        return cast(Checkpoint | None, found)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._tape.ask("write checkpoint", checkpoint)

    def request_and_total(self) -> tuple[SubmissionRecord, int | None]:
        return self.request(), self._tape.ask("read total")

    def document(self) -> bytes | None:
        total = self._tape.ask("read total")
        return None if total is None else b'{"total_batch_count": %d}' % total

    def create_document(self, document: dict[str, Any]) -> None:
        self._tape.ask("create document", document["total_batch_count"])

    def final(self) -> FinalStatus | None:
        found = self._tape.ask("read final")
        return FinalStatus(found[0], _status(found[1])) if found else None

    def save_final(self, final: FinalStatus) -> None:
        self._tape.ask("write final", final.run, final.status["status"])


def _status(code: str) -> dict[str, Any]:
    return JobStatus("6ffffffffffffff0", "squares", "api", 1, code, "2026-01-01T00:00:00Z").to_dict()


class SyncSender:
    """As enqueuer.sending.Sender, without its threads: one call a batch, confirmed when it is answered."""

    message = staticmethod(batch_message)

    def __init__(self, job: JobRef, to: TapeQueue, start: Confirmed, *, tick: Callable[[], None], **_: Any) -> None:
        self._job = job
        self._to = to
        self._tick = tick
        self.confirmed = start

    def __enter__(self) -> SyncSender:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, batch: Cut) -> None:
        self._to.send([self.message(self._job, batch.index, 1, batch.body)])
        self.skip(batch)

    def skip(self, batch: Cut) -> None:
        self.confirmed = Confirmed(batch.index + 1, batch.end)

    def finish(self) -> None:
        self._tick()


class TapeHandler:
    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def post(self, path: str, headers: object, body: bytes) -> Answer:
        ok = self._tape.ask("handle")
        return Answer(Result.OK if ok else Result.FAILED, "" if ok else "failed", 0.0)

    def close(self) -> None:
        pass
