"""Jobs of any size as they are stored while they run, without running them: records, queue, and the local engine's word on the run."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchflow import contract
from batchflow.client.plan import plan_submission
from batchflow.client.services import Services
from batchflow.engines.local.folder import RunFolder
from batchflow.engines.local.manifest import Job, PodTemplate, parse
from batchflow.engines.local.nodes import WorkflowStatus, pod_name
from batchflow.engines.local.podstatus import PodStatus, PodStatuses
from batchflow.enqueuer import queue_name
from batchflow.records import SUCCEEDED, Checkpoint, Counters, JobRef, Outcome, job_document, new_job_id
from batchflow.settings import Settings
from batchflow.spec.model import ItemList, Submission
from batchflow.store.jobs import JobRecords
from bench.bare_sqlite import INSERT

__all__ = ["API", "running_job", "write_outcomes"]

API = "stored"
FLUSH = 100  # outcomes an object
SECONDS = 0.05


@contextmanager
def running_job(settings: Settings, folder: Path, *, batches: int, workers: int) -> Iterator[JobRef]:
    """A job of the local engine, half of whose batches are handled, each worker an equal share; the other half is in its SQLite queue.

    It is seen as running as long as this context lasts. The api's file goes to `folder`.
    """
    services = Services(settings)
    plan = plan_submission(services, Submission(API, workers, ItemList([0], 1), api_file=str(_api_file(folder))))
    ref = JobRef(API, new_job_id(time.time_ns()))
    records = JobRecords(services.store, ref)
    run = _Run(services.manifest(plan.submission, plan.api, ref))
    run.step(0, contract.STEP_ENQUEUE, ended=True)
    pods = [run.step(1, contract.STEP_WORK, number) for number in range(workers)]

    plan.save_api(services.apis)
    record = plan.record(ref.job_id, services.engine.place)
    records.create_submission(record)
    queue = services.queues.create(queue_name(ref, services.store.url), visibility_s=60, tags={})
    _fill(queue.url, batches - batches // 2)
    records.create_document(job_document(record, sqs_url=queue.url, total_batch_count=batches))
    records.save_checkpoint(Checkpoint(1, next_index=batches, done=True, total=batches, queue_url=queue.url))
    write_outcomes(records, batches // 2, pods)
    now, share = time.time(), batches // 2 // workers
    counted = Counters("", 1, contract.STEP_WORK, "ready", share, 0, share, share * SECONDS, now, now, now)
    for pod in pods:
        records.save_counters(replace(counted, pod=pod))

    with _seen_running(RunFolder(Path(settings.local_dir), ref.workflow), run):
        yield ref
    services.queues.remove(queue.url)


def write_outcomes(records: JobRecords, count: int, pods: Iterable[str] = ("bench-0",)) -> None:
    """`count` batches handled, the same share by each pod."""
    writers = list(pods)
    for number, writer in enumerate(writers):
        indexes = range(number, count, len(writers))
        for start in range(0, len(indexes), FLUSH):
            outcomes = [Outcome(index, SUCCEEDED, 1, SECONDS) for index in indexes[start : start + FLUSH]]
            records.create_outcomes(writer, start // FLUSH, outcomes)


class _Run:
    """What the local engine would have noted of the run so far."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self._job: Job = parse(manifest)
        self.workflow = WorkflowStatus(manifest)
        self.pods = PodStatuses()
        self._groups: dict[int, str] = {}
        self._root = self.workflow.add(self._job.name, "Steps", template=self._job.entrypoint)

    def step(self, group: int, step: str, number: int | None = None, *, ended: bool = False) -> str:
        """A try of a step, or of one of its many, that runs or has ended well; returns its pod's name."""
        template = self._job.templates[step]
        name = f"{self._group(group)}.{step}" + ("" if number is None else f"({number}:{number})")
        retry = self.workflow.add(name, "Retry", template=step, boundary=self._job.name)
        self.workflow.link([self.workflow.node_id(self._group(group))], retry)
        tried = f"{name}(0)"
        node = self.workflow.add(tried, "Pod", template=step, boundary=self._job.name, flags=("retried",), phase="Pending")
        self.workflow.link([retry], node)
        pod = pod_name(self._job.name, step, tried)
        _started(self.pods.add(pod, template, workflow=self._job.name, node_id=node, node_name=tried), template)
        self.workflow.start(node)
        if ended:
            for ended_node in (node, retry):
                self.workflow.finish(ended_node, "Succeeded")
        return pod

    def _group(self, number: int) -> str:
        """The name of a group of steps; each hangs below the root, which is enough for a status."""
        if number not in self._groups:
            self._groups[number] = f"{self._job.name}[{number}]"
            node = self.workflow.add(self._groups[number], "StepGroup", boundary=self._job.name)
            self.workflow.link([self._root], node)
        return self._groups[number]


def _started(pod: PodStatus, template: PodTemplate) -> None:
    pod.set_phase("Running")
    for container in (*template.init, template.main):
        pod.running(container.name, guard_pid=1, child_pid=1)


@contextmanager
def _seen_running(folder: RunFolder, run: _Run) -> Iterator[None]:
    lock = folder.try_lock()
    assert lock is not None
    try:
        folder.save_workflow(run.workflow.dump_if_changed() or b"")
        folder.save_pods(run.pods.dump_if_changed() or b"")
        yield
    finally:
        os.close(lock)


def _api_file(folder: Path) -> Path:
    file = folder / "cortex.yaml"
    container = {"name": "handler", "image": "python", "command": ["python3", "server.py"]}
    file.write_text(json.dumps([{"name": API, "kind": "BatchAPI", "pod": {"port": 8080, "containers": [container]}}]))
    return file


def _fill(url: str, count: int) -> None:
    """In one transaction: a million messages by the queue itself would take minutes."""
    with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as connection, connection:
        connection.executemany(INSERT, ((str(index), f"{index}-1", "{}", "[0]") for index in range(count)))
