"""The check workflow of `doctor`: two pods in the form of a job's own, which try what a job's pods do and report it as their output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from batchflow import contract
from batchflow.cluster.permissions import CLEANUP
from batchflow.errors import BatchflowError
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.api import parse_api
from batchflow.spec.model import ItemList, Submission

__all__ = ["ENV_PLACE", "HERE", "JOB_NAME", "OUTPUT_REPORT", "PODS", "Report", "check_workflow", "trial_job"]

JOB_NAME: Final = "batchflow-doctor"
OUTPUT_REPORT: Final = "report"
ENV_PLACE: Final = "BATCHFLOW_CHECK_PLACE"  # tells a pod which of PLACES it is
DEADLINE_S: Final = 180  # of the workflow: doctor itself gives up before
KEPT_S: Final = 300  # if `doctor` itself is cut off before it removes the workflow
LABEL_CHECK: Final = "batchflow/check"
# The templates of a job whose form the two pods have, and the service accounts that these run as.
PODS: Final = {contract.STEP_ENQUEUE: contract.STEP_ACCOUNT, contract.STEP_CLEANUP: CLEANUP.account}
# From where store and queues are tried: those two, and the machine that `doctor` runs on.
HERE: Final = "here"
PLACES: Final = (*PODS, HERE)

_API: Final = {"name": JOB_NAME, "kind": "BatchAPI", "pod": {"containers": [{"name": "none", "image": "none", "command": ["true"]}]}}


@dataclass(frozen=True, slots=True)
class Report:
    """What a pod tried and what went wrong with it: each error as (what, where, hint).

    Tried are `store`, `queues` and, by the pod in cleanup's form, `roles`: what cleanup reads of the cluster.
    """

    version: str  # major.minor of the batchflow in its image
    tried: Mapping[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, tried: Mapping[str, list[BatchflowError]]) -> Self:
        return cls(contract.VERSION, {area: [(e.what, e.where, e.hint) for e in errors] for area, errors in tried.items()})

    def dump(self) -> str:
        return orjson.dumps({"version": self.version, "tried": self.tried}).decode()

    @classmethod
    def load(cls, text: str) -> Self:
        document = orjson.loads(text)
        return cls(document["version"], {area: [(e[0], e[1], e[2]) for e in errors] for area, errors in document["tried"].items()})


def trial_job(job_id: str, place: str) -> JobRef:
    """Under whose name one of PLACES makes its queue and objects: as if each were another run of a job."""
    return JobRef(JOB_NAME, job_id, 1 + PLACES.index(place))


def check_workflow(job: JobRef, settings: Settings) -> dict[str, Any]:
    """The manifest, made of a compiled job's: containers, accounts, volumes and labels for the controller are those of any job."""
    from batchflow.compiler import compile_job  # hera takes most of a second to import

    submission = Submission(JOB_NAME, 1, ItemList([], 1), timeout_s=DEADLINE_S)
    manifest: dict[str, Any] = compile_job(submission, parse_api(_API, where=""), job, settings).to_dict()
    metadata, spec = manifest["metadata"], manifest["spec"]
    for labels in (metadata["labels"], spec["podMetadata"]["labels"]):
        for name in (contract.LABEL_API, contract.LABEL_JOB, contract.LABEL_RUN):  # it is no job, and nobody should find one
            labels.pop(name)
        labels[LABEL_CHECK] = job.job_id
    metadata["annotations"] = {"workflows.argoproj.io/title": "batchflow doctor"}
    del spec["onExit"]
    spec["ttlStrategy"] = {"secondsAfterCompletion": KEPT_S}
    pods = [_checking(template) for template in spec["templates"] if template["name"] in PODS]
    together = [{"name": pod["name"], "template": pod["name"]} for pod in pods]
    spec["templates"] = [{"name": spec["entrypoint"], "steps": [together]}, *pods]
    return manifest


def _checking(template: dict[str, Any]) -> dict[str, Any]:
    """The template, running `batchflow step check` once."""
    container = template["container"]
    container["command"] = [*container["command"][:-1], contract.STEP_CHECK]
    added = {ENV_PLACE: template["name"], contract.ENV_OUTPUTS: contract.OUTPUT_DIR}
    kept = [variable for variable in container["env"] if variable["name"] not in added]
    container["env"] = [*kept, *({"name": name, "value": value} for name, value in added.items())]
    del template["retryStrategy"]
    report = {"name": OUTPUT_REPORT, "valueFrom": {"path": f"{contract.OUTPUT_DIR}/{OUTPUT_REPORT}"}}
    return {**template, "outputs": {"parameters": [report]}}
