"""A batch or the hook: call the user's code, watch it, say how it ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .executor import Call, Executor
from .handler import LoadedHandler
from .reasons import batch_reason, clip, format_error, format_stack, frame_location
from .streams import Labels

__all__ = ["Answer", "Batch", "Service"]


@dataclass(frozen=True)
class Answer:
    """`status` is HTTP's, `reason` one line of at most 1 KiB, empty for 200.

    After a `last` answer the process must end: the executor was stopped, and one of its threads hangs.
    """

    status: int
    reason: str = ""
    last: bool = False


@dataclass(frozen=True)
class Batch:
    """`index` and `attempt` are for people to read."""

    body: bytes
    batch_id: str
    index: str
    attempt: str


class Service:
    """Called by the server's threads; the user's code runs in the executor's."""

    def __init__(self, handler: LoadedHandler, executor: Executor, labels: Labels, *, project: str, timeout_s: float) -> None:
        self._handler = handler
        self._executor = executor
        self._labels = labels
        self._project = project
        self._timeout_s = timeout_s

    @property
    def job_id(self) -> str:
        return self._handler.job_id

    def handle(self, batch: Batch) -> Answer:
        """200; 400 if the body is no JSON array; else as `_call`."""
        try:
            payload = json.loads(batch.body)
        except (ValueError, RecursionError) as error:
            return Answer(400, clip(f"the batch can't be decoded: {error}"))
        if not isinstance(payload, list):
            return Answer(400, "the batch is not a JSON array")
        what = f"batch {batch.index} ({batch.batch_id}), attempt {batch.attempt}"
        return self._call(lambda: self._handler.handle(payload, batch.batch_id), what, f"[batch {batch.index}] ".encode())

    def complete(self) -> Answer:
        """404 if the class has no on_job_complete; else as `_call`."""
        if not self._handler.has_hook:
            return Answer(404, "the class has no on_job_complete")
        return self._call(self._handler.complete, "on_job_complete", b"")

    def _call(self, function: Callable[[], None], what: str, label: bytes) -> Answer:
        """200, 500 if it raised, 503 if the process is ending, 504 if it took too long: then its thread is lost."""
        call = Call(lambda: self._run(function, what, label))
        stopping = Answer(503, "the handler is stopping")
        if not self._executor.submit(call):
            return stopping
        if not call.wait(self._timeout_s):
            return self._hung(call, what, label)
        return call.result or stopping

    def _run(self, function: Callable[[], None], what: str, label: bytes) -> Answer:
        with self._labels.during(label):
            try:
                function()
            except BaseException as error:  # sys.exit() in the user's code is a failure of the batch, too
                self._log(f"{what}: failed\n{format_error(error)}")
                return Answer(500, batch_reason(error, self._project))
        return Answer(200)

    def _hung(self, call: Call[Answer], what: str, label: bytes) -> Answer:
        self._executor.stop(drop_waiting=True)
        frame = call.frame()
        where = frame_location(frame, self._project)
        reason = f"timed out after {self._timeout_s:g} s" + (f" at {where}" if where else "")
        with self._labels.during(label):
            self._log(f"{what}: {reason}\n{format_stack(frame)}")
        return Answer(504, clip(reason), last=True)

    @staticmethod
    def _log(text: str) -> None:
        with suppress(OSError, ValueError):  # the user's code may have closed it
            print(text.rstrip("\n"), file=sys.stderr)
