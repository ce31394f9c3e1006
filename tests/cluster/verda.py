"""Job deployments on the cluster, through Verda's own SDK, and what their replicas told the test's recorder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from verda import VerdaClient
from verda.containers import ComputeResource, Container, EntrypointOverridesSettings, EnvVar, EnvVarType, HealthcheckSettings
from verda.inference_client import AsyncInferenceExecution, AsyncStatus, InferenceClient
from verda.job_deployments import JobDeployment, JobScalingOptions

from batchflow import contract
from tests.acceptance.command import Json, until
from tests.cluster.gateway import Answer, Gateway
from tests.cluster.installation import inference_key
from tests.cluster.kit import JOB_S, Cluster
from tests.cluster.recorder import Note

REPLICA = Path(__file__).with_name("replica")
IMAGE = "batchflow.local/replica:test"  # built of that folder
PORT = 8000
DELETION_MS = 120_000


def job_deployment(
    cluster: Cluster,
    name: str,
    *,
    replicas: int = 2,
    deadline_s: int = 600,
    secret: str = "",
    overrides: bool = True,
    image: str = IMAGE,
) -> JobDeployment:
    """Of the replica's app. `secret` is the name of one for its variable SECRET."""
    env = {"NOTEBOOK": name, "RECORDER": cluster.recorder.url}
    variables = [EnvVar(key, value, EnvVarType.PLAIN) for key, value in env.items()]
    if secret:
        variables.append(EnvVar("SECRET", secret, EnvVarType.SECRET))
    command = EntrypointOverridesSettings(enabled=overrides, entrypoint=["python3"], cmd=["/app.py"])
    return JobDeployment(
        name=name,
        containers=[
            Container(
                image=image,
                exposed_port=PORT,
                healthcheck=HealthcheckSettings(enabled=True, port=PORT, path="/health"),
                entrypoint_overrides=command,
                env=variables,
            )
        ],
        compute=ComputeResource(name="small", size=1),
        scaling=JobScalingOptions(max_replica_count=replicas, queue_message_ttl_seconds=3600, deadline_seconds=deadline_s),
    )


@dataclass(frozen=True)
class Verda:
    """The SDK's clients at one gateway, which may go; another one then knows the same."""

    cluster: Cluster
    gateway: Gateway

    @property
    def jobs(self) -> Any:
        """The SDK's service for job deployments."""
        return VerdaClient(self.cluster.namespace, self.cluster.token, base_url=f"{self.gateway.url}/v1").job_deployments

    def create(self, name: str, **options: Any) -> JobDeployment:
        return self.jobs.create(job_deployment(self.cluster, name, **options))

    def inference(self, name: str) -> InferenceClient:
        return InferenceClient(inference_key(self.cluster.token), self.jobs.get_by_name(name).endpoint_base_url)

    def run(self, name: str, path: str, data: Json | None = None, *, id: str | None = None) -> AsyncInferenceExecution:
        return self.inference(name).run(data or {}, path=path, headers={"X-Inference-Id": id} if id else {})

    def execution(self, name: str, id: str) -> AsyncInferenceExecution:
        """One that was run before."""
        return AsyncInferenceExecution(self.inference(name), id, AsyncStatus.Initialized)

    def fetch(self, what: str, name: str, id: str) -> Answer:
        """`status` or `result`, with the status code, which the SDK does not show."""
        return self.gateway.call("GET", f"/{what}/{name}", headers={"X-Inference-Id": id}, token=inference_key(self.cluster.token))


def wait_for(execution: AsyncInferenceExecution, status: str) -> Json:
    """Poll as the SDK's examples do; returns the status as JSON."""
    seen: list[Json] = []

    def reached() -> Json | None:
        seen[:] = [execution.status_json()]
        return seen[0] if seen[0]["Status"] == status else None

    found: Json = until(reached, status, lambda: seen, limit_s=JOB_S, pause_s=0.5)
    return found


def completed(execution: AsyncInferenceExecution) -> str | None:
    """Wait for the end; returns the error."""
    error: str | None = wait_for(execution, "Completed")["Error"]
    return error


def workflows(cluster: Cluster, name: str) -> list[str]:
    """The names of a deployment's."""
    return [one["metadata"]["name"] for one in cluster.objects("workflows", f"{contract.LABEL_DEPLOYMENT}={name}")]


def pods(cluster: Cluster, name: str) -> list[Json]:
    """A deployment's, oldest first."""
    return cluster.objects("pods", f"{contract.LABEL_DEPLOYMENT}={name}")


def notes(cluster: Cluster, name: str, event: str) -> list[Note]:
    """What a deployment's replicas told with that word, in order."""
    return [note for note in cluster.recorder.notes(name) if note.event == event]


def began(cluster: Cluster, name: str) -> list[str]:
    """The ids of the calls that reached a replica, in order."""
    return [note.payload for note in notes(cluster, name, "began")]


def pod_of(cluster: Cluster, name: str, id: str) -> str:
    """The pod that got that call."""
    return next(note.pod for note in notes(cluster, name, "began") if note.payload == id)


def most_at_once(cluster: Cluster, name: str) -> int:
    """How many replicas ran at once at most, as they told it and as kubelet did; all must be over, and their pods still be there."""
    told = [{"up": 1, "down": -1}.get(note.event, 0) for note in cluster.recorder.notes(name)]
    times = sorted(change for pod in pods(cluster, name) for change in _changes(pod))  # in a second that both have, ends come first
    return max(_highest(told), _highest([change for _, change in times]))


def _changes(pod: Json) -> list[tuple[datetime, int]]:
    [main] = [one for one in pod["status"]["containerStatuses"] if one["name"] == contract.CONTAINER_MAIN]
    ended = main["state"]["terminated"]
    return [(datetime.fromisoformat(ended["startedAt"]), 1), (datetime.fromisoformat(ended["finishedAt"]), -1)]


def _highest(changes: list[int]) -> int:
    sums = [sum(changes[:end]) for end in range(len(changes) + 1)]
    return max(sums)
