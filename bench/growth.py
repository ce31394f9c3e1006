"""Growth: the same at ten times the size. What a batch costs must not depend on how many there are: the rates' ratio is 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from batchflow.enqueuer.sending import SENDERS
from bench import enqueue, work
from bench.figures import AtLeast, Figure, Span, compared
from bench.harness import Plan, interleaved, python, run
from bench.places import FAR_MS, SQLITE, Place, places
from bench.services import Job, new_job
from bench.stored import write_outcomes

__all__ = ["growth"]

TENFOLD = 10
FLAT = AtLeast(0.9)
ENQUEUED = {"sqlite": 10_000, "sqs": 1_000}
WORKED = {"sqlite": 1_000, "sqs": 300}
ACCOUNTED = 100_000
SAMPLE_S = 300

Side = Callable[[int], Span]  # of a number of batches


def growth(plan: Plan) -> Iterator[Figure]:
    """Enqueue, work, finalize's accounting; `status` shows that of a status."""
    for place in places(FAR_MS):
        yield from _grown(plan, f"enqueue, {place.name}", _tenfold(plan, ENQUEUED[place.backend]), _enqueue_sides(plan, place))
        yield from _grown(plan, f"work, {place.name}", _tenfold(plan, WORKED[place.backend]), _work_sides(plan, place))
    sizes = _tenfold(plan, ACCOUNTED)
    with ExitStack() as stack:
        jobs = {count: stack.enter_context(new_job(plan, SQLITE)) for count in sizes}
        for count, job in jobs.items():
            write_outcomes(job.records, count)
        yield from _grown(plan, "finalize's accounting", sizes, {"ours": lambda count: _accounting(jobs[count], count)})


def _tenfold(plan: Plan, batches: int) -> tuple[int, int]:
    few = plan.count(batches)
    return few, few * TENFOLD


def _enqueue_sides(plan: Plan, place: Place) -> Mapping[str, Side]:
    def bare(count: int) -> Span:
        return enqueue.bare(plan, place, enqueue.item_list(count), count, "send", str(SENDERS))

    return {"ours": lambda count: enqueue.ours(plan, place, enqueue.item_list(count)), **({"bare": bare} if place.server else {})}


def _work_sides(plan: Plan, place: Place) -> Mapping[str, Side]:
    def bare(count: int) -> Span:
        return work.bare(plan, place, 0, count, "work", "1").span

    return {"ours": lambda count: work.ours(plan, place, 0, count, 1).span, **({"bare": bare} if place.server else {})}


def _accounting(job: Job, count: int) -> Span:
    return run(python("bench.ours", "account", job.ref.job_id, str(count)), env=job.env, timeout_s=SAMPLE_S).span(count)


def _grown(plan: Plan, what: str, sizes: tuple[int, int], sides: Mapping[str, Side]) -> Iterator[Figure]:
    """Of ours; where a server may get slower itself, over how the bare side's rate changes."""
    few, many = sizes
    measured = {f"{name} {count:,}": partial(side, count) for name, side in sides.items() for count in sizes}
    spans = interleaved(measured, plan.rounds)
    grown = {name: compared("", spans[f"{name} {many:,}"], spans[f"{name} {few:,}"]) for name in sides}
    values, beside, name = grown["ours"].values, "", f"{what}: {many:,} batches against {few:,}"
    if "bare" in grown:
        values = tuple(ours / bare for ours, bare in zip(values, grown["bare"].values, strict=True))
        beside = f": {grown['ours'].median:.2f} ×; bare {grown['bare'].median:.2f} ×"
        name += ", over the bare loop's"
    yield Figure(name, values, "×", FLAT, grown["ours"].sides + beside)
