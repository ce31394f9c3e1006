"""Enqueue: batches a second into the queue, ours against a bare loop that makes the same calls, and against one message at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from batchflow.enqueuer.sending import SENDERS
from batchflow.queues.protocol import Depth
from batchflow.spec.model import DelimitedFiles, FilePathLister, ItemList, Source
from bench.figures import AtLeast, Figure, Span, compared
from bench.harness import Plan, interleaved, python, run
from bench.items import item_lines
from bench.places import FAR_MS, Place, places, s3_env
from bench.s3_server import BUCKET, KEYS, LINES, LINES_GZIP
from bench.services import Job, new_job, s3_server

__all__ = ["Input", "bare", "enqueue", "enqueue_s3", "item_list", "ours"]

NEAR_BATCHES = 3_000
FAR_BATCHES = 6_000
SQLITE_BATCHES = 60_000
SERIAL_BATCHES = 1_500
ONE_BATCHES = 150
ONE_SQLITE_BATCHES = 5_000
S3_LINES = 1_000_000
S3_KEYS = 100_000
S3_BATCH_SIZE = 100
# What is read at each place: reading is the same everywhere, and listing takes most of its time anyway.
S3_INPUTS = {f"SQS at {FAR_MS:g} ms": ("lines", "gzip", "keys"), "SQS at 0 ms": ("lines",), "SQLite": ("lines", "gzip")}
SAMPLE_S = 180
AS_BARE = AtLeast(0.9)


@dataclass(frozen=True, slots=True)
class Input:
    """What is enqueued. `source` is ours, from what `bare` reads too (bare_sources.py's words, without a number of batches).

    A rate is taken from the first call to the queue on, `since` "first", or from the very begin, "began": reading is part of it.
    """

    name: str
    batches: int
    source: Callable[[], Source]
    bare: tuple[str, ...] = ()
    since: str = "first"
    env: dict[str, str] = field(default_factory=dict)


def enqueue(plan: Plan) -> Iterator[Figure]:
    """Of item_list, batches of one item."""
    sizes = {"SQLite": SQLITE_BATCHES, f"SQS at {FAR_MS:g} ms": FAR_BATCHES}
    for place in places(FAR_MS, 0):
        what = item_list(plan.count(sizes.get(place.name, NEAR_BATCHES)))
        yield from _compared(plan, place, what, serial=place.delay_ms > 0)


def enqueue_s3(plan: Plan) -> Iterator[Figure]:
    """Of a million lines on S3, plain and gzip, and of 100,000 keys listed there; batches of 100."""
    lines, keys = plan.count(S3_LINES), plan.count(S3_KEYS)
    with s3_server(lines, keys) as port:
        inputs = {
            "lines": s3_lines(port, lines),
            "gzip": _s3_input(port, f"{lines:,} lines on S3, gzip", lines, "lines", LINES_GZIP),
            "keys": _s3_input(port, f"{keys:,} keys on S3", keys, "keys", KEYS),
        }
        for place in places(FAR_MS, 0):
            for name in S3_INPUTS[place.name]:
                yield from _compared(plan, place, inputs[name], serial=False)


def item_list(batches: int) -> Input:
    """Batches of one item."""
    return Input("item_list", batches, lambda: ItemList([json.loads(line) for line in item_lines(batches)], batch_size=1))


def s3_lines(port: int, lines: int) -> Input:
    """Of the plain file."""
    return _s3_input(port, f"{lines:,} lines on S3", lines, "lines", LINES)


def _s3_input(port: int, name: str, items: int, kind: str, key: str) -> Input:
    url = f"s3://{BUCKET}/{key}"
    source = DelimitedFiles((url,), S3_BATCH_SIZE) if kind == "lines" else FilePathLister((url,), S3_BATCH_SIZE)
    bare = (kind, url, str(S3_BATCH_SIZE))
    return Input(name, -(-items // S3_BATCH_SIZE), lambda: source, bare, since="began", env=s3_env(port))


def _compared(plan: Plan, place: Place, what: Input, *, serial: bool) -> Iterator[Figure]:
    few = min(what.batches, plan.count(ONE_BATCHES if place.server else ONE_SQLITE_BATCHES))
    sides = {
        "ours": lambda: ours(plan, place, what),
        "bare": lambda: bare(plan, place, what, what.batches, "send", str(SENDERS if place.server else 0)),
        "one": lambda: bare(plan, place, what, few, "send-one"),
    }
    if serial:
        sides["serial"] = lambda: bare(plan, place, what, plan.count(SERIAL_BATCHES), "send", "0")
    spans = interleaved(sides, plan.rounds)
    name = f"{place.name}, {what.name}"
    loop = f"bare boto3, {SENDERS} threads" if place.server else "bare INSERTs"
    yield compared(f"{name}: {loop}", spans["ours"], spans["bare"], AS_BARE if place.server else None)
    if serial:
        yield compared(f"{name}: bare boto3, serial", spans["ours"], spans["serial"], AtLeast(4))
    yield compared(f"{name}: one message at a time", spans["ours"], spans["one"])


def ours(plan: Plan, place: Place, what: Input) -> Span:
    with new_job(plan, place) as job:
        job.submit(what.source())
        ended = run(python("bench.ours", "enqueue", job.ref.job_id), env={**job.env, **what.env}, timeout_s=SAMPLE_S)
        job.take_queue(ended.report["url"], Depth(what.batches, 0))
        return ended.span(what.batches, since=what.since)


def bare(plan: Plan, place: Place, what: Input, batches: int, *how: str) -> Span:
    """The first `batches` of them; `how` is bare.py's `send SENDERS` or `send-one`."""
    with new_job(plan, place) as job, closing(job.create_queue()) as queue:
        source = what.bare or _items_file(job, batches)
        command = python("bench.bare", place.backend, how[0], queue.url, *how[1:], *source, str(batches))
        ended = run(command, env={**job.env, **what.env}, timeout_s=SAMPLE_S)
        job.take_queue(queue.url, Depth(batches, 0))
        return ended.span(batches)


def _items_file(job: Job, batches: int) -> tuple[str, ...]:
    return "lines", str(job.write_items(batches)), "1"
