"""What a scenario is made of: a job, its moments, and what somebody does at them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.recordings.moments import Condition, every, has_ended, is_cleaning, is_quiet

Json = dict[str, Any]
Action = Callable[[Any], object]  # on the recorder's Run
Command = tuple[tuple[str, ...], Json | None]  # a command's words, and what it is given

LOST_NODE = "batchflow-lost"
PYTHON: Json = {"handler": {"type": "python", "path": "handler.py"}}
NO_HOOK: Json = {**PYTHON, "batchflow": {"on_job_complete": False}}


@dataclass(frozen=True)
class Moment:
    """The first snapshot for which `when` holds (the last one in a row, if `last`); after that `then` is done.

    `status`, `workers` (those that are not 0) and `words` of the message are what has to be read from it; no words: no message.
    A moment without a name is not recorded.
    """

    name: str
    when: Condition
    status: str = ""
    workers: Mapping[str, int] | None = None
    words: tuple[str, ...] = ()
    then: Action = lambda run: None
    last: bool = False
    within_s: float = 240.0


@dataclass(frozen=True)
class Scenario:
    """A job of the api `name`. `before` and `after` are commands that arrange its surroundings.

    `lines` is the content of the file that the job reads, `environ` are settings of whoever submits it.
    """

    name: str
    job: Json
    moments: tuple[Moment, ...]
    api: Json = field(default_factory=lambda: NO_HOOK)
    handler: str = ""
    lines: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    before: tuple[Command, ...] = ()
    after: tuple[Command, ...] = ()


def items(count: int, workers: int = 2, **more: Any) -> Json:
    """A job of as many batches."""
    return {"workers": workers, "item_list": {"items": list(range(count)), "batch_size": 1}, **more}


def lines() -> Json:
    """A job that reads the scenario's file, a batch a line."""
    return {"workers": 2, "delimited_files": {"s3_paths": [], "batch_size": 1}}


def handler(batch: str = "time.sleep(1)", *, start: str = "pass", hook: str = "") -> str:
    """The source of a Handler."""
    methods = [("__init__(self, config)", start), ("handle_batch(self, payload)", batch), ("on_job_complete(self)", hook)]
    bodies = [f"    def {signature}:\n        {body}\n" for signature, body in methods if body]
    return "\n".join(["import os\nimport time\n\n\nclass Handler:", *bodies])


def container(command: str, *, image: str = "python:3.11-slim", **additions: Any) -> Json:
    """An api of one container, `server`."""
    one = {"name": "server", "image": image, "command": ["sh", "-c", command]}
    return {"pod": {"port": 8080, "containers": [one]}, "batchflow": {"on_job_complete": False, **additions}}


def ending(
    name: str,
    status: str,
    *words: str,
    workers: Mapping[str, int] | None = None,
    meanwhile: str = "running",
    waiting: tuple[str, ...] = (),
    then: Action = lambda run: None,
    within_s: float = 600.0,
) -> tuple[Moment, Moment]:
    """As cleanup sees it, with the `meanwhile` status; and when it is over. tests/unit/test_recordings.py compares the two."""
    return (
        Moment(f"{name}-cleanup", is_cleaning, meanwhile, workers, waiting, last=True, within_s=within_s),
        Moment(name, every(has_ended, is_quiet), status, words=words, then=then),
    )


def stop(run: Any) -> None:
    run.job.stop()


def resume(run: Any) -> None:
    run.job.resume()


def terminate(run: Any) -> None:
    run.command("argo", "terminate", "{workflow}")


def delete_workflow(run: Any) -> None:
    run.command("kubectl", "delete", "workflow", "{workflow}", "--wait=false")


def delete_node(run: Any) -> None:
    run.command("kubectl", "delete", "node", LOST_NODE, "--wait=false")


def drain_a_worker(run: Any) -> None:
    run.command("kubectl", "delete", "pod", _a_worker(run), "--wait=false")


def kill_a_worker(run: Any) -> None:
    run.command("kubectl", "delete", "pod", _a_worker(run), "--force", "--grace-period=0")


def quota(pods: int) -> dict[str, tuple[Command, ...]]:
    """A quota of so many pods; no other scenario may run in the namespace at that time."""
    document = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": str(pods)}}}
    return {"before": ((("kubectl", "apply", "-f", "-"), document),), "after": ((("kubectl", "delete", "-f", "-"), document),)}


def lost_node() -> dict[str, tuple[Command, ...]]:
    """A node without a kubelet: nothing but a pod's binding to it ever happens. Only pods that tolerate it get there."""
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": LOST_NODE, "labels": {"batchflow/node-group": "lost"}},
        "spec": {"taints": [{"key": LOST_NODE, "effect": "NoSchedule"}]},
    }
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    status = {"status": {"allocatable": {"cpu": "8", "memory": "8Gi", "pods": "10"}, "conditions": [ready]}}
    patch = ("kubectl", "patch", "node", LOST_NODE, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    return {
        "before": ((("kubectl", "apply", "-f", "-"), node), (patch, None)),
        "after": ((("kubectl", "delete", "node", LOST_NODE, "--ignore-not-found"), None),),
    }


def _a_worker(run: Any) -> str:
    return next(str(pod["metadata"]["name"]) for pod in run.snapshot()["pods"] if "-work-" in pod["metadata"]["name"])
