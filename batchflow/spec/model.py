"""What users write, as frozen values. Defaults and rules: spec/cortex.md section 1 and 4, and DESIGN.md section 8 for `batchflow:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from batchflow import contract

__all__ = [
    "MAX_BATCH_BYTES",
    "Additions",
    "Api",
    "Compute",
    "Container",
    "DeadLetterQueue",
    "DelimitedFiles",
    "Dependencies",
    "FilePathLister",
    "Handler",
    "ItemList",
    "Model",
    "Models",
    "Pod",
    "Probe",
    "Source",
    "Submission",
]

# SQS quota "message size" as it was in Cortex's days, and still is on many SQS-compatible servers; see docs/limits.
# An item and a batch must be smaller than this.
MAX_BATCH_BYTES: Final = 262_144


@dataclass(frozen=True, slots=True)
class Compute:
    """Requests, not limits, but for `gpu`. Quantities are Kubernetes'."""

    cpu: str | None = "200m"
    mem: str | None = None
    gpu: int = 0
    inf: int = 0
    shm: str | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """`kind` is http_get, tcp_socket or exec; `port` is 0 and `path` empty where they don't apply."""

    kind: str
    port: int = 0
    path: str = ""
    command: tuple[str, ...] = ()
    initial_delay_s: int = 0
    timeout_s: int = 1
    period_s: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class Container:
    """One of the user's containers; `command` is exec'd, not given to a shell."""

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    compute: Compute = Compute()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """Container generation."""

    containers: tuple[Container, ...]
    port: int = contract.DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Paths within the project; a missing file is ignored."""

    pip: str = "requirements.txt"
    conda: str = "conda-packages.txt"
    shell: str = "dependencies.sh"


@dataclass(frozen=True, slots=True)
class Model:
    """A TensorFlow model. `path` is `s3://…`, an absolute local path or `file://…`, or one below the project's folder."""

    name: str
    path: str
    signature_key: str | None = None


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a tensorflow handler: those listed, or else one for each folder that `dir`, a path as a Model's, holds."""

    listed: tuple[Model, ...] = ()
    dir: str | None = None
    signature_key: str | None = None  # of the models of `dir`


@dataclass(frozen=True, slots=True)
class Handler:
    """Predictor and handler generations. `key` is the one that the file used, `handler` or `predictor`."""

    key: str
    type: str
    path: str
    config: Mapping[str, Any] = field(default_factory=dict)
    python_path: str | None = None
    image: str | None = None
    tensorflow_serving_image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    log_level: str = "info"
    shm_size: str | None = None
    dependencies: Dependencies = Dependencies()
    models: Models | None = None  # with type tensorflow only
    compute: Compute = Compute()


@dataclass(frozen=True, slots=True)
class Additions:
    """The key `batchflow:`. `on_job_complete` None: not said, so the api's code decides."""

    on_job_complete: bool | None = None
    start_timeout_s: int = 1800
    batch_timeout_s: int = 39_600
    max_concurrency: int = 1
    memory_limit: str | None = None
    service_account: str | None = None
    env_from_secrets: tuple[str, ...] = ()
    tolerations: tuple[Mapping[str, Any], ...] = ()
    image_pull_secrets: tuple[str, ...] = ()
    cortex_client: bool = False  # whether the user's containers get the gateway's address and a token


@dataclass(frozen=True, slots=True)
class Api:
    """One entry of cortex.yaml. Exactly one of `handler` and `pod` is set.

    `has_hook`: whether finalize posts `/on-job-complete`: False if the file says so, or if a Handler class was read and has no
    such method; True otherwise. `project` is the SHA-256 of a Handler's files as zipped, None until they are.
    """

    name: str
    endpoint: str
    handler: Handler | None = None
    pod: Pod | None = None
    node_groups: tuple[str, ...] | None = None
    additions: Additions = Additions()
    has_hook: bool = True
    project: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)  # the entry as written, for `api_spec`
    warnings: tuple[str, ...] = field(default=(), compare=False)  # what of it has not the effect that may be expected

    @property
    def port(self) -> int:
        return self.pod.port if self.pod else contract.DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class DeadLetterQueue:
    """The user's FIFO queue for batches that failed `max_receive_count` times."""

    arn: str
    max_receive_count: int


@dataclass(frozen=True, slots=True)
class ItemList:
    """`items` are any JSON values."""

    key: ClassVar[str] = "item_list"

    items: list[Any]
    batch_size: int


@dataclass(frozen=True, slots=True)
class FilePathLister:
    """`s3_paths` are raw prefixes; plain local paths are absolute here."""

    key: ClassVar[str] = "file_path_lister"

    s3_paths: tuple[str, ...]
    batch_size: int
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DelimitedFiles:
    """As FilePathLister, but each JSON value in the files is an item."""

    key: ClassVar[str] = "delimited_files"

    s3_paths: tuple[str, ...]
    batch_size: int
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


Source = ItemList | FilePathLister | DelimitedFiles


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as asked for. `api` is the api's name; `api_file` is the cortex.yaml that holds it, or empty if it is a deployed one."""

    api: str
    workers: int
    source: Source
    timeout_s: int | None = None
    dead_letter_queue: DeadLetterQueue | None = None
    config: Mapping[str, Any] | None = None
    api_file: str = ""
