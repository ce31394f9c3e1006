"""The pods of a run in Kubernetes' shape, all changes under one lock."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import orjson

from batchflow.contract import NODE_ID, NODE_NAME
from batchflow.engines.local.manifest import PodTemplate

__all__ = ["PodStatus", "PodStatuses", "now"]


def now() -> str:
    """RFC 3339, UTC, whole seconds, as Kubernetes writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PodStatuses:
    """Every pod that the run ever had, oldest first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = True
        self._pods: list[dict[str, Any]] = []

    def add(self, name: str, template: PodTemplate, *, workflow: str, node_id: str, node_name: str) -> PodStatus:
        pod = {
            "metadata": {
                "name": name,
                "labels": {**template.labels, "workflows.argoproj.io/workflow": workflow},
                "annotations": {**template.annotations, NODE_ID: node_id, NODE_NAME: node_name},
                "creationTimestamp": now(),
            },
            "status": {
                "phase": "Pending",
                "startTime": now(),
                "conditions": [],
                "initContainerStatuses": [_waiting(container.name) for container in template.init],
                "containerStatuses": [_waiting(template.main.name)],
            },
        }
        with self.lock:
            self._pods.append(pod)
            self.changed = True
        status = PodStatus(self, pod)
        status.set_condition("PodScheduled", True)
        return status

    def dump_if_changed(self) -> bytes | None:
        """The list as JSON; None if nothing changed since the last call."""
        with self.lock:
            if not self.changed:
                return None
            self.changed = False
            return orjson.dumps(self._pods)


class PodStatus:
    """One pod's part of it."""

    def __init__(self, pods: PodStatuses, pod: dict[str, Any]) -> None:
        self._pods = pods
        self._status = pod["status"]

    def set_phase(self, phase: str, *, reason: str = "", message: str = "") -> None:
        """Reason and message are Kubernetes' words on the pod as a whole; empty ones are left out."""
        words = {"reason": reason, "message": message}
        with self._pods.lock:
            self._status.update({"phase": phase, **{key: text for key, text in words.items() if text}})
            self._pods.changed = True

    def set_condition(self, type_: str, value: bool) -> None:
        condition = {"type": type_, "status": str(value), "lastTransitionTime": now()}
        with self._pods.lock:
            kept = [c for c in self._status["conditions"] if c["type"] != type_]
            self._status["conditions"] = [*kept, condition]
            self._pods.changed = True

    def running(self, container: str, *, guard_pid: int, child_pid: int) -> None:
        """It was started, for the first time or again."""
        with self._pods.lock:
            status = self._container(container)
            status["restartCount"] += "terminated" in status["lastState"]
            status.update(
                ready=True,
                started=True,
                state={"running": {"startedAt": now()}},
                containerID=f"process://{guard_pid}/{child_pid}",
            )
            self._pods.changed = True

    def terminated(self, container: str, exit_code: int) -> None:
        with self._pods.lock:
            status = self._container(container)
            started = status["state"].get("running", {}).get("startedAt", now())
            reason = "Error" if exit_code else "Completed"
            state = {"exitCode": exit_code, "reason": reason, "startedAt": started, "finishedAt": now()}
            # Kubernetes: an init container that did its work stays `ready`.
            status.update(ready=exit_code == 0 and status in self._status["initContainerStatuses"], started=False)
            status["state"] = {"terminated": state}
            self._pods.changed = True

    def restarting(self, container: str, pause_s: float) -> None:
        """It terminated and will be started again."""
        with self._pods.lock:
            status = self._container(container)
            status["ready"] = False
            status["lastState"] = status["state"]
            message = f"back-off {pause_s:g}s restarting failed container"
            status["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            self._pods.changed = True

    def _container(self, name: str) -> dict[str, Any]:
        statuses: list[dict[str, Any]] = self._status["initContainerStatuses"] + self._status["containerStatuses"]
        return next(status for status in statuses if status["name"] == name)


def _waiting(container: str) -> dict[str, Any]:
    return {
        "name": container,
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": "PodInitializing"}},
        "lastState": {},
    }
