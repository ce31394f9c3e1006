"""What a check workflow shows: its nodes, its pods and their reports as findings. Nothing is read here.

Phases and messages are Argo's, as seen on a real cluster: a pod that waits has Kubernetes' reason in its node's message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from batchflow import contract
from batchflow.cluster.check import OUTPUT_REPORT, PODS, Report
from batchflow.cluster.doctor import FAIL, INSTALL_AGAIN, OK, Finding, argo_version, service_hint
from batchflow.settings import Settings
from batchflow.status import workflow as workflow_status

__all__ = ["CHECKED_S", "TAKEN_UP_S", "check_result"]

TAKEN_UP_S: Final = 30.0
CHECKED_S: Final = 120.0

# A pod that waits for one of these may yet get on: an image is being pulled, a node may join the cluster.
_PATIENT: Final = ("", "PodInitializing", "ContainerCreating", "Unschedulable")
_AREAS: Final = {"store": "can be used", "queues": "one was made, used and removed", "roles": "may read workflow, pods and logs"}
# Why a pod gets no further: a part of the text, what it is about, how to mend it.
_REASONS: Final = (
    ("exceeded quota", "pods", "have the quota raised, or end other work in the namespace"),
    ("runAsNonRoot", "image", "use an image that says USER and a number, as templates/docker/Dockerfile does"),
    ("Image", "image", "let nodes pull it: batchflow install --image; for a private registry BATCHFLOW_IMAGE_PULL_SECRETS"),
    ("not found", "pods", INSTALL_AGAIN),
    ("is forbidden", "roles", INSTALL_AGAIN),
    ("Unschedulable", "pods", "add nodes, or ask for less: BATCHFLOW_STEP_CPU, BATCHFLOW_STEP_MEMORY"),
    ("exit code", "image", "use the image of this version: batchflow install --image"),
)

Json = Mapping[str, Any]


def check_result(
    workflow: Json | None, pods: Sequence[Json], elapsed_s: float, settings: Settings, said: Callable[[str], str]
) -> list[Finding] | None:
    """The findings; None as long as it is worth waiting for more.

    `said(pod)` gives the last line that a pod's main container printed; it is asked for a pod that failed without a report.
    """
    if workflow is None:
        return [Finding(FAIL, "pods", "somebody deleted the check workflow", "run batchflow doctor again")]
    nodes = {PODS[node["templateName"]]: node for node in workflow_status.nodes(workflow).values() if node.get("templateName") in PODS}
    reports = {account: report for account, node in nodes.items() if (report := _report(node))}
    silent = [node for account, node in nodes.items() if account not in reports]
    stuck = [node for node in silent if _is_stuck(node)]
    taken_up = bool(workflow.get("status", {}).get("phase"))
    waiting = len(reports) < len(PODS) and not stuck
    if waiting and not workflow_status.ended(workflow) and elapsed_s < (CHECKED_S if taken_up else TAKEN_UP_S):
        return None
    if not taken_up:
        return [_not_taken_up(settings)]
    found = [Finding(OK, "controller", "it took up a workflow")]
    if image := next(filter(None, map(_executor_image, pods)), ""):
        found.append(argo_version(image))
    found += _of_reports(reports, settings)
    if len(reports) < len(PODS):
        names = {pod["metadata"].get("annotations", {}).get(contract.NODE_ID): pod["metadata"]["name"] for pod in pods}
        texts = [_why(node, names.get(node["id"]), said) for node in stuck or silent] or [str(workflow["status"].get("message") or "")]
        # Both pods often have the same trouble, and each text may name its pod.
        found += {(f.check, f.hint): f for f in (_of_text(text, settings) for text in texts)}.values()
    return found


def _report(node: Json) -> Report | None:
    for parameter in (node.get("outputs") or {}).get("parameters") or ():
        if parameter["name"] == OUTPUT_REPORT and parameter.get("value"):
            return Report.load(parameter["value"])
    return None


def _is_stuck(node: Json) -> bool:
    return node.get("phase") in ("Failed", "Error") or str(node.get("message") or "").partition(":")[0] not in _PATIENT


def _not_taken_up(settings: Settings) -> Finding:
    hint = f"see that Argo's workflow-controller runs and is in charge of namespace {settings.namespace}"
    if settings.instance_id:
        hint += f" and of instance id {settings.instance_id}"
    return Finding(FAIL, "controller", f"no controller took up a workflow within {TAKEN_UP_S:.0f} s", hint)


def _executor_image(pod: Json) -> str:
    """Of Argo's own container."""
    return next((c["image"] for c in pod.get("spec", {}).get("containers", ()) if c["name"] in contract.ARGO_CONTAINERS), "")


def _of_reports(reports: Mapping[str, Report], settings: Settings) -> Iterator[Finding]:
    image = settings.image or "the default image"
    for version in sorted({report.version for report in reports.values()}):
        if version == contract.VERSION:
            yield Finding(OK, "image", f"{image} can be pulled, and is of batchflow {version}")
        else:
            yield Finding(FAIL, "image", f"{image} is of batchflow {version}", f"use one of {contract.VERSION}: batchflow install --image")
    for area, works in _AREAS.items():
        trying = {account: report.tried[area] for account, report in reports.items() if area in report.tried}
        for account, errors in trying.items():
            for what, where, hint in errors:
                mend = INSTALL_AGAIN if area == "roles" else service_hint(what) or hint
                yield Finding(FAIL, area, f"from a pod, as {account}: {where}: {what}", mend)
        if trying and not any(trying.values()):
            yield Finding(OK, area, f"from a pod, as {' and '.join(trying)}: {works}")


def _why(node: Json, pod: str | None, said: Callable[[str], str]) -> str:
    """Why there is no report from this node's pod."""
    message = str(node.get("message") or "it did not start")
    if pod and node.get("phase") == "Failed" and (line := said(pod)):
        return f"{message}: {line}"
    return message


def _of_text(text: str, settings: Settings) -> Finding:
    for part, check, hint in _REASONS:
        if part in text:
            return Finding(FAIL, check, f"the check's pods: {text}", hint)
    hint = f"see kubectl -n {settings.namespace} get events"
    return Finding(FAIL, "pods", f"the check's pods did not report within {CHECKED_S:.0f} s: {text}", hint)
