"""A namespace of the bench's own on the cluster that KUBECONFIG names, with batchflow, S3 and SQS in the reach of its pods."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import ROOT, BenchError, run
from bench.start import batchflow

__all__ = ["Namespace", "namespace"]

SHARED = ROOT.parent / "shared"
IMAGE = "batchflow.local/step:bench"
BUCKET = "bench"
COMMAND_S = 120
BUILD_S = 900
START_S = 60


@dataclass(frozen=True, slots=True)
class Namespace:
    """`env`: with which the command works there."""

    name: str
    env: Mapping[str, str]

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            ["kubectl", "-n", self.name, *arguments], input=stdin, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        if done.returncode:
            raise BenchError(f"kubectl {' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout

    def workflow(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "workflow", name, "-o", "json"))
        return found


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Build the step image, start the servers, install batchflow; the namespace is deleted at the end. Raises BenchError."""
    gateway = os.environ.get("CLUSTER_GATEWAY")
    if not gateway or not os.environ.get("KUBECONFIG"):
        raise BenchError("needs a cluster: set KUBECONFIG, and CLUSTER_GATEWAY to this machine's address as pods see it")
    run(
        [str(SHARED / "cluster" / "build"), IMAGE, "--target", "step", "-f", "templates/docker/Dockerfile", "."],
        timeout_s=BUILD_S,
        reports=False,
    )
    # Not through a pipe: the server would inherit it and keep it open.
    printed = subprocess.run(
        [SHARED / "sqs" / "up", gateway], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    with _moto(gateway) as s3:
        env = {
            "AWS_ENDPOINT_URL_SQS": printed.split()[1].partition("=")[2],
            "AWS_ENDPOINT_URL_S3": s3,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "BATCHFLOW_NAMESPACE": f"batchflow-bench-{os.getpid()}",
        }
        opened = Namespace(env["BATCHFLOW_NAMESPACE"], env)
        try:
            _install(opened)
            yield opened
        finally:
            opened.kubectl("delete", "namespace", opened.name, "--wait=false")


def _install(opened: Namespace) -> None:
    arguments = ["install", "--create-namespace", "--store", f"s3://{BUCKET}/store", "--image", IMAGE]
    manifests = subprocess.run(
        batchflow(*arguments), env={**os.environ, **opened.env}, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    if manifests.returncode:
        raise BenchError(f"batchflow install: {manifests.stderr}")
    opened.kubectl("apply", "-f", "-", stdin=manifests.stdout)
    keys = [f"--from-literal={name}={opened.env[name]}" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    opened.kubectl("create", "secret", "generic", "batchflow-aws", *keys)


@contextmanager
def _moto(host: str) -> Iterator[str]:
    """The URL of an S3 server with the bucket."""
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    url = f"http://{host}:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path("/"),
    )
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT"), timeout=10).close()
                break
            except OSError as error:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"moto's server did not start: {error}") from None
                time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()
