"""Argo as others call it: see engines/protocol.py for what each method does."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from threading import Event
from typing import Any, Final

from batchflow.contract import ARGO_CONTAINERS
from batchflow.engines.argo.kube import Kube
from batchflow.engines.argo.logs import log_lines, log_tail
from batchflow.engines.protocol import LogLine, Observation
from batchflow.errors import NotFound
from batchflow.settings import Settings
from batchflow.status import workflow as workflow_status
from batchflow.status.pods import name_of as pod_name

__all__ = ["ArgoEngine"]

LABEL_WORKFLOW: Final = "workflows.argoproj.io/workflow"


class ArgoEngine:
    """Runs workflows in the settings' namespace of the cluster that kubectl would talk to, or that this pod is in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _kube(self) -> Kube:
        return Kube(self._settings.namespace, context=self._settings.kube_context)

    @property
    def place(self) -> str:
        return f"namespace {self._settings.namespace}"

    def check(self, workflow: dict[str, Any]) -> None:
        self._kube.create_workflow(workflow, dry_run=True)

    def lacks(self, kind: str, name: str) -> bool:
        return self._kube.lacks(kind, name)

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        self._kube.create_workflow(workflow)

    def observe(self, name: str) -> Observation:
        # Pods first: seen the other way round, a pod could seem to be without a workflow that knows it.
        pods = self._pods(name)
        return Observation(self._kube.workflow(name), pods)

    def stop(self, name: str) -> None:
        if not self._kube.stop_workflow(name):
            where = f"namespace {self._settings.namespace}"
            raise NotFound(f"there is no workflow {name}", where=where, hint="if it was just submitted, try again")

    def kill(self, name: str) -> None:
        # Argo sends SIGKILL from within the container, whose first process, Argo's own, the kernel shields from that. Kubelet, which ends
        # the pods of a workflow that is deleted, does it from outside.
        if not self._kube.delete_workflow(name):
            for pod in self._pods(name):  # its workflow was deleted without them: kubectl delete --cascade=orphan
                self._kube.delete_pod(pod_name(pod))

    def delete(self, name: str) -> None:
        self._kube.delete_workflow(name)

    def logs(
        self,
        name: str,
        *,
        worker: str | None = None,
        container: str | None = None,
        follow: bool = False,
        without: Collection[str] = ARGO_CONTAINERS,
        stop: Event | None = None,
    ) -> Iterator[LogLine]:
        if self._kube.workflow(name) is None and not self._pods(name):
            raise NotFound(f"there is no workflow {name}", where=f"namespace {self._settings.namespace}")

        def finished() -> bool:
            workflow = self._kube.workflow(name)
            return workflow is None or workflow_status.ended(workflow)

        return log_lines(
            self._kube,
            lambda: self._pods(name),
            worker=worker,
            container=container,
            without=without,
            follow=follow,
            finished=finished,
            stop=stop,
        )

    def log_tail(self, name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        return log_tail(self._kube, pod, container, limit_bytes)

    def _pods(self, name: str) -> list[dict[str, Any]]:
        return self._kube.pods(f"{LABEL_WORKFLOW}={name}")
