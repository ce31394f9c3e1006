"""Enqueue: batches of one item a second, from the first send to the last confirmed one, ours against bare loops over the same file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from batchflow.enqueuer.sending import SENDERS
from batchflow.queues.protocol import Depth
from bench.harness import AtLeast, Figure, Plan, Span, compared, interleaved, note, python, run
from bench.services import far, find_sqs, new_job, sqs_env

__all__ = ["enqueue"]

FAR_MS = 10.0
FAR_BATCHES = 6_000
SERIAL_BATCHES = 1_500
SQLITE_BATCHES = 60_000
SAMPLE_S = 120


def enqueue(plan: Plan) -> Iterator[Figure]:
    """On SQS at 10 ms a call, then on SQLite."""
    if server := find_sqs():
        yield from _on_sqs(plan, server)
    else:
        note("enqueue on SQS: not measured, there is no SQS server (see README.md)")
    yield from _on_sqlite(plan)


def _on_sqs(plan: Plan, server: str) -> Iterator[Figure]:
    with far(server, FAR_MS) as address:
        spans = interleaved(
            {
                "ours": lambda: _ours(plan, plan.count(FAR_BATCHES), server, address),
                "threads": lambda: _bare(plan, plan.count(FAR_BATCHES), server, address, SENDERS),
                "serial": lambda: _bare(plan, plan.count(SERIAL_BATCHES), server, address, 0),
            },
            plan.rounds,
        )
    yield compared(f"enqueue, SQS at 10 ms: bare boto3, {SENDERS} threads", spans["ours"], spans["threads"], AtLeast(0.9))
    yield compared("enqueue, SQS at 10 ms: bare boto3, serial", spans["ours"], spans["serial"], AtLeast(4))


def _on_sqlite(plan: Plan) -> Iterator[Figure]:
    count = plan.count(SQLITE_BATCHES)
    spans = interleaved({"ours": lambda: _ours(plan, count, None, None), "bare": lambda: _bare(plan, count, None, None)}, plan.rounds)
    yield compared("enqueue, SQLite: bare INSERTs", spans["ours"], spans["bare"])


def _ours(plan: Plan, count: int, server: str | None, address: str | None) -> Span:
    with new_job(plan, server) as job:
        job.submit(job.write_items(count), batch_size=1)
        env = {**job.env, **(sqs_env(address) if address else {})}
        ended = run(python("bench.ours", "enqueue", job.ref.job_id), env=env, timeout_s=SAMPLE_S)
        job.take_queue(ended.report["url"], Depth(count, 0))
        return ended.span(count)


def _bare(plan: Plan, count: int, server: str | None, address: str | None, senders: int = 0) -> Span:
    with new_job(plan, server) as job, closing(job.create_queue()) as queue:
        file = str(job.write_items(count))
        if address:
            command, env = python("bench.bare_sqs", "send", queue.url, file, str(senders)), sqs_env(address)
        else:
            command, env = python("bench.bare_sqlite", "send", queue.url, file), {}
        ended = run(command, env=env, timeout_s=SAMPLE_S)
        job.take_queue(queue.url, Depth(count, 0))
        return ended.span(count)
