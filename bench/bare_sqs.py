"""SQS by boto3, with the options of batchflow/queues/sqs.py and the attributes that the enqueuer sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import boto3
from botocore.config import Config

__all__ = ["BareSqs"]

WAIT_S = 1


class BareSqs:
    """A queue; any number of threads may use it."""

    def __init__(self, url: str) -> None:
        config = Config(
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=32,
            retries={"mode": "standard", "total_max_attempts": 3},
            tcp_keepalive=True,
        )
        self._client = boto3.session.Session().client("sqs", config=config)
        self._url = url

    def send(self, numbered: Sequence[tuple[int, str]]) -> int:
        entries = [{"Id": str(place), **_message(index, body)} for place, (index, body) in enumerate(numbered)]
        return len(self._client.send_message_batch(QueueUrl=self._url, Entries=entries)["Successful"])

    def send_one(self, index: int, body: str) -> None:
        self._client.send_message(QueueUrl=self._url, **_message(index, body))

    def receive(self, limit: int) -> list[tuple[str, str]]:
        answer = self._client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=limit, WaitTimeSeconds=WAIT_S)
        return [(message["ReceiptHandle"], message["Body"]) for message in answer.get("Messages", [])]

    def delete(self, receipts: Sequence[str]) -> None:
        entries = [{"Id": str(place), "ReceiptHandle": receipt} for place, receipt in enumerate(receipts)]
        if self._client.delete_message_batch(QueueUrl=self._url, Entries=entries).get("Failed"):
            raise SystemExit("SQS refused to delete a message")

    def delete_one(self, receipt: str) -> None:
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=receipt)


def _message(index: int, body: str) -> dict[str, Any]:
    attributes = {"api_name": "bench", "job_id": "0" * 16, "batch_index": str(index), "batch_id": f"{index:036d}", "attempt": "1"}
    return {
        "MessageBody": body,
        "MessageGroupId": str(index),
        "MessageDeduplicationId": f"{index}-1",
        "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    }
