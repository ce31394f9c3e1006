"""Tries what jobs do to store and queues, on things of its own; in a pod by `batchflow step check`, on this machine by `doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from batchflow.enqueuer import queue_name
from batchflow.errors import BatchflowError, Unreachable
from batchflow.queues.protocol import Delivery, Queue, Queues
from batchflow.records import JobRef, Message
from batchflow.store.protocol import Store

__all__ = ["failures", "remove_trials", "try_queues", "try_store"]

RECEIVE_S: Final = 10.0
VISIBILITY_S: Final = 60
MESSAGE: Final = Message("[]", "0", "0")


def failures(trials: Iterable[Callable[[], object]]) -> list[BatchflowError]:
    """What went wrong. A denial stops nothing, so that all missing permissions are found at once; any other failure ends it."""
    found: list[BatchflowError] = []
    for trial in trials:
        try:
            trial()
        except BatchflowError as error:
            found.append(error)
            if not _is_denial(error):
                break
    return found


def try_store(opened: Callable[[], Store], job: JobRef, *, deletes: bool) -> list[BatchflowError]:
    """What goes wrong with opening, writing, listing and reading below `doctor/<job_id>-<run>/`, and deleting, if that is asked for.

    Pods never delete anything of a store, so they need no permission for it; what they write here is removed by `remove_trials`.
    """
    try:
        store = opened()
    except BatchflowError as error:
        return [error]
    prefix = _folder(job)
    key, created = f"{prefix}object", f"{prefix}created"

    def create() -> None:
        if not store.create(created, b"1") or store.create(created, b"2"):
            raise Unreachable(
                "a conditional write (If-None-Match) is not one", where=store.url, hint="use a store that has them, as S3 has"
            )

    trials = [lambda: store.put(key, b"1"), lambda: list(store.list(prefix)), lambda: store.get(key), create]
    return failures([*trials, lambda: store.delete([key, created])] if deletes else trials)


def try_queues(opened: Callable[[], Queues], name: str) -> list[BatchflowError]:
    """What goes wrong with a queue of that name, from making it to removing it."""
    try:
        queues = opened()
    except BatchflowError as error:
        return [error]
    trial = _QueueTrial(queues, name)
    try:
        return failures(trial.create_and_find()) or failures(trial.use_and_remove())
    finally:
        _remove(queues, name)


def remove_trials(store: Store, queues: Queues | None, job: JobRef) -> None:
    """Remove what a trial in a pod left behind, as far as that works."""
    with suppress(BatchflowError):
        store.delete(store.list(_folder(job)))
    if queues:
        _remove(queues, queue_name(job, store.url))


class _QueueTrial:
    def __init__(self, queues: Queues, name: str) -> None:
        self._queues = queues
        self._name = name
        self._queue: Queue
        # SQS checks permissions before receipts, so extend and delete can be tried also if nothing could be received.
        self._delivery = Delivery(MESSAGE, "none", 1)
        self._sent = False

    def create_and_find(self) -> list[Callable[[], object]]:
        return [self._create, lambda: self._queues.find(self._name)]

    def use_and_remove(self) -> list[Callable[[], object]]:
        return [
            self._send,
            self._receive,
            lambda: self._queue.extend([self._delivery], VISIBILITY_S),
            lambda: self._queue.depth(),
            lambda: self._queue.delete([self._delivery]),
            lambda: self._queues.remove(self._queue.url),
        ]

    def _create(self) -> None:
        self._queue = self._queues.create(self._name, visibility_s=VISIBILITY_S, tags={"batchflow": "doctor"})

    def _send(self) -> None:
        for refused in self._queue.send([MESSAGE]):
            raise Unreachable(f"SendMessageBatch failed: {refused.reason}", where=self._queue.url)
        self._sent = True

    def _receive(self) -> None:
        self._delivery = next(iter(self._queue.receive(1, RECEIVE_S if self._sent else 0, VISIBILITY_S)), self._delivery)


def _folder(job: JobRef) -> str:
    return f"doctor/{job.job_id}-{job.run}/"


def _remove(queues: Queues, name: str) -> None:
    with suppress(BatchflowError):
        if (queue := queues.find(name)) is not None:
            queues.remove(queue.url)


def _is_denial(error: BatchflowError) -> bool:
    """Store and queues name the missing permission in the hint, and begin no other one in this way."""
    return error.hint.startswith("allow ")
