"""`batchflow serve` as Verda's own SDK sees it: a gateway on the local engine with credentials, and deployments of `replica.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from verda import VerdaClient
from verda.containers import ComputeResource, Container, EntrypointOverridesSettings, EnvVar, EnvVarType, HealthcheckSettings
from verda.inference_client import AsyncInferenceExecution, AsyncStatus, InferenceClient
from verda.job_deployments import JobDeployment, JobScalingOptions

from tests.acceptance.command import HANG_S, Terminal, until
from tests.acceptance.gateway.kit import Answer, Gateway, serving

REPLICA = Path(__file__).with_name("replica.py")
CLIENT, SECRET, KEY = "client-of-ours", "secret-0123456789abcdef", "dc_0123456789abcdef"
OTHER_CLIENT, OTHER_SECRET, OTHER_KEY = "client-of-theirs", "secret-fedcba9876543210", "dc_fedcba9876543210"
DELETION_MS = 60_000

Note = list[Any]


def write_credentials(file: Path) -> None:
    """Two tenants; a deadline may be short."""
    document = {
        "clients": [
            {"id": CLIENT, "secret": SECRET, "namespace": "batchflow"},
            {"id": OTHER_CLIENT, "secret": OTHER_SECRET, "namespace": "other"},
        ],
        "inference_keys": [{"key": KEY, "namespace": "batchflow"}, {"key": OTHER_KEY, "namespace": "other"}],
        "deadline_minimum_s": 1,
    }
    file.write_text(json.dumps(document))


def job_deployment(
    name: str,
    notes: Path,
    *,
    replicas: int = 2,
    ttl_s: int = 600,
    deadline_s: int = 300,
    start: str = "",
    entrypoint: list[str] | None = None,
) -> JobDeployment:
    """Of replica.py, unless an entrypoint is named."""
    env = {"NOTES": str(notes), "START": start}
    return JobDeployment(
        name=name,
        containers=[
            Container(
                image="registry.example/replica:1",
                exposed_port=8000,
                healthcheck=HealthcheckSettings(enabled=True, port=8000, path="/health"),
                entrypoint_overrides=EntrypointOverridesSettings(enabled=True, entrypoint=entrypoint or [sys.executable, str(REPLICA)]),
                env=[EnvVar(key, value, EnvVarType.PLAIN) for key, value in env.items()],
            )
        ],
        compute=ComputeResource(name="CPUNode", size=1),
        scaling=JobScalingOptions(max_replica_count=replicas, queue_message_ttl_seconds=ttl_s, deadline_seconds=deadline_s),
    )


class Verda:
    """A gateway, and the SDK's client of one tenant. The gateway may be started again, then at another address."""

    def __init__(self, gateway: Gateway, *, client: str = CLIENT, secret: str = SECRET, key: str = KEY) -> None:
        self.gateway = gateway
        self.key = key
        self._credentials = (client, secret)

    @property
    def client(self) -> VerdaClient:
        return VerdaClient(*self._credentials, base_url=f"http://127.0.0.1:{self.gateway.port}/v1")

    @property
    def jobs(self) -> Any:
        """The SDK's service for job deployments."""
        return self.client.job_deployments

    def names(self) -> list[str]:
        """Of the deployments that there are."""
        return [deployment.name for deployment in self.jobs.get()]

    def inference(self, name: str) -> InferenceClient:
        base_url = self.jobs.get_by_name(name).endpoint_base_url
        assert base_url == f"http://127.0.0.1:{self.gateway.port}/{name}"
        return InferenceClient(self.key, base_url)

    @contextmanager
    def deployed(self, name: str, **options: Any) -> Iterator[Deployed]:
        """A deployment of replica.py, which is gone in the end with all its replicas, if the test has not deleted it."""
        notes = Path(mkdtemp(dir=self.gateway.shell.folder)) / "notes"
        self.jobs.create(job_deployment(name, notes, **options))
        try:
            yield Deployed(self, name, notes)
        finally:
            if name in self.names():
                self.jobs.delete(name, timeout=DELETION_MS)
        assert name not in self.names()


@dataclass
class Deployed:
    """A deployment under test."""

    verda: Verda
    name: str
    notes_file: Path

    @property
    def inference(self) -> InferenceClient:
        return self.verda.inference(self.name)

    def run(self, path: str, data: Any = None, *, id: str | None = None, method: str = "POST") -> AsyncInferenceExecution:
        headers = {"X-Inference-Id": id} if id else {}
        execution = self.inference.run(data or {}, path=path, headers=headers, http_method=method)
        assert id is None or execution.id == id
        return execution

    def execution(self, id: str) -> AsyncInferenceExecution:
        """One that was run before, perhaps through another gateway."""
        return AsyncInferenceExecution(self.inference, id, AsyncStatus.Initialized)

    def request(self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str) -> Answer:
        """Below the deployment's own path, without the SDK; a header's name may have underscores for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.verda.gateway.request(method, f"/{self.name}{path}", body, headers=named, token=self.verda.key)

    def fetch(self, what: str, id: str, *, method: str = "GET") -> Answer:
        """`status` or `result`, with everything that the SDK does not show."""
        return self.verda.gateway.request(method, f"/{what}/{self.name}", headers={"X-Inference-Id": id}, token=self.verda.key)

    def open(self, gate: str) -> None:
        self.notes_file.with_name(gate).touch()

    def notes(self, event: str) -> list[Note]:
        """What the replicas noted with that word, in order, without the word: each begins with the process's id."""
        lines = self.notes_file.read_text().splitlines() if self.notes_file.exists() else []
        return [rest for word, *rest in map(json.loads, lines) if word == event]

    def began(self) -> list[str]:
        """The ids of the calls that reached a replica, in order."""
        return [note[1] for note in self.notes("began")]

    def most_at_once(self) -> int:
        """How many replicas were up at once at most; one that was killed counts as up for ever."""
        up = most = 0
        for line in self.notes_file.read_text().splitlines():
            up += {"up": 1, "down": -1}.get(json.loads(line)[0], 0)
            most = max(most, up)
        return most


def wait_for(execution: AsyncInferenceExecution, status: str, *, limit_s: float = HANG_S) -> Any:
    """Poll as the SDK's examples do; returns the status as JSON."""
    return until(lambda: (found := execution.status_json())["Status"] == status and found, status, execution.status_json, limit_s=limit_s)


def completed(execution: AsyncInferenceExecution) -> str | None:
    """Wait for the end; returns the error."""
    error: str | None = wait_for(execution, "Completed")["Error"]
    return error


@contextmanager
def serving_verda(shell: Terminal, **environ: str) -> Iterator[Verda]:
    file = shell.folder / "credentials.json"
    write_credentials(file)
    with serving(shell, token=KEY, BATCHFLOW_CREDENTIALS=str(file), BATCHFLOW_GRACE_S="3", **environ) as gateway:
        yield Verda(gateway)
