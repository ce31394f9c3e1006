"""A store with jobs that have ended, as submit and the steps leave them, without running anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from batchflow.client import Services
from batchflow.records import (
    SUCCEEDED,
    Checkpoint,
    DeploymentRecord,
    FinalStatus,
    JobRef,
    LogName,
    Outcome,
    SubmissionRecord,
    job_document,
    new_job_id,
)
from batchflow.spec.api import parse_api
from batchflow.spec.stored import api_document, api_id
from batchflow.status.model import JobStatus
from batchflow.store.jobs import JobRecords
from batchflow.store.protocol import Store

NOW = datetime.now(UTC)


def ago(**time: float) -> datetime:
    """Before now, not before the tests began: a job without a workflow is taken for lost after a minute."""
    return datetime.now(UTC) - timedelta(**time)


def text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def version(services: Services, name: str, *, image: str = "i", project: str = "") -> str:
    """Save a version of an api, with a project if one is named; returns its id. Another image makes another version."""
    containers = [{"name": "c", "image": image, "command": ["x"]}]
    document = api_document(parse_api({"name": name, "kind": "BatchAPI", "pod": {"containers": containers}}, where=""))
    if project:
        document["project"] = project
        services.apis.save_project(project, b"zip")
    services.apis.save(name, api_id(document), document)
    return api_id(document)


def deployed(services: Services, name: str, **fields: Any) -> str:
    found = version(services, name, **fields)
    services.apis.deploy(name, DeploymentRecord(found, text(NOW)))
    return found


def submitted(services: Services, api: str, version_id: str, created: datetime, *, s3_paths: Iterable[str] = (), place: str = "") -> JobRef:
    """A job's submission, and nothing else."""
    job = JobRef(api, new_job_id(int(created.timestamp() * 1e9)))
    paths = list(s3_paths)
    source = {"file_path_lister": {"s3_paths": paths, "batch_size": 1}} if paths else {"item_list": {"items": [1], "batch_size": 1}}
    record = SubmissionRecord(api, version_id, job.job_id, text(created), {"workers": 1, **source}, place=place)
    assert JobRecords(services.store, job).create_submission(record)
    return job


def ended(services: Services, api: str, version_id: str, when: datetime, **fields: Any) -> JobRef:
    """A job that succeeded at `when`, a minute after its submission."""
    job = submitted(services, api, version_id, when - timedelta(minutes=1), **fields)
    records = JobRecords(services.store, job)
    submission = records.submission()
    records.create_document(job_document(submission, total_batch_count=1))
    records.save_checkpoint(Checkpoint(1, next_index=1, done=True, total=1))
    records.create_outcomes("pod", 0, [Outcome(0, SUCCEEDED, 1, 1.0)])
    records.save_log(LogName("0", "pod", "main"), b"a line\n")
    status = JobStatus(job.job_id, api, version_id, 1, "succeeded", submission.created_time, total_batch_count=1, end_time=text(when))
    records.save_final(FinalStatus(1, status.to_dict()))
    return job


class WatchedStore:
    """A store that calls `before` with the call's name and its key or prefix before each call; of a deletion, before each key."""

    def __init__(self, store: Store, before: Callable[[str, str], None]) -> None:
        self._store = store
        self._before = before

    @property
    def url(self) -> str:
        return self._store.url

    def put(self, key: str, data: bytes) -> None:
        self._before("put", key)
        self._store.put(key, data)

    def put_file(self, key: str, file: BinaryIO, size_bytes: int) -> None:
        self._before("put", key)
        self._store.put_file(key, file, size_bytes)

    def create(self, key: str, data: bytes) -> bool:
        self._before("create", key)
        return self._store.create(key, data)

    def get(self, key: str) -> bytes | None:
        self._before("get", key)
        return self._store.get(key)

    def list(self, prefix: str) -> Iterator[str]:
        self._before("list", prefix)
        yield from self._store.list(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        self._before("folders", prefix)
        return self._store.folders(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._before("delete", key)
            self._store.delete([key])


def watched(services: Services, before: Callable[[str, str], None]) -> Services:
    """The same services, whose store is watched."""
    other = Services(services.settings)
    other.store = WatchedStore(services.store, before)  # type: ignore[misc]
    return other
