"""What a test needs on a cluster before it can submit a job: servers that pods reach, an image, batchflow in a namespace."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import yaml

from batchflow import contract
from tests.acceptance.command import Terminal
from tests.cluster.kit import Cluster, run

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
STEP_IMAGE = "batchflow.local/step:test"
BUILD_S = 600
PERSON = "person"
CREDENTIALS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
SMALL = {"BATCHFLOW_STEP_CPU": "5m", "BATCHFLOW_STEP_MEMORY": "64Mi"}
QUICK = {
    "BATCHFLOW_GRACE_S": "10",
    "BATCHFLOW_VISIBILITY_S": "20",  # which is how long a lost worker's replacement stays
    "BATCHFLOW_HEARTBEAT_S": "5",
}


def host_for_pods() -> str:
    """This machine's address as pods see it."""
    address = os.environ.get("CLUSTER_GATEWAY")
    assert address, "CLUSTER_GATEWAY is not set: give the address at which pods reach this machine; see docs/development.md"
    return address


def check_reachable() -> None:
    """kubectl reaches a cluster that runs Argo's controller."""
    try:
        run("kubectl", "get", "customresourcedefinition", "workflows.argoproj.io")
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        raise AssertionError(f"no cluster with Argo Workflows: {error}; KUBECONFIG must name one, and PATH must have kubectl") from error


def step_image() -> str:
    """BATCHFLOW_TEST_IMAGE, which is there already, or this checkout's."""
    if given := os.environ.get("BATCHFLOW_TEST_IMAGE"):
        return given
    build(STEP_IMAGE, "--target", "step", "-f", str(REPOSITORY / "templates" / "docker" / "Dockerfile"), str(REPOSITORY))
    return STEP_IMAGE


def build(name: str, *arguments: str) -> None:
    """Build an image and bring it to the cluster's nodes: `BATCHFLOW_TEST_BUILD NAME ARGUMENTS`."""
    command = os.environ.get("BATCHFLOW_TEST_BUILD") or str(SHARED / "cluster" / "build")
    assert Path(command).exists(), f"no image can be built: set BATCHFLOW_TEST_BUILD to a program for it (there is no {command})"
    run(command, name, *arguments, timeout_s=BUILD_S)


def aws_environ(sqs_url: str, s3_url: str) -> dict[str, str]:
    """AWS's variables, for programs here and in pods."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL_SQS": sqs_url, "AWS_ENDPOINT_URL_S3": s3_url, "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def namespace(services: Cluster, image: str, folder: Path) -> Iterator[Cluster]:
    """One with batchflow and its gateway in it; deleted at the end with all that is in it."""
    name = f"bf-test-{uuid.uuid4().hex[:8]}"
    opened = replace(services, namespace=name, person=str(folder / "kubeconfig"), token=uuid.uuid4().hex)
    run("kubectl", "create", "namespace", name)
    try:
        install(opened, image, opened.terminal(folder))
        grant(opened, folder / "kubeconfig")
        yield opened
    finally:
        run("kubectl", "delete", "namespace", name, "--wait=false")


def install(cluster: Cluster, image: str, terminal: Terminal) -> None:
    """As an administrator does it: `batchflow install --gateway | kubectl apply`, and the Secrets that its comments name."""
    cluster.kubectl("apply", "-f", "-", stdin=printed(cluster, image, terminal))
    secrets = (
        (contract.AWS_SECRET, aws_keys(cluster)),
        (contract.CLIENT_SECRET, {contract.CLIENT_SECRET_KEY: cluster.token}),
        (contract.GATEWAY, credentials({cluster.token: cluster.namespace})),
    )
    for name, values in secrets:
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret(name, values)))


def printed(cluster: Cluster, image: str, terminal: Terminal) -> str:
    """The manifests."""
    store = f"s3://{cluster.bucket}/{cluster.namespace}"
    return terminal.run("install", "-n", cluster.namespace, "--store", store, "--image", image, "--gateway", **SMALL, **QUICK).out


def grant(cluster: Cluster, kubeconfig: Path) -> None:
    """A person with the Role that `install` printed for people, and a kubeconfig for them."""
    cluster.kubectl("create", "serviceaccount", PERSON)
    cluster.kubectl("create", "rolebinding", PERSON, "--role", "batchflow-user", "--serviceaccount", f"{cluster.namespace}:{PERSON}")
    config = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify"))
    token = cluster.kubectl("create", "token", PERSON, "--duration=12h").strip()
    config["users"] = [{"name": PERSON, "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = PERSON
    kubeconfig.write_text(json.dumps(config))


def credentials(tokens: Mapping[str, str]) -> dict[str, str]:
    """The values of the gateway's Secret, of the namespace for each token.

    For Verda's API the namespace is a client, too, with the token as its secret, and has an inference key; a deadline may be short.
    """
    document = {
        "tokens": [{"token": token, "namespace": namespace} for token, namespace in tokens.items()],
        "clients": [{"id": namespace, "secret": token, "namespace": namespace} for token, namespace in tokens.items()],
        "inference_keys": [{"key": inference_key(token), "namespace": namespace} for token, namespace in tokens.items()],
        "deadline_minimum_s": 1,
        "compute_resources": [{"name": "small", "resource": "", "requests": {"cpu": "20m"}}, {"name": "General Compute"}],
    }
    return {contract.CREDENTIALS_KEY: json.dumps(document)}


def inference_key(token: str) -> str:
    """That of the token's namespace."""
    return f"dc_{token}"


def aws_keys(cluster: Cluster) -> dict[str, str]:
    """The values of the Secret with AWS's credentials."""
    return {name: cluster.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


def secret(name: str, values: Mapping[str, str]) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(values)}
