"""Settings: env names `BATCHFLOW_*`, the same on a laptop (shell) and in pods (the ConfigMap `batchflow`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from batchflow.errors import InvalidInput

__all__ = ["CALL_TIMEOUT_S", "ENGINES", "Settings"]

CALL_TIMEOUT_S: Final = 30.0
ENGINES: Final = ("argo", "local")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """One object, built once at the edge (CLI, step, Python API) and passed in."""

    engine: str = "argo"
    store: str = ""  # s3://bucket/prefix or an absolute directory
    queues: str = ""  # `sqs`, or `sqlite:<absolute directory>`
    local_dir: str = ""  # where the local engine keeps its runs
    cache_dir: str = ""  # where the local engine keeps virtual environments
    namespace: str = "batchflow"
    kube_context: str = ""  # of the kubeconfig; empty: its current one
    sources: tuple[str, ...] = ()  # further schemes that an enqueuer may read, such as `file`
    log_level: str = "info"
    visibility_s: int = 60
    heartbeat_s: float = 15.0
    grace_s: int = 30  # between SIGTERM and SIGKILL of a worker
    retry_s: float = 600.0  # how long a step tries store and queue again before it exits 75
    call_timeout_s: float = CALL_TIMEOUT_S  # how long an answer of S3 or SQS is waited for
    max_call_bytes: int = 64 * 2**20  # of the body of a job deployment's call, and of the reply's

    # What only the compiler needs to know of a cluster.
    image: str = ""  # of the steps; empty: the one that belongs to this version
    handler_image: str = "python:3.11-slim"  # of a Handler that names none; it needs only Python, since prepare brings the runtime
    image_pull_secrets: tuple[str, ...] = ()  # beside those that an api names
    step_cpu: str = "100m"  # requests of each of our containers, quantities of Kubernetes
    step_memory: str = "100Mi"
    node_group_label: str = "batchflow/node-group"  # the nodes' label whose values are an api's `node_groups`
    instance_id: str = ""  # of the Argo controller that is to run the workflows
    keep_pods_s: int = 600  # after the end; their logs are in the store
    keep_workflow_s: int = 7 * 24 * 3600

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, *, local: bool = False) -> Self:
        """Read `BATCHFLOW_*`; raises InvalidInput naming the variable. `local` is the command line's `--local`."""
        default = cls()
        engine = "local" if local else _one_of(environ, "BATCHFLOW_ENGINE", ENGINES, "argo")
        root = Path.cwd() / ".batchflow"
        store = environ.get("BATCHFLOW_STORE", "") or (str(root) if engine == "local" else "")
        if store and not store.startswith("s3://"):
            store = str(Path(store).expanduser().absolute())
        on_disk = store and not store.startswith("s3://")
        local_dir = environ.get("BATCHFLOW_LOCAL_DIR", "") or str(Path(store, "local") if on_disk else root / "local")
        queues = environ.get("BATCHFLOW_QUEUES", "") or (f"sqlite:{store}/queues" if on_disk else "sqs")
        cache = environ.get("XDG_CACHE_HOME", "") or str(Path("~/.cache").expanduser())
        return cls(
            engine=engine,
            store=store.rstrip("/"),
            queues=queues,
            local_dir=str(Path(local_dir).absolute()),
            cache_dir=environ.get("BATCHFLOW_CACHE_DIR", "") or str(Path(cache, "batchflow")),
            namespace=environ.get("BATCHFLOW_NAMESPACE", "") or default.namespace,
            kube_context=environ.get("BATCHFLOW_KUBE_CONTEXT", ""),
            sources=_list(environ.get("BATCHFLOW_SOURCES", "file" if engine == "local" else "")),
            log_level=_one_of(environ, "BATCHFLOW_LOG_LEVEL", LOG_LEVELS, "info"),
            visibility_s=int(_number(environ, "BATCHFLOW_VISIBILITY_S", default.visibility_s, least=1)),
            heartbeat_s=_number(environ, "BATCHFLOW_HEARTBEAT_S", default.heartbeat_s, least=0.1),
            grace_s=int(_number(environ, "BATCHFLOW_GRACE_S", default.grace_s, least=0)),
            retry_s=_number(environ, "BATCHFLOW_RETRY_S", default.retry_s, least=0),
            call_timeout_s=_number(environ, "BATCHFLOW_CALL_TIMEOUT_S", default.call_timeout_s, least=2),
            max_call_bytes=int(_number(environ, "BATCHFLOW_MAX_CALL_BYTES", default.max_call_bytes, least=1)),
            image=environ.get("BATCHFLOW_IMAGE", ""),
            handler_image=environ.get("BATCHFLOW_HANDLER_IMAGE", "") or default.handler_image,
            image_pull_secrets=_list(environ.get("BATCHFLOW_IMAGE_PULL_SECRETS", "")),
            step_cpu=environ.get("BATCHFLOW_STEP_CPU", "") or default.step_cpu,
            step_memory=environ.get("BATCHFLOW_STEP_MEMORY", "") or default.step_memory,
            node_group_label=environ.get("BATCHFLOW_NODE_GROUP_LABEL", "") or default.node_group_label,
            instance_id=environ.get("BATCHFLOW_INSTANCE_ID", ""),
            keep_pods_s=int(_number(environ, "BATCHFLOW_KEEP_PODS_S", default.keep_pods_s, least=0)),
            keep_workflow_s=int(_number(environ, "BATCHFLOW_KEEP_WORKFLOW_S", default.keep_workflow_s, least=0)),
        )

    def to_env(self) -> dict[str, str]:
        """The variables from which a step reads again what it needs of these settings."""
        return {
            "BATCHFLOW_ENGINE": self.engine,
            "BATCHFLOW_STORE": self.store,
            "BATCHFLOW_QUEUES": self.queues,
            "BATCHFLOW_LOCAL_DIR": self.local_dir,
            "BATCHFLOW_CACHE_DIR": self.cache_dir,
            "BATCHFLOW_NAMESPACE": self.namespace,
            "BATCHFLOW_SOURCES": ",".join(self.sources),
            "BATCHFLOW_LOG_LEVEL": self.log_level,
            "BATCHFLOW_VISIBILITY_S": str(self.visibility_s),
            "BATCHFLOW_HEARTBEAT_S": str(self.heartbeat_s),
            "BATCHFLOW_GRACE_S": str(self.grace_s),
            "BATCHFLOW_RETRY_S": str(self.retry_s),
            "BATCHFLOW_CALL_TIMEOUT_S": str(self.call_timeout_s),
        }


def _one_of(environ: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = environ.get(name, "") or default
    if value not in allowed:
        raise InvalidInput(f'"{value}" is none of {", ".join(allowed)}', where=name)
    return value


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number(environ: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    text = environ.get(name, "") or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < least:
        raise InvalidInput(f'"{text}" is not a number of at least {least:g}', where=name)
    return value
