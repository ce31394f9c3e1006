"""Status: `batchflow get` of a running job, from the command's start to its end, by how big the job is."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from batchflow.client import Client
from batchflow.settings import Settings
from bench.figures import AtMost, Figure, ratios
from bench.harness import BenchError, Plan, interleaved, python, run
from bench.places import s3_env
from bench.s3_server import BUCKET, STORE
from bench.services import s3_server
from bench.start import batchflow
from bench.stored import API, running_job

__all__ = ["status"]

FEW_BATCHES = 10_000
MANY_BATCHES = 1_000_000
FEW_WORKERS = 2
MANY_WORKERS = 1_000
GET_S = 60
A_SECOND = AtMost(1)


def status(plan: Plan) -> Iterator[Figure]:
    """By its batches and by its workers, with the records in a directory; by its workers, with the records on S3."""
    many = plan.count(MANY_BATCHES)
    sizes = {"few": (FEW_BATCHES, FEW_WORKERS), "batches": (many, FEW_WORKERS), "workers": (FEW_BATCHES, MANY_WORKERS)}
    took = _gets(plan, sizes)
    yield from _figures(f"{many:,} batches", took["batches"], f"{FEW_BATCHES:,}", took["few"], A_SECOND)
    yield from _figures(f"{MANY_WORKERS:,} workers", took["workers"], f"{FEW_WORKERS}", took["few"], A_SECOND)
    on_s3 = f"{MANY_WORKERS:,} workers, records on S3"
    yield from _figures(on_s3, took["workers on S3"], f"{FEW_WORKERS}", took["few on S3"], None)
    sides = _sides(took["workers on S3"], took["bare"])
    yield Figure(f"get, {on_s3}: bare boto3, 16 threads", ratios(took["workers on S3"], took["bare"]), "×", None, sides)


def _gets(plan: Plan, sizes: Mapping[str, tuple[int, int]]) -> dict[str, list[float]]:
    """Seconds of each get, by the job's name in `sizes`, which says its batches and workers; of two of them also with the store on S3."""
    with plan.sample_folder() as folder, ExitStack() as running:
        store = folder / "store"
        env = {"BATCHFLOW_ENGINE": "local", "BATCHFLOW_LOCAL_DIR": str(folder / "local"), "BATCHFLOW_QUEUES": f"sqlite:{folder / 'queues'}"}
        settings = Settings.from_env({**env, "BATCHFLOW_STORE": str(store)})
        ids = {}
        for name, (batches, workers) in sizes.items():
            ids[name] = running.enter_context(running_job(settings, folder, batches=batches, workers=workers)).job_id
            _check(settings, ids[name], batches, workers)
        port = running.enter_context(s3_server(folder=store))
        local = {**env, "BATCHFLOW_STORE": str(store)}
        s3 = {**env, **s3_env(port), "BATCHFLOW_STORE": f"s3://{BUCKET}/{STORE}"}
        sides = {name: partial(_get_s, ids[name], local) for name in sizes}
        sides |= {f"{name} on S3": partial(_get_s, ids[name], s3) for name in ("few", "workers")}
        return interleaved({**sides, "bare": partial(_bare_s, ids["workers"], s3)}, plan.rounds)


def _check(settings: Settings, job_id: str, batches: int, workers: int) -> None:
    """Raise BenchError unless the stored job is taken for what it should be."""
    seen = Client(settings).get(API, job_id).status()
    running = seen.worker_counts.running if seen.worker_counts else 0
    if (seen.status, seen.total_batch_count, seen.batches_in_queue, running) != ("running", batches, batches - batches // 2, workers):
        raise BenchError(f"the stored job reads {seen}")


def _get_s(job_id: str, env: Mapping[str, str]) -> float:
    ended = run(batchflow("get", API, job_id, "-o", "json"), env=env, timeout_s=GET_S, reports=False)
    return ended.at - ended.began


def _bare_s(job_id: str, env: Mapping[str, str]) -> float:
    """Only list and read the workers' counters."""
    command = python("bench.bare_objects", BUCKET, f"{STORE}jobs/{API}/{job_id}/counters/")
    ended = run(command, env=env, timeout_s=GET_S)
    return ended.at - ended.began


def _figures(many: str, many_s: list[float], few: str, few_s: list[float], reach: AtMost | None) -> Iterator[Figure]:
    yield Figure(f"get, {many}", many_s, "s", reach)
    yield Figure(f"get, {many} against {few}", ratios(many_s, few_s), "×", None, _sides(many_s, few_s))


def _sides(ours_s: list[float], theirs_s: list[float]) -> str:
    return f"{statistics.median(ours_s):.2f} s against {statistics.median(theirs_s):.2f} s"
