"""What a local job's store and queues are, and how the checker's evidence is read from them, past batchflow and past the proxies."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import boto3

from tests.servers import moto_server, sqs_server

__all__ = ["Amazon", "Directory", "Services", "amazon"]

BUCKET: Final = "faults"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
LAST_LOOK_S: Final = 1
Letter = Mapping[str, Any]


class Services(Protocol):
    """Store and queues of a job."""

    @property
    def urls(self) -> Mapping[str, str]:
        """The servers to put proxies before, by sqs and s3."""
        ...

    def settings(self, urls: Mapping[str, str]) -> dict[str, str]:
        """batchflow's environment, with these servers."""
        ...

    def stored(self, prefix: str) -> list[tuple[str, float]]:
        """The text of every object of the store whose key starts so, in the order of the keys, and when it was written."""
        ...

    def queues(self) -> list[str]:
        """The names of all queues of jobs."""
        ...

    def create_queue(self, name: str) -> None:
        """A dead-letter queue; none if the name is empty."""
        ...

    def remove_queue(self, name: str) -> None: ...

    def messages(self, name: str) -> Iterator[Letter]:
        """All messages of a dead-letter queue: see Evidence."""
        ...


class Directory:
    """A directory as store, queues in SQLite's files below it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def urls(self) -> Mapping[str, str]:
        return {}

    def settings(self, urls: Mapping[str, str]) -> dict[str, str]:
        return {}

    def stored(self, prefix: str) -> list[tuple[str, float]]:
        path = self._root / prefix
        files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path] if path.exists() else []
        return [(file.read_text(), file.stat().st_mtime) for file in files]

    def queues(self) -> list[str]:
        """Files of whatever kind, also those that only begin to be a queue."""
        return [file.name for file in (self._root / "queues").glob("*cx_*")]

    def create_queue(self, name: str) -> None:
        """Made at its first use."""

    def remove_queue(self, name: str) -> None:
        """Its folder is the run's own."""

    def messages(self, name: str) -> Iterator[Letter]:
        file = self._root / "queues" / f"{name}.db"
        if file.exists():
            with closing(sqlite3.connect(file)) as queue:
                for attributes, body in queue.execute("SELECT attributes, body FROM messages"):
                    yield _letter(json.loads(attributes), body)


class Amazon:
    """S3 and SQS, or what stands for them."""

    def __init__(self, s3_url: str, sqs_url: str) -> None:
        self.urls: Mapping[str, str] = {"s3": s3_url, "sqs": sqs_url}
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        self._s3 = boto3.session.Session().client("s3", endpoint_url=s3_url, **keys)
        self._sqs = boto3.session.Session().client("sqs", endpoint_url=sqs_url, **keys)
        self._s3.create_bucket(Bucket=BUCKET)

    def settings(self, urls: Mapping[str, str]) -> dict[str, str]:
        endpoints = {f"AWS_ENDPOINT_URL_{name.upper()}": url for name, url in urls.items()}
        return {**CREDENTIALS, **endpoints, "AWS_EC2_METADATA_DISABLED": "true", "BATCHFLOW_STORE": f"s3://{BUCKET}/store"}

    def stored(self, prefix: str) -> list[tuple[str, float]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"store/{prefix}")
        found = [one for page in pages for one in page.get("Contents", ())]
        return [
            (self._s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read().decode(), one["LastModified"].timestamp()) for one in found
        ]

    def queues(self) -> list[str]:
        pages = self._sqs.get_paginator("list_queues").paginate(QueueNamePrefix="cx_", PaginationConfig={"PageSize": 1000})
        return [url.rpartition("/")[2] for page in pages for url in page.get("QueueUrls", ())]

    def create_queue(self, name: str) -> None:
        if name:
            self._sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})

    def remove_queue(self, name: str) -> None:
        if name:
            self._sqs.delete_queue(QueueUrl=self._url(name))

    def messages(self, name: str) -> Iterator[Letter]:
        url = self._url(name)
        asked = {"MaxNumberOfMessages": 10, "VisibilityTimeout": 600, "WaitTimeSeconds": LAST_LOOK_S, "MessageAttributeNames": ["All"]}
        while received := self._sqs.receive_message(QueueUrl=url, **asked).get("Messages"):
            for message in received:
                yield _letter({key: value["StringValue"] for key, value in message["MessageAttributes"].items()}, message["Body"])

    def _url(self, name: str) -> str:
        return str(self._sqs.get_queue_url(QueueName=name)["QueueUrl"])


@contextmanager
def amazon() -> Iterator[Amazon]:
    """moto's server for S3, started here, and a real SQS server."""
    sqs_url = sqs_server()
    assert sqs_url, "no SQS server: set BATCHFLOW_TEST_SQS to one"
    with tempfile.TemporaryDirectory() as folder, moto_server(Path(folder) / "log") as s3_url:
        yield Amazon(s3_url, sqs_url)


def _letter(attributes: Mapping[str, str], body: str) -> Letter:
    return {"batch": int(attributes["batch_index"]), "items": json.loads(body), "reason": attributes.get("reason", "")}
