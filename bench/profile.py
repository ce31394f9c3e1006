"""Where the processor's time goes on our side: one sample of the enqueuer or of a worker, with SQS at 10 ms a call and on SQLite."""

from __future__ import annotations

import pstats
from collections.abc import Callable, Mapping

from bench import enqueue, work
from bench.harness import Plan
from bench.places import FAR_MS, Place, places
from bench.services import environment, s3_server

__all__ = ["PROFILED", "profile"]

SHOWN = 25


def _enqueue(plan: Plan, place: Place) -> None:
    enqueue.ours(plan, place, enqueue.item_list(plan.count(20_000)))


def _enqueue_s3(plan: Plan, place: Place) -> None:
    lines = plan.count(enqueue.S3_LINES)
    with s3_server(lines) as port:
        enqueue.ours(plan, place, enqueue.s3_lines(port, lines))


def _work(plan: Plan, place: Place) -> None:
    work.ours(plan, place, 0, plan.count(5_000), 1)


PROFILED: Mapping[str, Callable[[Plan, Place], None]] = {"enqueue": _enqueue, "enqueue-s3": _enqueue_s3, "work": _work}


def profile(plan: Plan, names: list[str]) -> None:
    """Print pstats' table for each of these names in PROFILED, the functions that took most themselves first."""
    for name in names:
        for place in places(FAR_MS):
            with plan.sample_folder() as folder:
                file = folder / "profile"
                with environment({"BENCH_PROFILE": str(file)}):
                    PROFILED[name](plan, place)
                print(f"{name}, {place.name}: seconds of processor time")
                pstats.Stats(str(file)).sort_stats("tottime").print_stats(SHOWN)
