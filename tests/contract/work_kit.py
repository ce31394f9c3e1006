"""What the tests of the work loop share: a real HTTP server as handler, a job in a real queue and store."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from batchflow import contract
from batchflow.dequeuer import Assignment, work
from batchflow.queues.protocol import Queue
from batchflow.queues.sqlite import SqliteQueues
from batchflow.records import Counters, JobRef, Outcome, batch_message
from batchflow.settings import Settings
from batchflow.spec.model import Additions, Api, Pod
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import JobRecords

JOB = JobRef("squares", "6ffffffffffffff0")
ALL = 10  # messages that a call of a queue takes


@dataclass(frozen=True)
class Request:
    """What the handler got."""

    path: str
    body: bytes
    index: int
    attempt: int
    headers: dict[str, str]


class Handler:
    """The user's server: `behave` gets each request and gives a status, or a status and a body, or None to break the connection.

    One with a `single` thread serves one connection to its end before it accepts the next.
    """

    def __init__(
        self, behave: Callable[[Request], int | tuple[int, bytes] | None], port: int = 0, *, closes: bool = False, single: bool = False
    ) -> None:
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._behave = behave
        outer = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 64

            def process_request(self, request: Any, client_address: Any) -> None:
                (HTTPServer if single else ThreadingHTTPServer).process_request(self, request, client_address)

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        class One(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer._answer(self, closes)

            def do_GET(self) -> None:
                outer._answer(self, closes)

            def log_message(self, *args: object) -> None:
                pass

        self._server = Server(("127.0.0.1", port), One)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _answer(self, one: BaseHTTPRequestHandler, closes: bool) -> None:
        body = one.rfile.read(int(one.headers.get("Content-Length", 0)))
        index, attempt = one.headers.get(contract.HEADER_BATCH_INDEX, "-1"), one.headers.get(contract.HEADER_ATTEMPT, "0")
        request = Request(one.path, body, int(index), int(attempt), dict(one.headers))
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            answer = self._behave(request)
        finally:
            with self._lock:
                self._at_once -= 1
        if answer is None:
            one.close_connection = True
            return
        status, text = (answer, b"") if isinstance(answer, int) else answer
        one.send_response(status)
        one.send_header("Content-Length", str(len(text)))
        one.end_headers()
        one.wfile.write(text)
        if closes:  # without a word
            one.close_connection = True

    def attempts(self) -> Counter[int]:
        return Counter(request.index for request in self.requests if request.path == "/")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def handler(
    behave: Callable[[Request], int | tuple[int, bytes] | None], port: int = 0, *, closes: bool = False, single: bool = False
) -> Iterator[Handler]:
    server = Handler(behave, port, closes=closes, single=single)
    try:
        yield server
    finally:
        server.close()


class Job:
    """A job whose batches are in a real queue; `work` runs a worker in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queues = SqliteQueues(root / "queues")
        self.queue: Queue = self.queues.create("cx_test_b_squares_6ffffffffffffff0.fifo", visibility_s=60, tags={})
        self.dead_letters: Queue = self.queues.create("failed.fifo", visibility_s=60, tags={})
        self.records = JobRecords(DirectoryStore(root / "store"), JOB)
        self.settings = Settings(engine="local", retry_s=20, grace_s=10)
        self.additions = Additions(start_timeout_s=20, batch_timeout_s=30)
        self.total = 0
        self.stop = threading.Event()
        self._workers = 0
        self._naming = threading.Lock()

    def enqueue(self, total: int) -> None:
        self.total = total
        for start in range(0, total, ALL):
            batches = range(start, min(start + ALL, total))
            assert not self.queue.send([batch_message(JOB, index, 1, f"[{index}]") for index in batches])

    def assignment(self, port: int, **changes: Any) -> Assignment:
        with self._naming:
            self._workers += 1
            number = self._workers
        mnt = self.root / f"mnt-{number}"
        mnt.mkdir(exist_ok=True)
        assignment = Assignment(
            records=self.records,
            api=Api("squares", "/squares", pod=Pod(containers=(), port=8080), additions=self.additions),
            pod=f"worker-{number}",
            step=contract.STEP_WORK,
            port=port,
            total=self.total,
            workers=1,
            max_receive_count=None,
            mnt=mnt,
            progress_file=mnt / "progress",
            settings=self.settings,
        )
        return replace(assignment, **changes)

    def work(self, port: int, *, replaced: bool = False, **changes: Any) -> int:
        return work(self.assignment(port, **changes), self.queue, lambda: self.dead_letters, self.stop, replaced=replaced)

    def outcomes(self) -> dict[int, list[Outcome]]:
        found: dict[int, list[Outcome]] = {index: [] for index in range(self.total)}
        for outcome in self.records.outcomes():
            found[outcome.index].append(outcome)
        return found

    def only_outcomes(self) -> list[Outcome]:
        """Of each batch; fails if one has none, or several."""
        assert all(len(outcomes) == 1 for outcomes in self.outcomes().values()), self.outcomes()
        return [outcomes[0] for outcomes in self.outcomes().values()]

    def counters(self) -> Counters:
        """The last worker's."""
        return next(counters for counters in self.records.counters() if counters.pod == f"worker-{self._workers}")

    def close(self) -> None:
        self.queue.close()
        self.dead_letters.close()


class Outage:
    """Stands before a real queue or store and passes everything on, but for `calls` while it is `down`."""

    def __init__(self, real: Any, calls: Sequence[str], error: Exception) -> None:
        self.down = False
        self.refused = 0
        self._real = real
        self._calls = calls
        self._error = error

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in self._calls:
            return real

        def call(*args: Any, **keywords: Any) -> Any:
            if self.down:
                self.refused += 1
                raise self._error
            return real(*args, **keywords)

        return call


def until(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait for something that another thread or process does."""
    pause = threading.Event()
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"never came about: {what}")


@contextmanager
def in_background(call: Callable[[], int]) -> Iterator[list[int]]:
    """Run a worker beside the test; its exit code is in the list after the block."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(call()), daemon=True)
    thread.start()
    yield codes
    thread.join(60)
    assert not thread.is_alive(), "the worker does not end"
