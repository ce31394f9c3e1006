"""The cluster that KUBECONFIG names, with SQS, S3 and batchflow in a namespace of this session's own.

Without a cluster these tests fail, they don't skip. docs/development.md says what they need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import boto3
import pytest

from tests.cluster import installation
from tests.cluster.kit import Cluster
from tests.cluster.recorder import Recorder, recorder
from tests.servers import moto_server, sqs_server

BUCKET = "batchflow-tests"


@pytest.fixture(scope="session")
def host() -> str:
    return installation.host_for_pods()


@pytest.fixture(scope="session")
def sqs_url(host: str) -> str:
    """An SQS server that pods and this machine reach."""
    url = sqs_server(host)
    assert url, "no SQS server: set BATCHFLOW_TEST_SQS to one that pods reach"
    return url


@pytest.fixture(scope="session")
def s3_url(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server that pods and this machine reach: BATCHFLOW_TEST_S3, or moto's, a process of its own."""
    if given := os.environ.get("BATCHFLOW_TEST_S3"):
        yield given
        return
    with moto_server(tmp_path_factory.mktemp("moto") / "log", host) as url:
        yield url


@pytest.fixture(scope="session")
def step_image() -> str:
    return installation.step_image()


@pytest.fixture(scope="session")
def recording(host: str) -> Iterator[Recorder]:
    with recorder(host) as opened:
        yield opened


@pytest.fixture(scope="session")
def services(sqs_url: str, s3_url: str, recording: Recorder) -> Cluster:
    """All but a namespace."""
    installation.check_reachable()
    aws = installation.aws_environ(sqs_url, s3_url)
    keys = {"aws_access_key_id": aws["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": aws["AWS_SECRET_ACCESS_KEY"]}
    s3 = boto3.client("s3", region_name=aws["AWS_REGION"], endpoint_url=s3_url, **keys)
    sqs = boto3.client("sqs", region_name=aws["AWS_REGION"], endpoint_url=sqs_url, **keys)
    s3.create_bucket(Bucket=BUCKET)
    return Cluster("", {**aws, "KUBECONFIG": os.environ.get("KUBECONFIG", "")}, recording, BUCKET, s3, sqs)


@pytest.fixture(scope="session")
def cluster(services: Cluster, step_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A namespace with batchflow in it, for all tests that leave it whole."""
    with installation.namespace(services, step_image, tmp_path_factory.mktemp("cluster")) as opened:
        yield opened
