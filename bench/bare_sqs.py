"""The other side on SQS: loops that anyone would write with boto3, without checkpoint, outcomes, heartbeat or retries of their own.

    python -m bench.bare_sqs send URL FILE SENDERS        SendMessageBatch of ten, from that many threads (0: from the main one)
    python -m bench.bare_sqs work URL PORT COUNT          receive ten in a thread, post, delete ten in a thread
    python -m bench.bare_sqs work-one URL PORT COUNT      receive one, post, delete one, as Cortex did

The last line is {"count", "first", "last"}.
"""

from __future__ import annotations

import http.client
import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

CALL = 10
PREFETCHED_CALLS = 2
WAIT_S = 1


def connect() -> Any:
    """The options of batchflow/queues/sqs.py."""
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": 3},
        tcp_keepalive=True,
    )
    return boto3.session.Session().client("sqs", config=config)


def calls(lines: list[str]) -> Iterator[list[dict[str, Any]]]:
    """The entries of each call: the same bodies and attributes as the enqueuer's, each a batch of one item."""
    numbered = enumerate(lines)
    while call := [_entry(index, line) for index, line in islice(numbered, CALL)]:
        yield call


def _entry(index: int, line: str) -> dict[str, Any]:
    attributes = {"api_name": "bench", "job_id": "0" * 16, "batch_index": str(index), "batch_id": f"{index:036d}", "attempt": "1"}
    return {
        "Id": str(index % CALL),
        "MessageBody": f"[{line}]",
        "MessageGroupId": str(index),
        "MessageDeduplicationId": f"{index}-1",
        "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    }


def send(client: Any, url: str, lines: list[str], senders: int) -> int:
    """Every line as a batch; returns how many were accepted."""
    todo = calls(lines)
    lock = threading.Lock()
    accepted: list[int] = []

    def sender() -> None:
        while True:
            with lock:
                call = next(todo, None)
            if call is None:
                return
            accepted.append(len(client.send_message_batch(QueueUrl=url, Entries=call)["Successful"]))

    threads = [threading.Thread(target=sender) for _ in range(senders)]
    for thread in threads:
        thread.start()
    if not threads:
        sender()
    for thread in threads:
        thread.join()
    return sum(accepted)


def post(handler: http.client.HTTPConnection, body: str) -> None:
    handler.request("POST", "/", body.encode(), {"Content-Type": "application/json"})
    with handler.getresponse() as response:
        response.read()
        if response.status != 200:
            raise SystemExit(f"the handler answered {response.status}")


def receive(client: Any, url: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.receive_message(QueueUrl=url, MaxNumberOfMessages=limit, WaitTimeSeconds=WAIT_S).get(
        "Messages", []
    )
    return found


def work(client: Any, url: str, handler: http.client.HTTPConnection, count: int) -> int:
    """Receive, post and delete at the same time, each in a thread; returns how many were deleted."""
    received: queue.Queue[list[dict[str, Any]]] = queue.Queue(PREFETCHED_CALLS)
    handled: queue.SimpleQueue[list[dict[str, Any]]] = queue.SimpleQueue()
    deleted: list[int] = []

    def receiver() -> None:
        left = count
        while left:
            messages = receive(client, url, CALL)
            left -= len(messages)
            received.put(messages)

    def deleter() -> None:
        while messages := handled.get():
            entries = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(messages)]
            deleted.append(len(client.delete_message_batch(QueueUrl=url, Entries=entries)["Successful"]))

    threads = [threading.Thread(target=receiver), threading.Thread(target=deleter)]
    for thread in threads:
        thread.start()
    left, done = count, []
    while left:
        for message in received.get():
            post(handler, message["Body"])
            done.append(message)
            left -= 1
            if len(done) == CALL or not left:
                handled.put(done)
                done = []
    handled.put([])
    for thread in threads:
        thread.join()
    return sum(deleted)


def work_one(client: Any, url: str, handler: http.client.HTTPConnection, count: int) -> int:
    """One after the other; returns how many were deleted."""
    left = count
    while left:
        for message in receive(client, url, 1):
            post(handler, message["Body"])
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            left -= 1
    return count


def main() -> None:
    what, url, *rest = sys.argv[1:]
    client = connect()
    if what == "send":
        lines = Path(rest[0]).read_text().splitlines()
        began = time.monotonic()
        count = send(client, url, lines, int(rest[1]))
    else:
        handler = http.client.HTTPConnection("127.0.0.1", int(rest[0]))
        began = time.monotonic()
        count = (work if what == "work" else work_one)(client, url, handler, int(rest[1]))
    print(json.dumps({"count": count, "first": began, "last": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
