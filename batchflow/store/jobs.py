"""Reads and writes a job's records: the only module that knows where in the store each of them is (DESIGN.md section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from batchflow.errors import NotFound
from batchflow.records import (
    ABOUT_THE_JOB,
    Checkpoint,
    Counters,
    DeploymentRecord,
    FinalStatus,
    HookAnswer,
    JobRef,
    LogName,
    Outcome,
    RunRecord,
    SubmissionRecord,
)
from batchflow.spec.model import Api
from batchflow.spec.stored import api_from_document
from batchflow.store.listing import Tried, create_listing, once, read_listing
from batchflow.store.protocol import SourceFile, Store
from batchflow.store.reading import read_all

__all__ = ["ApiRecords", "JobRecords"]


class ApiRecords:
    """apis/ and projects/: deployed apis and their Handlers' files."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def save(self, name: str, api_id: str, document: dict[str, Any]) -> None:
        self.store.put(f"apis/{name}/{api_id}.json", orjson.dumps(document, option=orjson.OPT_INDENT_2))

    def api(self, name: str, api_id: str) -> Api:
        data = self.store.get(f"apis/{name}/{api_id}.json")
        if data is None:
            raise NotFound(f"{name} is not deployed", where=self.store.url, kind="resources.api_not_deployed")
        return api_from_document(orjson.loads(data))

    def deployed(self, name: str) -> DeploymentRecord | None:
        """None if the api is not deployed; it may have jobs all the same, from job files that name its file."""
        data = self.store.get(f"apis/{name}/current.json")
        return None if data is None else DeploymentRecord.load(data)

    def deploy(self, name: str, record: DeploymentRecord) -> None:
        """Make a version that is saved the deployed one."""
        self.store.put(f"apis/{name}/current.json", record.dump())

    def undeploy(self, name: str) -> None:
        """Versions and jobs stay."""
        self.store.delete([f"apis/{name}/current.json"])

    def versions(self, name: str) -> list[str]:
        """The ids of the versions that are stored."""
        ids = (key.rpartition("/")[2].removesuffix(".json") for key in self.store.list(f"apis/{name}/"))
        return [api_id for api_id in ids if api_id != "current"]

    def names(self) -> list[str]:
        """Every api that has a version or a job."""
        return sorted({*self.store.folders("apis/"), *self.store.folders("jobs/")})

    def save_project(self, sha256: str, data: bytes) -> None:
        """No effect, and nothing sent, if it is there."""
        key = f"projects/{sha256}.zip"
        if key not in self.store.list(key):
            self.store.create(key, data)

    def project(self, sha256: str) -> bytes:
        data = self.store.get(f"projects/{sha256}.zip")
        if data is None:
            raise NotFound(f"project {sha256} is not in the store", where=self.store.url)
        return data

    def job_ids(self, name: str) -> Iterator[str]:
        """Newest first, as ids sort; a stream. One that is being deleted is in it until its last record is gone."""
        return self.store.folders(f"jobs/{name}/")


