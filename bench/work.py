"""Work: batches a second, from the first receive to the last confirmed delete, against bare loops; and the tail of our worker.

Our worker commits outcomes and deletes in groups, so after the last batch it waits up to a second before it deletes the last group. That
second is the tail's, whatever the number of batches; it is taken out of the rate, the deletes are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from batchflow.queues.protocol import Depth
from bench.figures import AtLeast, AtMost, Figure, Span, compared
from bench.harness import BenchError, Plan, interleaved, python, run
from bench.places import FAR_MS, Place, places
from bench.services import handler, new_job

__all__ = ["Worked", "bare", "ours", "work"]

CONCURRENCIES = (1, 16)
# How long the handler takes, in ms, at each place; beside SQS at 10 ms the slow ones would only measure the handler's own time.
HANDLERS_MS = {f"SQS at {FAR_MS:g} ms": (0, 1, 50), "SQS at 0 ms": (0,), "SQLite": (0, 50)}
SAMPLE_S = 120


@dataclass(frozen=True, slots=True)
class Worked:
    """A worker's span, and how long after the last batch was handled its process ended."""

    span: Span
    tail_s: float


def work(plan: Plan) -> Iterator[Figure]:
    for place in places(FAR_MS, 0):
        for handler_ms in HANDLERS_MS[place.name]:
            yield from _cell(plan, place, handler_ms)


def _cell(plan: Plan, place: Place, handler_ms: int) -> Iterator[Figure]:
    """One place and one handler: at each concurrency ours and a bare loop, and one message at a time."""
    one = plan.count(_enough(place, handler_ms, 1, one_at_a_time=True))
    sides = {"one": partial(bare, plan, place, handler_ms, one, "work-one")}
    for slots in CONCURRENCIES:
        count = plan.count(_enough(place, handler_ms, slots))
        sides[f"ours {slots}"] = partial(ours, plan, place, handler_ms, count, slots)
        sides[f"bare {slots}"] = partial(bare, plan, place, handler_ms, count, "work", str(slots))
    worked = interleaved(sides, plan.rounds)
    instant, far = not handler_ms, place.delay_ms > 0
    for slots in CONCURRENCIES:
        name = f"{place.name}, handler {f'of {handler_ms} ms' if handler_ms else 'instant'}, max_concurrency {slots}"
        own = worked[f"ours {slots}"]
        loop = "bare receive–post–delete" if place.server else "bare SELECT–post–DELETE"
        yield _compared(f"{name}: {loop}", own, worked[f"bare {slots}"], AtLeast(0.8) if place.server else None)
        yield _compared(f"{name}: one message at a time", own, worked["one"], AtLeast(10) if instant and far else None)
        if instant:
            yield Figure(f"{name}: tail, last batch handled → exit", [one.tail_s for one in own], "s", AtMost(2))


def _enough(place: Place, handler_ms: int, slots: int, *, one_at_a_time: bool = False) -> int:
    """Batches for some two seconds: by what the handler takes, and by what a worker does at most there."""
    most = {"SQLite": 2_000, "SQS at 0 ms": 400}.get(place.name, 40 if one_at_a_time else 700)
    by_handler = slots * 1_000 / handler_ms if handler_ms else most
    return int(2 * min(most, by_handler))


def _compared(what: str, own: Sequence[Worked], theirs: Sequence[Worked], reach: AtLeast | None) -> Figure:
    return compared(what, [one.span for one in own], [one.span for one in theirs], reach)


def ours(plan: Plan, place: Place, handler_ms: float, count: int, slots: int) -> Worked:
    return _sample(plan, place, handler_ms, count, "ours", str(slots))


def bare(plan: Plan, place: Place, handler_ms: float, count: int, *how: str) -> Worked:
    """`how` is bare.py's `work THREADS` or `work-one`."""
    return _sample(plan, place, handler_ms, count, *how)


def _sample(plan: Plan, place: Place, handler_ms: float, count: int, side: str, *arguments: str) -> Worked:
    """One worker on a fresh queue with `count` batches and with a fresh handler."""
    with new_job(plan, place) as job, closing(job.create_queue()) as queue, handler(handler_ms) as posted_to:
        job.fill(queue, count)
        if side == "ours":
            command = python("bench.ours", "work", job.ref.job_id, queue.url, str(posted_to.port), str(count), *arguments)
        else:
            command = python("bench.bare", place.backend, side, queue.url, str(posted_to.port), str(count), *arguments)
        ended = run(command, env=job.env, timeout_s=SAMPLE_S)
        handled, last = posted_to.read()
        if handled != count:
            raise BenchError(f"the handler got {handled} batches instead of {count}")
        job.take_queue(queue.url, Depth(0, 0))
        span = ended.span(count)
        waited_s = max(0.0, ended.report["last_began"] - last) if side == "ours" else 0.0
        return Worked(replace(span, last=span.last - waited_s), ended.at - last)
