"""What gateway, scheduler and courier tell each other about a job deployment's calls. Where it is stored: store/deployments.py."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from batchflow.errors import Internal, NotFound
from batchflow.records import Record

__all__ = [
    "NOT_ACCEPTED",
    "REPLY_LOST",
    "CallRef",
    "CallRequest",
    "Ending",
    "Fate",
    "JobDeploymentRecord",
    "Reply",
    "check_deployment_name",
    "incomplete_error",
    "is_call",
    "new_call",
    "new_deployment_id",
    "replied_error",
    "too_large_error",
]

# What a call's Error says if nobody knows what the replica answered, or whether it did.
REPLY_LOST: Final = "the reply was lost: its courier was killed, or could not save it"
# And if it can't even have read the request.
NOT_ACCEPTED: Final = "replica exited before accepting the job"

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DEPLOYMENT_ID: Final = re.compile(r"[0-9a-f]{12}")
_CALL: Final = re.compile(r"[0-9]{19}-[0-9a-f]{8}")
_NAME_IN_WORKFLOW: Final = 34  # with a call's 28 characters and a dash that makes 63, Kubernetes' limit for labels


def check_deployment_name(name: str) -> str:
    """The name, if it is one that a job deployment can have; before it becomes a key or a Kubernetes name."""
    if not _NAME.fullmatch(name):
        raise NotFound(f'"{name}" is not the name of a job deployment')
    return name


def new_deployment_id() -> str:
    """Tells a deployment from earlier ones of its name, whose replicas may still write."""
    return secrets.token_hex(6)


def new_call(unix_ns: int) -> str:
    """A call's own name, which sorts by the time of its arrival. Clients know it by the id in `X-Inference-Id`."""
    return f"{unix_ns:019d}-{secrets.token_hex(4)}"


def is_call(name: str) -> bool:
    """Whether `new_call` makes such names."""
    return _CALL.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class CallRef:
    """Names one call. Checked here, before the names become keys, paths or Kubernetes names."""

    deployment: str
    deployment_id: str
    call: str

    def __post_init__(self) -> None:
        check_deployment_name(self.deployment)
        if not _DEPLOYMENT_ID.fullmatch(self.deployment_id) or not is_call(self.call):
            raise Internal(f"{self.deployment_id}/{self.call} is not a call", where=self.deployment)

    @property
    def workflow(self) -> str:
        """The name of its Workflow, the same whoever starts it, so that it is started once."""
        return f"{self.deployment[:_NAME_IN_WORKFLOW].rstrip('-')}-{self.call}"

    @property
    def arrived_ns(self) -> int:
        """Unix nanoseconds."""
        return int(self.call.partition("-")[0])

    @property
    def arrived(self) -> float:
        """Unix seconds."""
        return self.arrived_ns / 10**9


@dataclass(frozen=True, slots=True)
class JobDeploymentRecord(Record):
    """deployment.json: the deployment as it is now."""

    spec: dict[str, Any]  # spec.jobdeployment.to_document
    created_time: str  # RFC 3339 with milliseconds, UTC
    directory: str = ""  # where a replica starts on this machine, from `batchflow deploy`


@dataclass(frozen=True, slots=True)
class CallRequest(Record):
    """request.json: the request as it is to be made, but for its body."""

    id: str
    method: str
    target: str  # path and query, as they were sent, without the deployment's name
    headers: list[tuple[str, str]]  # what else the replica gets, the courier adds: gateway/forwarding.py
    body_bytes: int
    deadline_s: int
    ttl_s: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", [(name, value) for name, value in self.headers])  # JSON has no tuples


@dataclass(frozen=True, slots=True)
class Fate(Record):
    """fate.json, written once: whether the call is started, or dropped and why. `token` is of the one who wrote it."""

    error: str = ""  # empty: it is started
    token: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class Reply(Record):
    """reply.json: what the replica answered; its body is beside it."""

    status: int
    content_type: str  # empty: it said none
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Ending(Record):
    """ended.json, written once: the call is completed. `error` is empty if it went well; `exit_code` is None if it was not known then."""

    error: str
    ended: float  # Unix seconds
    exit_code: int | None = None


def replied_error(status: int) -> str:
    """What a call's Error says of a reply with this status; empty if that went well."""
    return f"container replied with HTTP {status}" if status >= 400 else ""


def incomplete_error(why: str) -> str:
    """What a call's Error says of a reply that began, and did not come to its end."""
    return f"container gave no whole HTTP reply: {why}"


def too_large_error(limit_bytes: int) -> str:
    """What a call's Error says of a reply that was not kept."""
    return f"container replied with more than {limit_bytes} bytes"
