"""Where the queue is that both sides of a comparison use: an SQS server, near or as far away as the cloud, or a SQLite file."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from bench.harness import ROOT, BenchError, python, service

__all__ = ["FAR_MS", "NO_SQS", "SQLITE", "Place", "far", "find_sqs", "places", "s3_env"]

FAR_MS = 10.0  # a call in the cloud
NO_SQS = "there is no SQS server: see bench/README.md"
CREDENTIALS = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
}


@dataclass(frozen=True, slots=True)
class Place:
    """`server` is the SQS server itself, `address` how the processes that are measured reach it, both HOST:PORT; "" for SQLite."""

    name: str
    server: str = ""
    address: str = ""
    delay_ms: float = 0

    @property
    def backend(self) -> str:
        return "sqs" if self.server else "sqlite"

    @property
    def env(self) -> Mapping[str, str]:
        """With which a process that is measured, ours or a bare one, finds the server; on SQLite nothing."""
        return _sqs_env(self.address) if self.server else {}

    @property
    def direct_env(self) -> Mapping[str, str]:
        """As `env`, but never through the proxy: for who makes, fills and checks queues."""
        return _sqs_env(self.server) if self.server else {}


SQLITE = Place("SQLite")


def places(*delays_ms: float, sqlite: bool = True) -> Iterator[Place]:
    """SQS at each of these delays a call, if there is a server, then SQLite; each is there until the next one is asked for."""
    if server := find_sqs():
        for delay_ms in delays_ms:
            with far(server, delay_ms) if delay_ms else nullcontext(server) as address:
                yield Place(f"SQS at {delay_ms:g} ms", server, address, delay_ms)
    if sqlite:
        yield SQLITE


def find_sqs() -> str | None:
    """HOST:PORT of a real SQS server on this machine: $BATCHFLOW_BENCH_SQS, else the one that ../shared/sqs/up starts, else None."""
    url = os.environ.get("BATCHFLOW_BENCH_SQS", "")
    up = ROOT.parent / "shared" / "sqs" / "up"
    if not url and up.exists():
        url = subprocess.run([up], capture_output=True, text=True, timeout=300, check=True).stdout
    if not url:
        return None
    match = re.search(r"http://((?:127\.0\.0\.1|localhost):\d+)", url)
    if not match:
        raise BenchError(f'BATCHFLOW_BENCH_SQS: "{url}" is not http://127.0.0.1:PORT; load is for loopback only')
    return match[1]


@contextmanager
def far(address: str, delay_ms: float) -> Iterator[str]:
    """The same server behind the proxy: its HOST:PORT."""
    with service(python("bench.proxy", address, str(delay_ms))) as port:
        yield f"127.0.0.1:{port}"


def s3_env(port: int) -> dict[str, str]:
    """With which a process, ours or a bare one, reads from the S3 server at that port."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}


def _sqs_env(address: str) -> dict[str, str]:
    return {**CREDENTIALS, "AWS_ENDPOINT_URL_SQS": f"http://{address}", "BATCHFLOW_QUEUES": "sqs"}
