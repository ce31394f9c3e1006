"""The lines of a job's containers: the engine's as long as it has the pods, those that cleanup saved of pods that are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from threading import Event
from typing import Any

from batchflow.engines.protocol import Engine, LogLine, worker_of
from batchflow.errors import NotFound
from batchflow.records import JobRef, LogName
from batchflow.status.pods import containers
from batchflow.store.jobs import JobRecords

__all__ = ["log_lines"]


def log_lines(
    engine: Engine,
    records: JobRecords,
    *,
    worker: str | None,
    container: str | None,
    follow: bool,
    without: Collection[str],
    stop: Event | None = None,
) -> Iterator[LogLine]:
    """Of the records' run; `worker` is a number, a step's name, or a pod's. `stop`: see `Engine.logs`.

    Raises NotFound if the run has no such worker or container (yet, unless `follow`).
    """
    seen = engine.observe(records.job.workflow)
    living = list(_names(seen.pods))
    there = {name.pod for name in living}
    saved = (name for name in records.logs() if name.pod.startswith(f"{records.job.workflow}-"))
    gone = [name for name in saved if name.pod not in there]
    if not follow:
        _check(records.job, [*gone, *living], worker, container)
    for name in gone:
        if worker in (None, name.worker, name.pod) and (name.container == container if container else name.container not in without):
            text = records.log(name).decode(errors="replace").removesuffix("\n")
            for line in text.split("\n") if text else ():
                yield LogLine(name.pod, name.worker, name.container, line)
    if seen.workflow or seen.pods:
        yield from engine.logs(records.job.workflow, worker=worker, container=container, follow=follow, without=without, stop=stop)


def _names(pods: Iterable[dict[str, Any]]) -> Iterator[LogName]:
    for pod in pods:
        for container in containers(pod):
            yield LogName(worker_of(pod), pod["metadata"]["name"], container["name"])


def _check(job: JobRef, names: Iterable[LogName], worker: str | None, container: str | None) -> None:
    names = list(names)
    workers = list(dict.fromkeys(name.worker for name in names))
    if worker and worker not in {*workers, *(name.pod for name in names)}:
        raise NotFound(f'job {job.job_id} of {job.api} has no worker "{worker}"', hint=f"it has {', '.join(workers) or 'none yet'}")
    containers = list(dict.fromkeys(name.container for name in names))
    if container and container not in containers:
        hint = f"it has {', '.join(containers) or 'none yet'}"
        raise NotFound(f'job {job.job_id} of {job.api} has no container "{container}"', hint=hint)
