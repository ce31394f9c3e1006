"""The cluster that KUBECONFIG names, with SQS, S3 and batchflow in a namespace of this session's own.

Without a cluster these tests fail, they don't skip. docs/development.md says what they need.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
import yaml

from batchflow import contract
from tests.acceptance.command import Terminal, until
from tests.cluster.kit import Cluster, run
from tests.cluster.recorder import Recorder, recorder

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
STEP_IMAGE = "batchflow.local/step:test"
BUILD_S = 600
SQS_UP_S = 600  # its first start on a machine fetches it
SERVER_START_S = 120
PERSON = "person"
BUCKET = "batchflow-tests"
CREDENTIALS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture(scope="session")
def host() -> str:
    """This machine's address as pods see it."""
    address = os.environ.get("CLUSTER_GATEWAY")
    if not address:
        pytest.fail("CLUSTER_GATEWAY is not set: give the address at which pods reach this machine; see docs/development.md")
    return address


@pytest.fixture(scope="session")
def reachable() -> None:
    """kubectl reaches a cluster that runs Argo's controller."""
    try:
        run("kubectl", "get", "customresourcedefinition", "workflows.argoproj.io")
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        pytest.fail(f"no cluster with Argo Workflows: {error}; KUBECONFIG must name one, and PATH must have kubectl")


@pytest.fixture(scope="session")
def sqs_url(host: str) -> str:
    """An SQS server that pods and this machine reach: BATCHFLOW_TEST_SQS, or ElasticMQ, which is left running."""
    if given := os.environ.get("BATCHFLOW_TEST_SQS"):
        return given
    up = SHARED / "sqs" / "up"
    if not up.exists():
        pytest.fail(f"no SQS server: set BATCHFLOW_TEST_SQS to one that pods reach (there is no {up})")
    # By DEVNULL and a file, not a pipe: the server inherits what it is given, and would keep a pipe open.
    printed = subprocess.run([up, host], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=SQS_UP_S, check=True)
    name, _, url = printed.stdout.split()[1].partition("=")
    assert name == "AWS_ENDPOINT_URL_SQS"
    return url


@pytest.fixture(scope="session")
def s3_url(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server that pods and this machine reach: BATCHFLOW_TEST_S3, or moto's, a process of its own."""
    if given := os.environ.get("BATCHFLOW_TEST_S3"):
        yield given
        return
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        until(lambda: _listens(host, port) or server.poll() is not None, "moto's server", log.read_text, limit_s=SERVER_START_S)
        assert server.poll() is None, log.read_text()[-2000:]
        yield f"http://{host}:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def aws(sqs_url: str, s3_url: str) -> dict[str, str]:
    """AWS's variables, for programs here and in pods."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL_SQS": sqs_url, "AWS_ENDPOINT_URL_S3": s3_url, "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="session")
def step_image() -> str:
    """BATCHFLOW_TEST_IMAGE, which is there already, or this checkout's."""
    if given := os.environ.get("BATCHFLOW_TEST_IMAGE"):
        return given
    build(STEP_IMAGE, "--target", "step", "-f", str(REPOSITORY / "templates" / "docker" / "Dockerfile"), str(REPOSITORY))
    return STEP_IMAGE


def build(name: str, *arguments: str) -> None:
    """Build an image and bring it to the cluster's nodes: `BATCHFLOW_TEST_BUILD NAME ARGUMENTS`."""
    command = os.environ.get("BATCHFLOW_TEST_BUILD") or str(SHARED / "cluster" / "build")
    if not Path(command).exists():
        pytest.fail(f"no image can be built: set BATCHFLOW_TEST_BUILD to a program for it (there is no {command})")
    run(command, name, *arguments, timeout_s=BUILD_S)


@pytest.fixture(scope="session")
def recording(host: str) -> Iterator[Recorder]:
    with recorder(host) as opened:
        yield opened


@pytest.fixture(scope="session")
def services(reachable: None, aws: dict[str, str], recording: Recorder) -> Cluster:
    """All but a namespace."""
    environ = {**aws, "KUBECONFIG": os.environ.get("KUBECONFIG", "")}
    region = aws["AWS_REGION"]
    keys = {"aws_access_key_id": aws["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": aws["AWS_SECRET_ACCESS_KEY"]}
    s3 = boto3.client("s3", region_name=region, endpoint_url=aws["AWS_ENDPOINT_URL_S3"], **keys)
    sqs = boto3.client("sqs", region_name=region, endpoint_url=aws["AWS_ENDPOINT_URL_SQS"], **keys)
    s3.create_bucket(Bucket=BUCKET)
    return Cluster("", environ, recording, BUCKET, s3, sqs)


@pytest.fixture(scope="session")
def cluster(services: Cluster, step_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A namespace with batchflow in it, for all tests that leave it whole."""
    with namespace(services, step_image, tmp_path_factory.mktemp("cluster")) as opened:
        yield opened


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
    keys = {name: cluster.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    for name, values in (
        (contract.AWS_SECRET, keys),
        (contract.CLIENT_SECRET, {contract.CLIENT_SECRET_KEY: cluster.token}),
        (contract.GATEWAY, credentials({cluster.token: cluster.namespace})),
    ):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret(name, values)))


def printed(cluster: Cluster, image: str, terminal: Terminal) -> str:
    """The manifests."""
    settings = {
        "BATCHFLOW_STEP_CPU": "5m",
        "BATCHFLOW_STEP_MEMORY": "64Mi",
        "BATCHFLOW_GRACE_S": "10",
        "BATCHFLOW_VISIBILITY_S": "20",  # which is how long a lost worker's replacement stays
        "BATCHFLOW_HEARTBEAT_S": "5",
    }
    store = f"s3://{cluster.bucket}/{cluster.namespace}"
    return terminal.run("install", "-n", cluster.namespace, "--store", store, "--image", image, "--gateway", **settings).out


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
    """The values of the gateway's Secret, of the namespace for each token."""
    listed = [{"token": token, "namespace": namespace} for token, namespace in tokens.items()]
    return {contract.CREDENTIALS_KEY: json.dumps({"tokens": listed})}


def secret(name: str, values: Mapping[str, str]) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(values)}


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
