"""The other side: loops that anyone would write, without checkpoint, outcomes, heartbeat or retries of their own.

    python -m bench.bare sqs|sqlite send URL SENDERS SOURCE…        batches of ten a call, from that many threads (0: from the main one)
    python -m bench.bare sqs|sqlite send-one URL SOURCE…            one a call
    python -m bench.bare sqs|sqlite work URL PORT COUNT THREADS     receive ten in a thread, post from that many, delete ten in a thread
    python -m bench.bare sqs|sqlite work-one URL PORT COUNT         receive one, post, delete one, as Cortex did

SOURCE is what bare_sources.py reads. The last line is {"count", "first", "last"}; connections are made before the first.
"""

from __future__ import annotations

import http.client
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from bench.bare_sources import bodies
from bench.bare_sqlite import BareSqlite
from bench.bare_sqs import BareSqs

CALL = 10
PREFETCHED_CALLS = 2


class BareQueue(Protocol):
    """What both queues do; a receipt is whatever the queue wants back to delete a message."""

    def send(self, numbered: Sequence[tuple[int, str]]) -> int: ...

    def send_one(self, index: int, body: str) -> None: ...

    def receive(self, limit: int) -> list[tuple[Any, str]]: ...

    def delete(self, receipts: Sequence[Any]) -> None: ...

    def delete_one(self, receipt: Any) -> None: ...


def send(to: BareQueue, source: Iterator[str], senders: int) -> int:
    """Every batch; returns how many were accepted."""
    numbered = enumerate(source)
    lock = threading.Lock()
    accepted: list[int] = []

    def sender() -> None:
        while True:
            with lock:
                call = list(islice(numbered, CALL))
            if not call:
                return
            accepted.append(to.send(call))

    _run([sender] * senders) if senders else sender()
    return sum(accepted)


def send_one(to: BareQueue, source: Iterator[str]) -> int:
    count = 0
    for body in source:
        to.send_one(count, body)
        count += 1
    return count


def work(of: BareQueue, port: int, count: int, threads: int) -> int:
    """Receive, post and delete at the same time; returns how many were deleted."""
    received: queue.Queue[tuple[Any, str] | None] = queue.Queue(CALL * PREFETCHED_CALLS)
    handled: queue.SimpleQueue[Any] = queue.SimpleQueue()
    deleted: list[int] = []

    def receiver() -> None:
        left = count
        while left:
            for message in of.receive(CALL):
                received.put(message)
                left -= 1
        for _ in range(threads):
            received.put(None)

    def poster() -> None:
        handler = _connected(port)
        while message := received.get():
            _post(handler, message[1])
            handled.put(message[0])

    def deleter() -> None:
        left = count
        while left:
            receipts = [handled.get() for _ in range(min(CALL, left))]
            of.delete(receipts)
            deleted.append(len(receipts))
            left -= len(receipts)

    _run([receiver, deleter, *[poster] * threads])
    return sum(deleted)


def work_one(of: BareQueue, port: int, count: int) -> int:
    """One after the other."""
    handler, left = _connected(port), count
    while left:
        for receipt, body in of.receive(1):
            _post(handler, body)
            of.delete_one(receipt)
            left -= 1
    return count


def _run(targets: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _connected(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port)


def _post(handler: http.client.HTTPConnection, body: str) -> None:
    handler.request("POST", "/", body.encode(), {"Content-Type": "application/json"})
    with handler.getresponse() as response:
        response.read()
        if response.status != 200:
            raise SystemExit(f"the handler answered {response.status}")


def main() -> None:
    kind, what, url, *rest = sys.argv[1:]
    of: BareQueue = BareSqs(url) if kind == "sqs" else BareSqlite(url)
    source = bodies(*rest[what == "send" :]) if what.startswith("send") else iter(())
    actions: dict[str, Callable[[], int]] = {
        "send": lambda: send(of, source, int(rest[0])),
        "send-one": lambda: send_one(of, source),
        "work": lambda: work(of, *map(int, rest)),
        "work-one": lambda: work_one(of, *map(int, rest)),
    }
    began = time.monotonic()
    count = actions[what]()
    print(json.dumps({"count": count, "first": began, "last": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
