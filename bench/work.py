"""Work: batches a second with an instant handler, from the first receive to the last confirmed delete; and the tail of our worker.

Our worker commits outcomes and deletes in groups, so after the last batch it waits up to a second before it deletes the last group. That
second is the tail's, whatever the number of batches; it is taken out of the rate, the deletes are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from batchflow.queues.protocol import Depth
from bench.harness import AtLeast, AtMost, BenchError, Figure, Plan, Span, compared, interleaved, note, python, run
from bench.services import far, find_sqs, instant_handler, new_job, sqs_env

__all__ = ["work"]

FAR_MS = 10.0
FAR_BATCHES = 1_500
FAR_ONE_BATCHES = 80
NEAR_BATCHES = 600
SQLITE_BATCHES = 4_000
SAMPLE_S = 120


@dataclass(frozen=True, slots=True)
class Worked:
    """A worker's span, and how long after the last batch was handled its process ended."""

    span: Span
    tail_s: float


def work(plan: Plan) -> Iterator[Figure]:
    """On SQS at 10 ms a call, on SQS without latency, on SQLite."""
    if server := find_sqs():
        with far(server, FAR_MS) as address:
            yield from _far(plan, server, address)
        yield from _near(plan, server)
    else:
        note("work on SQS: not measured, there is no SQS server (see README.md)")
    yield from _on_sqlite(plan)


def _far(plan: Plan, server: str, address: str) -> Iterator[Figure]:
    count = plan.count(FAR_BATCHES)
    worked = interleaved(
        {
            "ours": lambda: _sample(plan, "ours", count, server, address),
            "bare": lambda: _sample(plan, "work", count, server, address),
            "one": lambda: _sample(plan, "work-one", plan.count(FAR_ONE_BATCHES), server, address),
        },
        plan.rounds,
    )
    yield _compared("work, SQS at 10 ms: bare receive–post–delete", worked["ours"], worked["bare"], AtLeast(0.8))
    yield _compared("work, SQS at 10 ms: one message at a time", worked["ours"], worked["one"], AtLeast(10))
    yield _tail("tail, SQS at 10 ms: last batch handled → exit", worked["ours"])


def _near(plan: Plan, server: str) -> Iterator[Figure]:
    count = plan.count(NEAR_BATCHES)
    worked = interleaved(
        {
            "ours": lambda: _sample(plan, "ours", count, server, server),
            "bare": lambda: _sample(plan, "work", count, server, server),
            "one": lambda: _sample(plan, "work-one", count, server, server),
        },
        plan.rounds,
    )
    yield _compared("work, SQS at 0 ms: bare receive–post–delete", worked["ours"], worked["bare"])
    yield _compared("work, SQS at 0 ms: one message at a time", worked["ours"], worked["one"], AtLeast(1.1))


def _on_sqlite(plan: Plan) -> Iterator[Figure]:
    count = plan.count(SQLITE_BATCHES)
    worked = interleaved(
        {"ours": lambda: _sample(plan, "ours", count, None, None), "bare": lambda: _sample(plan, "work", count, None, None)}, plan.rounds
    )
    yield _compared("work, SQLite: bare SELECT–post–DELETE", worked["ours"], worked["bare"])
    yield _tail("tail, SQLite: last batch handled → exit", worked["ours"])


def _compared(what: str, ours: Sequence[Worked], theirs: Sequence[Worked], reach: AtLeast | None = None) -> Figure:
    return compared(what, [one.span for one in ours], [one.span for one in theirs], reach)


def _tail(what: str, ours: Sequence[Worked]) -> Figure:
    return Figure(what, [one.tail_s for one in ours], "s", AtMost(2))


def _sample(plan: Plan, side: str, count: int, server: str | None, address: str | None) -> Worked:
    """One worker, ours or a bare one, on a fresh queue with `count` batches and with a fresh handler."""
    with new_job(plan, server) as job, closing(job.create_queue()) as queue, instant_handler() as handler:
        job.fill(queue, count)
        if side == "ours":
            command = python("bench.ours", "work", job.ref.job_id, queue.url, str(handler.port), str(count))
        else:
            module = "bench.bare_sqs" if server else "bench.bare_sqlite"
            command = python(module, side, queue.url, str(handler.port), str(count))
        ended = run(command, env={**job.env, **(sqs_env(address) if address else {})}, timeout_s=SAMPLE_S)
        handled, last = handler.read()
        if handled != count:
            raise BenchError(f"the handler got {handled} batches instead of {count}")
        job.take_queue(queue.url, Depth(0, 0))
        span = ended.span(count)
        waited_s = max(0.0, ended.report["last_began"] - last) if side == "ours" else 0.0
        return Worked(replace(span, last=span.last - waited_s), ended.at - last)
