"""What the stages tell each other, and all that they share: job reference, message, checkpoint, counters, outcome, hook answer.

Each record is one JSON object; `dump` and `load` turn it into bytes and back. Where it is stored: store/jobs.py.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import orjson

from batchflow.errors import InvalidInput, NotFound

__all__ = [
    "ABOUT_THE_JOB",
    "FAILED",
    "MAX_RUN",
    "SUCCEEDED",
    "Checkpoint",
    "Counters",
    "DeploymentRecord",
    "FinalStatus",
    "HookAnswer",
    "JobRef",
    "KeyRecord",
    "LogName",
    "Message",
    "Outcome",
    "Record",
    "RunRecord",
    "SubmissionRecord",
    "batch_id",
    "batch_message",
    "check_api_name",
    "job_document",
    "new_job_id",
]

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"

_JOB_ID: Final = re.compile(r"[0-9a-f]{16}")
_API_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")
MAX_RUN: Final = 99
_JOB_EPOCH: Final = 2**63 - 1
_BATCHES: Final = uuid.NAMESPACE_OID.bytes


def new_job_id(unix_ns: int) -> str:
    """Cortex's job id: 16 hex digits of 2^63−1 − Unix nanoseconds, so that newer ids sort first."""
    return f"{_JOB_EPOCH - unix_ns:016x}"


def check_api_name(name: str) -> str:
    """The name, if it is one that an api can have; before it becomes a key, a path or a Kubernetes name."""
    if not _API_NAME.fullmatch(name):
        raise NotFound(f'"{name}" is not the name of an api', hint="names match [a-z]([-a-z0-9]*[a-z0-9])?, at most 42 characters")
    return name


@dataclass(frozen=True, slots=True)
class JobRef:
    """Names one run of one job. Checked here, before the names become keys, paths or Kubernetes names."""

    api: str
    job_id: str
    run: int = 1

    def __post_init__(self) -> None:
        check_api_name(self.api)
        if not _JOB_ID.fullmatch(self.job_id):
            raise InvalidInput(f'"{self.job_id}" is not a job id', hint="a job id is 16 hex digits, lower case")
        if not 1 <= self.run <= MAX_RUN:
            raise InvalidInput(f"run {self.run} of job {self.job_id}", hint=f"a job has at most {MAX_RUN} runs")

    @property
    def workflow(self) -> str:
        """The workflow's name; at most 63 characters (Kubernetes' limit for labels, which Argo makes of it)."""
        return f"{self.api}-{self.job_id}" + (f"-r{self.run}" if self.run > 1 else "")


