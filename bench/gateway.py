"""The gateway on the local engine: ten jobs of 100,000 items submitted at once, its peak memory meanwhile, and requests a second."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from bench.figures import AtMost, Figure, Span, compared
from bench.gateway_process import API, Gateway, serving
from bench.harness import ROOT, BenchError, Plan, interleaved, note, python, service
from bench.http_load import CLIENTS, Request, answered, asked

__all__ = ["gateway"]

JOBS = 10
ITEMS = 100_000
BATCH_SIZE = 20
REQUESTS = 2_000
ENDED = "end_time"  # in a job's status once it ended
LOAD_S = 3_600
POLL_S = 2
MB = 1_000_000


def gateway(plan: Plan) -> Iterator[Figure]:
    """The load once; the requests in rounds."""
    with plan.sample_folder() as folder, serving(folder) as opened:
        container = {"name": "handler", "image": "python", "command": [sys.executable, str(ROOT / "bench" / "instant.py")]}
        api = {"name": API, "kind": "BatchAPI", "pod": {"port": 8080, "containers": [container]}}
        asked(opened.port, Request("POST", "/deploy", json.dumps([api]).encode(), {"Content-Type": "application/yaml"}))
        items = plan.count(ITEMS)
        batches, post = -(-items // BATCH_SIZE), _submission(items)
        began = time.monotonic()
        with ThreadPoolExecutor(JOBS) as pool:
            ids = list(pool.map(lambda _: _job_id(asked(opened.port, post)), range(JOBS)))
        accepted_s = time.monotonic() - began
        _wait(opened, ids, batches)
        took_s = time.monotonic() - began
        what = f"{JOBS} jobs × {items:,} items at once"
        yield Figure(f"{what}: the gateway's peak memory", [opened.peak_bytes() / MB], "MB", AtMost(300))
        sides = f"accepted after {accepted_s:.1f} s; {JOBS * batches / took_s:,.0f} batches/s"
        yield Figure(f"{what}: until the last one succeeded", [took_s], "s", None, sides)
        yield from _requests(plan, opened, ids[0])


def _requests(plan: Plan, opened: Gateway, job_id: str) -> Iterator[Figure]:
    """By four clients over kept connections, against a bare uvicorn app that answers as many."""
    post, count = _submission(BATCH_SIZE), plan.count(REQUESTS)
    keyed = replace(post, headers={**post.headers, "Idempotency-Key": uuid.uuid4().hex})
    _wait(opened, [_job_id(asked(opened.port, keyed))], 1)
    ask_status = Request("GET", f"/batch/{API}?jobID={job_id}")
    with service(python("bench.bare_http")) as bare:
        sides = {
            "GET /healthz": lambda: answered(opened.port, Request("GET", "/healthz"), count)[0],
            "GET status": lambda: answered(opened.port, ask_status, count)[0],
            "POST submit, repeated with its Idempotency-Key": lambda: answered(opened.port, keyed, count)[0],
            "POST submit": lambda: _submitted(opened, post),
        }
        bares = {"GET": lambda: answered(bare, Request("GET", "/"), count)[0], "POST": lambda: answered(bare, post, count)[0]}
        spans = interleaved({**sides, **bares}, plan.rounds)
    for name in sides:
        yield compared(f"{name}: bare uvicorn", spans[name], spans[name.split()[0]], unit="requests/s")


def _submitted(opened: Gateway, post: Request) -> Span:
    """As many jobs as there are clients, each of which starts an engine; their ends are waited for, but not counted."""
    span, answers = answered(opened.port, post, CLIENTS)
    _wait(opened, [_job_id(json.loads(answer)) for answer in answers], 1)
    return span


def _submission(items: int) -> Request:
    listed = {"items": [{"index": index} for index in range(items)], "batch_size": BATCH_SIZE}
    return Request("POST", f"/batch/{API}", json.dumps({"workers": 1, "item_list": listed}).encode())


def _job_id(answer: Any) -> str:
    return str(answer["job_id"])


def _wait(opened: Gateway, ids: list[str], batches: int) -> None:
    """Until every job has succeeded with all of its batches; raises BenchError if one ends otherwise."""
    left, deadline = set(ids), time.monotonic() + LOAD_S
    while left:
        time.sleep(POLL_S)
        for job_id in sorted(left):
            status = asked(opened.port, Request("GET", f"/batch/{API}?jobID={job_id}"))["job_status"]
            if ENDED in status:
                if (status["status"], status["metrics"]["succeeded"]) != ("succeeded", batches):
                    raise BenchError(f"job {job_id}: {status['status']}, {status['metrics']}, {status['message']}")
                left.remove(job_id)
                note(f"    {len(ids) - len(left)}/{len(ids)} jobs have succeeded")
        if time.monotonic() > deadline:
            raise BenchError(f"{len(left)} jobs did not end within {LOAD_S} s")
