"""The workflow with its status in Argo's shape, all changes under one lock. Names, ids and links are Argo's own."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from batchflow.engines.local.podstatus import now

__all__ = ["WorkflowStatus", "pod_name"]

# A node's display name is its name below its boundary, without the group's `[0].`
_GROUP_PREFIX: Final = re.compile(r"^(\[\d+\])?\.")

# Kubernetes' limit for what must also fit into a label.
_MAX_NAME: Final = 63
_MAX_HASH: Final = 10  # decimal digits of 32 bits


def _fnv32a(text: str) -> int:
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value


def pod_name(workflow: str, template: str, node_name: str) -> str:
    """Argo's name for the pod of a node, but cut so that it fits into 63 characters; unique by the node's name."""
    prefix = f"{workflow}-{template}"[: _MAX_NAME - _MAX_HASH - 1]
    return f"{prefix}-{_fnv32a(node_name)}"


class WorkflowStatus:
    """The Workflow object as Argo would write it while running it."""

    def __init__(self, workflow: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        self._changed = True
        self._workflow = copy.deepcopy(dict(workflow))
        self._name = str(workflow["metadata"]["name"])
        self._nodes: dict[str, dict[str, Any]] = {}
        self._status: dict[str, Any] = {"phase": "Running", "startedAt": now(), "progress": "0/0", "nodes": self._nodes}
        self._workflow["status"] = self._status
        self._workflow["metadata"].setdefault("creationTimestamp", now())

    def node_id(self, name: str) -> str:
        return name if name == self._name else f"{self._name}-{_fnv32a(name)}"

    def add(
        self,
        name: str,
        type_: str,
        *,
        template: str = "",
        boundary: str = "",
        flags: Iterable[str] = (),
        phase: str = "Running",
        message: str = "",
    ) -> str:
        """Add a node; `boundary` is the name of the Steps node that it belongs to. Returns its id."""
        node: dict[str, Any] = {
            "id": self.node_id(name),
            "name": name,
            "displayName": _GROUP_PREFIX.sub("", name.removeprefix(boundary)) if boundary else name,
            "type": type_,
            "phase": phase,
            "startedAt": now(),
        }
        optional: dict[str, Any] = {
            "templateName": template,
            "boundaryID": self.node_id(boundary) if boundary else "",
            "nodeFlag": dict.fromkeys(flags, True),
            "message": message,
            "finishedAt": now() if phase == "Skipped" else "",
            "progress": "0/1" if type_ == "Pod" else "",
        }
        node |= {key: value for key, value in optional.items() if value}
        with self._lock:
            self._nodes[node["id"]] = node
            self._count_progress()
        return str(node["id"])

    def link(self, parents: Iterable[str], child: str) -> None:
        """Make the node `child` a child of each of `parents` (ids)."""
        with self._lock:
            for parent in parents:
                self._nodes[parent].setdefault("children", []).append(child)
            self._changed = True

    def start(self, node_id: str) -> None:
        """A pending pod's main runs."""
        with self._lock:
            self._nodes[node_id]["phase"] = "Running"
            self._changed = True

    def finish(self, node_id: str, phase: str, message: str = "", outputs: Mapping[str, Any] | None = None) -> None:
        with self._lock:
            node = self._nodes[node_id]
            node.update(phase=phase, finishedAt=now())
            if message:
                node["message"] = message
            if outputs:
                node["outputs"] = dict(outputs)
            if phase == "Succeeded" and "progress" in node:
                total = node["progress"].partition("/")[2]
                node["progress"] = f"{total}/{total}"
            self._count_progress()

    def set_progress(self, node_id: str, progress: str) -> None:
        """`progress` is `N/M`; one read too late, after the node ended, is dropped."""
        with self._lock:
            node = self._nodes[node_id]
            if "finishedAt" not in node and node["progress"] != progress:
                node["progress"] = progress
                self._count_progress()

    def shut_down(self) -> None:
        """Note that a stop was asked for; no effect the second time."""
        with self._lock:
            self._changed |= self._workflow["spec"].get("shutdown") != "Stop"
            self._workflow["spec"]["shutdown"] = "Stop"

    def finish_workflow(self, phase: str, message: str) -> None:
        with self._lock:
            self._status.update(phase=phase, finishedAt=now())
            if message:
                self._status["message"] = message
            self._changed = True

    def dump_if_changed(self) -> bytes | None:
        """The workflow as JSON; None if nothing changed since the last call."""
        with self._lock:
            if not self._changed:
                return None
            self._changed = False
            return orjson.dumps(self._workflow)

    def _count_progress(self) -> None:
        """The workflow's progress is the sum over its pods."""
        counts = [node["progress"].split("/") for node in self._nodes.values() if "progress" in node]
        self._status["progress"] = f"{sum(int(done) for done, _ in counts)}/{sum(int(total) for _, total in counts)}"
        self._changed = True