class JobRecords:
    """jobs/<api>/<job_id>/: one job's records."""

    def __init__(self, store: Store, job: JobRef) -> None:
        self.store = store
        self.job = job
        self.prefix = f"jobs/{job.api}/{job.job_id}/"

    def _get(self, name: str) -> bytes | None:
        return self.store.get(self.prefix + name)

    def _put(self, name: str, data: bytes) -> None:
        self.store.put(self.prefix + name, data)

    def create_submission(self, record: SubmissionRecord) -> bool:
        """False if the job has one already."""
        return self.store.create(self.prefix + "submission.json", record.dump())

    def submission(self) -> SubmissionRecord:
        data = self._get("submission.json")
        if data is None:
            raise NotFound(
                f"unable to find BatchAPI job {self.job.job_id} ({self.job.api} api)",
                where=self.store.url,
                hint="run this where the job was submitted, or name its store in BATCHFLOW_STORE",
                kind="job.not_found",
            )
        return SubmissionRecord.load(data)

    @property
    def exists(self) -> bool:
        """Whether the job has a submission; without one, what is left of it was deleted halfway."""
        key = self.prefix + "submission.json"
        return key in self.store.list(key)

    @property
    def has_any(self) -> bool:
        """Whether there is any record, of the job or left of it."""
        return next(self.store.list(self.prefix), None) is not None

    def delete(self) -> None:
        """Delete every record; nobody finds the job from the first moment on, and a repeat goes on where it was cut off."""
        # `request` reads both, and S3 deletes them in one call; status.json, which goes later, holds the status in between.
        self.store.delete([self.prefix + "job.json", self.prefix + "submission.json"])
        self.store.delete(self.store.list(self.prefix))

    def request(self) -> SubmissionRecord:
        """The submission without its source: of an item_list, submission.json may have many megabytes, and few need them."""
        return self.request_and_total()[0]

    def request_and_total(self) -> tuple[SubmissionRecord, int | None]:
        """The submission without its source, and the job's number of batches, None until they were all cut, in whichever run.

        Read from job.json, once the enqueuer has written that; until then from submission.json.
        """
        data = self.document()
        if data is None:
            return self.submission(), None
        document = orjson.loads(data)
        kept = {key: document[key] for key in ABOUT_THE_JOB}
        request = SubmissionRecord(document["api_name"], document["api_id"], document["job_id"], document["start_time"], kept)
        return request, int(document["total_batch_count"])

    def latest_run(self) -> int:
        data = self._get("run.json")
        return 1 if data is None else RunRecord.load(data).run

    def place(self) -> str:
        """Where the latest run is, "" if that was not noted. Of an item_list this may read many megabytes."""
        data = self._get("run.json")
        return self.submission().place if data is None else RunRecord.load(data).place

    def save_run(self, record: RunRecord) -> None:
        self._put("run.json", record.dump())

    def create_inputs(self, files: Iterable[SourceFile]) -> None:
        """Fix the listing; the first one stays. See listing.py."""
        create_listing(self.store, self.prefix, files)

    def inputs(self, tried: Tried = once) -> Iterator[SourceFile] | None:
        """A stream of the listing, to be read once; None until it is fixed. `tried` as in listing.py."""
        return read_listing(self.store, self.prefix, tried)

    def checkpoint(self) -> Checkpoint | None:
        """The enqueuer's, of whichever run wrote last."""
        data = self._get("enqueue.json")
        return None if data is None else Checkpoint.load(data)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._put("enqueue.json", checkpoint.dump())

    def create_document(self, document: dict[str, Any]) -> None:
        """job.json, indented as Cortex wrote it; the first one written stays."""
        self.store.create(self.prefix + "job.json", orjson.dumps(document, option=orjson.OPT_INDENT_2))

    def document(self) -> bytes | None:
        return self._get("job.json")

    def save_counters(self, counters: Counters) -> None:
        self._put(f"counters/{counters.pod}.json", counters.dump())

    def counters(self) -> list[Counters]:
        """Those of every pod of every run; there may be a thousand."""
        found = read_all(self.store, self.store.list(self.prefix + "counters/"))
        return [Counters.load(data) for data in found if data is not None]

    def has_counters(self, pod: str) -> bool:
        """Whether a pod of that name began to work before."""
        return self._get(f"counters/{pod}.json") is not None

    def create_outcomes(self, writer: str, number: int, outcomes: Iterable[Outcome]) -> None:
        """Write a flush as an object of its own; the same flush repeated changes nothing.

        `writer` is unique to each process, or one would overwrite another's outcomes. A pod's name is not: Argo makes a pod anew, under
        the same name, that was deleted before it saw it run.
        """
        self._put(f"outcomes/{writer}/{number:06d}.jsonl", b"\n".join(outcome.dump() for outcome in outcomes))

    def outcomes(self) -> Iterator[Outcome]:
        """Every outcome that any pod of any run wrote, a stream; a batch may have several."""
        for data in read_all(self.store, self.store.list(self.prefix + "outcomes/")):
            for line in (data or b"").splitlines():
                yield Outcome.load(line)

    def mark_start(self, index: int, pod: str, receive_count: int) -> int:
        """Note that a batch received often is now handled; returns how many such marks it has, this one included."""
        prefix = f"{self.prefix}starts/{index}/"
        self.store.create(f"{prefix}{pod}-{receive_count}", b"")
        return sum(1 for _ in self.store.list(prefix))

    def hook(self) -> HookAnswer | None:
        data = self._get("hook.json")
        return None if data is None else HookAnswer.load(data)

    def save_hook(self, answer: HookAnswer) -> None:
        self._put("hook.json", answer.dump())

    def save_log(self, name: LogName, tail: bytes) -> None:
        self._put(_log_key(name), tail)

    def logs(self) -> list[LogName]:
        """Those that were saved, of all runs."""
        prefix = self.prefix + "logs/"
        parts = (key[len(prefix) :].removesuffix(".log").split("/") for key in self.store.list(prefix))
        return [LogName(worker, pod, container) for worker, pod, container in parts]

    def log(self, name: LogName) -> bytes:
        return self._get(_log_key(name)) or b""

    def final(self) -> FinalStatus | None:
        """The latest final status, whichever run wrote it."""
        data = self._get("status.json")
        return None if data is None else FinalStatus.load(data)

    def save_final(self, final: FinalStatus) -> None:
        self._put("status.json", final.dump())


def _log_key(name: LogName) -> str:
    return f"logs/{name.worker}/{name.pod}/{name.container}.log"