@dataclass(frozen=True, slots=True)
class Message:
    """What a queue carries. SQS FIFO: `group` keeps its order, `dedup` is dropped when repeated within 5 minutes."""

    body: str
    group: str
    dedup: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def batch_id(job_id: str, index: int) -> str:
    """The batch's UUID: the same for every attempt and every run.

    It is `uuid.uuid5` of the job and the index, which takes three times as long; enqueuer and worker need it of every batch.
    """
    digest = bytearray(hashlib.sha1(b"%b%b-%d" % (_BATCHES, job_id.encode(), index), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # the version and the variant: RFC 9562, section 5.5
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def batch_message(job: JobRef, index: int, attempt: int, body: str) -> Message:
    """A batch as a message; the body stays the bare JSON array of items, since readers of a DLQ rely on it.

    Each batch is a group of its own, so that none blocks another.
    """
    return Message(
        body=body,
        group=str(index),
        dedup=f"{job.job_id}-{index}-{attempt}",
        attributes={
            "api_name": job.api,
            "job_id": job.job_id,
            "batch_index": str(index),
            "batch_id": batch_id(job.job_id, index),
            "attempt": str(attempt),
        },
    )


class Record:
    """JSON in and out for the dataclasses below; unknown keys are ignored, so that an older reader survives a newer writer."""

    __slots__ = ()

    def dump(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def load(cls, data: bytes) -> Self:
        found, known = orjson.loads(data), cls.__dataclass_fields__  # type: ignore[attr-defined]
        return cls(**{key: value for key, value in found.items() if key in known})


@dataclass(frozen=True, slots=True)
class DeploymentRecord(Record):
    """apis/<api>/current.json: which version of an api is deployed."""

    api_id: str
    deployed_time: str  # RFC 3339, UTC
    directory: str = ""  # as a submission's


@dataclass(frozen=True, slots=True)
class SubmissionRecord(Record):
    """submission.json: what was asked for, items included. `submission` is the body in Cortex's schema, without `api`."""

    api_name: str
    api_id: str
    job_id: str
    created_time: str  # RFC 3339, UTC
    submission: dict[str, Any]
    directory: str = ""  # where the api's file is, on this machine; the local engine starts containers there
    place: str = ""  # where its first run is: `Engine.place`
    nonce: str = ""  # of this very attempt to submit, so that it knows its own record again when an answer was lost

    def without_source(self) -> SubmissionRecord:
        """Without the items, or the paths: what is left is small."""
        kept = {key: value for key, value in self.submission.items() if key in ABOUT_THE_JOB}
        return replace(self, submission=kept)

    def same_request(self, other: SubmissionRecord) -> bool:
        return (self.api_name, self.api_id, self.submission) == (other.api_name, other.api_id, other.submission)


# What a submission says beside its source.
ABOUT_THE_JOB: Final = ("workers", "timeout", "sqs_dead_letter_queue", "config")


def job_document(record: SubmissionRecord, *, sqs_url: str = "", total_batch_count: int | None = None) -> dict[str, Any]:
    """The job document of spec/cortex.md section 3, in its order; data items are not in it. `total_batch_count` is absent if None."""
    body = record.submission
    total = {} if total_batch_count is None else {"total_batch_count": total_batch_count}
    return {
        "job_id": record.job_id,
        "api_name": record.api_name,
        "kind": "BatchAPI",
        "workers": body["workers"],
        "sqs_dead_letter_queue": body.get("sqs_dead_letter_queue"),
        "config": body.get("config"),
        "timeout": body.get("timeout"),
        "api_id": record.api_id,
        "sqs_url": sqs_url,
        **total,
        "start_time": record.created_time,
    }


@dataclass(frozen=True, slots=True)
class KeyRecord(Record):
    """keys/<api>/<hash>.json: the job of an `Idempotency-Key`, and the SHA-256 of the body that was posted with it."""

    job_id: str
    body_sha256: str
    created_time: str  # RFC 3339, UTC


@dataclass(frozen=True, slots=True)
class RunRecord(Record):
    """run.json: the latest run, and where it is (`Engine.place`)."""

    run: int
    place: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint(Record):
    """enqueue.json: every batch below `next_index` is in the queue (or has an outcome); go on at `file`, `offset`.

    That place is always just behind a batch's last item. `done`: `total` batches were all sent. `error` is the enqueuer's own word that
    the input can't be used; then no worker starts.
    """

    run: int
    next_index: int = 0
    file: int = 0  # index into the listing (or into item_list's items)
    offset: int = 0  # bytes of the file's (decompressed) content
    item: int = 0  # items of that file before `offset`
    line: int = 0  # lines of that file before `offset`
    done: bool = False
    total: int = 0
    queue_url: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Counters(Record):
    """counters/<pod>.json: for live status only; accounting reads outcomes.

    `failed` counts attempts, `succeeded` batches, `seconds` sums the time of successful attempts. `state` is one of
    waiting (for the handler), ready, leaving, done, failed; `error` says why for failed, and what is waited for in waiting.
    """

    pod: str
    run: int
    step: str
    state: str
    succeeded: int = 0
    failed: int = 0
    finished: int = 0  # batches whose outcome this pod wrote
    seconds: float = 0.0
    started: float = 0.0  # Unix seconds
    ready: float | None = None  # when the handler first was
    updated: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome(Record):
    """A line of outcomes/<pod>-<random>/<n>.jsonl: the final word on a batch, by one process; duplicates are possible, any success wins.

    `attempts` counts handlings that ended (failed ones, and the success); `seconds` is the last one's length.
    """

    index: int
    outcome: str  # SUCCEEDED or FAILED
    attempts: int
    seconds: float
    error: str = ""

    @property
    def failed_attempts(self) -> int:
        return self.attempts - (self.outcome == SUCCEEDED)


@dataclass(frozen=True, slots=True)
class HookAnswer(Record):
    """hook.json: what `/on-job-complete` answered, whatever it was. `status` is 0 if there was no answer."""

    run: int
    status: int
    ok: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class LogName:
    """Whose log it is. `worker` is what people call the pod: a worker's number, or a step's name."""

    worker: str
    pod: str
    container: str


@dataclass(frozen=True, slots=True)
class FinalStatus(Record):
    """status.json: the final status of a run: what `get` returns after Argo has forgotten the workflow."""

    run: int
    status: dict[str, Any]  # status.model.JobStatus.to_dict()
