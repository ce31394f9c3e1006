"""Handlers that fail, one job each: what the job's status, `get --failed`, `logs` and the dead letter queue say, and that it ends by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Delivery
from batchflow.settings import Settings
from tests.acceptance.command import Job, Json, Terminal

AT_ONCE = 3
ARN = "arn:aws:sqs:us-west-2:123456789012:{}.fifo"
ITEMS = [["a", 1], {"bad": "ü\u2028"}, "c", 4, 5.5, None]
BAD = '{"bad": "ü\\u2028"} in payload'


def dead_letters(name: str, most: int) -> dict[str, Any]:
    return {"arn": ARN.format(name), "max_receive_count": most}


def only_bad(line: str) -> str:
    """A handler that does this with the second batch of two items, and nothing with the others."""
    return f"    def handle(self, payload):\n        if {BAD}:\n            {line}\n"


def pod(*command: str) -> Json:
    return {"pod": {"port": 8080, "containers": [{"name": "server", "image": "any", "command": list(command)}]}}


@dataclass(frozen=True)
class Case:
    methods: str = "    def handle(self, payload): pass\n"
    settings: Json | None = None  # of job.yaml, and `batchflow` and `entry` of its api


RAISES = 'raise ValueError("no such colour")'
CASES = {
    "raises": Case(only_bad(RAISES)),
    "exits": Case(only_bad('sys.exit("enough")')),
    "dead-letters": Case(only_bad(RAISES), {"sqs_dead_letter_queue": dead_letters("failed", 3)}),
    "second-try": Case(
        f"    def handle(self, payload):\n        if self.times_begun(payload) == 1:\n            {RAISES}\n",
        {"sqs_dead_letter_queue": dead_letters("unused", 2)},
    ),
    "prints": Case(
        "    def handle(self, payload):\n        print('a line of', len(payload))\n        print('an error', file=sys.stderr)\n"
        f"        if {BAD}:\n            {RAISES}\n"
    ),
    "import": Case("raise RuntimeError('no model here')\n"),
    "init": Case("    def __init__(self, config):\n        raise KeyError('threshold')\n"),
    "argument": Case("    def handle_batch(self, payload, batch): pass\n"),
    "silent": Case(settings={"entry": pod("sleep", "600"), "batchflow": {"start_timeout_s": 2}}),
    "no-command": Case(settings={"entry": pod("no-such-command"), "batchflow": {"start_timeout_s": 2}}),
    "dies": Case(only_bad("os._exit(3)")),
    "killed": Case(only_bad("os.kill(os.getpid(), signal.SIGKILL)")),
    "hangs": Case(only_bad("time.sleep(600)"), {"batchflow": {"batch_timeout_s": 1}}),
    "hook": Case("    def handle(self, payload): pass\n    def on_job_complete(self):\n        raise OSError('disk full')\n"),
    "hook-hangs": Case(
        "    def handle(self, payload): pass\n    def on_job_complete(self):\n        time.sleep(600)\n", {"batchflow": {"batch_timeout_s": 1}}
    ),
}


@dataclass(frozen=True)
class Ended:
    """A job of `CASES` when it is over: `code` is that of the watching submit."""

    job: Job
    shell: Terminal
    code: int
    status: Json

    @property
    def id(self) -> str:
        return str(self.status["job_id"])

    def counts(self) -> tuple[str, int, int, int, int]:
        """Status, and batches: succeeded, failed, without outcome; failed attempts."""
        status, metrics = self.status, self.status["batch_metrics"]
        return status["status"], metrics["succeeded"], status["batches_failed"], status["batches_without_outcome"], metrics["failed"]

    def failed(self, *arguments: str) -> list[str]:
        return self.shell.run("get", self.job.api, self.id, "--failed", *arguments).lines()

    def attempts(self) -> list[Any]:
        return self.job.noted("began")


Run = Callable[[str], Ended]


@pytest.fixture(scope="module")
def ended(shared_shell: Terminal) -> Iterator[Run]:
    """All jobs are started together, in one store; a test waits for its own."""

    def run(name: str) -> Ended:
        case = CASES[name]
        job = Job(shared_shell.folder, name, case.methods, items=ITEMS, **{"batch_size": 2, **(case.settings or {})})
        result = shared_shell.run("submit", job.file, "--watch", "-o", "json", code=None)
        return Ended(job, shared_shell, result.code, result.json()["job_status"])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures: dict[str, Future[Ended]] = {name: pool.submit(run, name) for name in CASES}
        yield lambda name: futures[name].result()
        pool.shutdown(cancel_futures=True)


def test_without_a_dead_letter_queue_one_attempt_is_final(ended: Run) -> None:
    job = ended("raises")
    assert job.code == 1
    assert job.counts() == ("completed_with_failures", 2, 1, 0, 1)
    assert job.status["message"] == "1 of 3 batches failed; list them with --failed"
    assert sorted(map(json.dumps, job.attempts())) == sorted(json.dumps(ITEMS[n : n + 2]) for n in (0, 2, 4))


def test_failed_batches_are_listed_with_items_and_reason(ended: Run) -> None:
    job = ended("raises")
    reason = f"status 500: ValueError: no such colour (handler.py:{job.job.line_of(RAISES)})"
    assert job.failed() == [f"batch 0: {reason} (1 attempts)", '  items: [["a",1],{"bad":"ü\u2028"}]']
    assert [json.loads(line) for line in job.failed("-o", "json")] == [{"batch": 0, "attempts": 1, "error": reason, "items": ITEMS[:2]}]


def test_a_batch_that_leaves_by_exit_failed_and_the_handler_goes_on(ended: Run) -> None:
    job = ended("exits")
    assert job.counts() == ("completed_with_failures", 2, 1, 0, 1)
    assert "SystemExit: enough" in job.failed()[0]


def test_a_dead_letter_queue_gets_the_batch_after_max_receive_count_attempts(ended: Run) -> None:
    job = ended("dead-letters")
    assert job.counts() == ("completed_with_failures", 2, 1, 0, 3)
    assert job.attempts().count(ITEMS[:2]) == 3
    assert len(job.attempts()) == 5
    [delivery] = received(job.shell, "failed")
    assert delivery.message.body == '[["a",1],{"bad":"ü\u2028"}]'
    attributes = dict(delivery.message.attributes)
    assert attributes["reason"] == f"status 500: ValueError: no such colour (handler.py:{job.job.line_of(RAISES)})"
    assert (attributes["job_id"], attributes["api_name"], attributes["batch_index"], attributes["attempt"]) == (
        job.id,
        "dead-letters",
        "0",
        "3",
    )
    assert "(3 attempts)" in job.failed()[0]


def test_batches_that_succeed_at_the_second_attempt_make_a_success(ended: Run) -> None:
    job = ended("second-try")
    assert job.code == 0
    assert job.counts() == ("succeeded", 3, 0, 0, 3)
    assert len(job.attempts()) == 6
    assert received(job.shell, "unused") == []


def received(shell: Terminal, name: str) -> list[Delivery]:
    settings = Settings.from_env({"BATCHFLOW_STORE": str(shell.store)}, local=True)
    queue = open_queues(settings).open_arn(ARN.format(name))
    try:
        return queue.receive(10, wait_s=0, visibility_s=0)
    finally:
        queue.close()


def test_prints_and_tracebacks_reach_the_logs_with_the_number_of_their_batch(ended: Run) -> None:
    job = ended("prints")
    lines = job.shell.logs("prints", job.id, "--container", "handler", "--worker", "0")
    for batch in range(3):
        assert lines.count(f"0/handler | [batch {batch}] a line of 2") == 1
        assert lines.count(f"0/handler | [batch {batch}] an error") == 1
    assert "0/handler | [batch 0] Traceback (most recent call last):" in lines
    assert "0/handler | [batch 0] ValueError: no such colour" in lines


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("import", "raise RuntimeError", "the handler failed to start 3 times: handler.py:{line}: RuntimeError: no model here; see its log"),
        ("init", "raise KeyError", "the handler failed to start 3 times: handler.py:{line}: KeyError: 'threshold'; see its log"),
        ("argument", "", r'handler.py: class Handler: invalid signature for method "handle_batch(self, payload, batch)": "batch" is not a '),
        ("silent", "", "does the server listen on the port that CORTEX_PORT names?"),
        ("no-command", "", "no-such-command"),
    ],
)
def test_a_handler_that_does_not_start_ends_the_job_and_says_why(ended: Run, name: str, line: str, message: str) -> None:
    job = ended(name)
    assert job.code == 1
    assert job.counts() == ("worker_error", 0, 0, 3, 0)
    assert message.format(line=job.job.line_of(line)) in job.status["message"]
    assert job.status["message"].endswith("; 3 of 3 batches have no outcome")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dies", "the connection broke"),
        ("killed", "the connection broke"),
        ("hangs", "timed out after 1 s at handler.py:{line}"),
    ],
)
def test_a_batch_that_takes_the_handler_down_fails_alone(ended: Run, name: str, reason: str) -> None:
    job = ended(name)
    assert job.counts() == ("completed_with_failures", 2, 1, 0, 1)
    assert reason.format(line=job.job.line_of(BAD) + 1) in job.failed()[0]
    assert len(job.attempts()) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [("hook", r"status 500: OSError: disk full \(handler.py:{line}\)"), ("hook-hangs", r"status 504: timed out after 1 s at handler.py:{line}")],
)
def test_a_hook_that_fails_is_a_worker_error_with_every_batch_handled(ended: Run, name: str, reason: str) -> None:
    job = ended(name)
    assert job.code == 1
    assert job.counts() == ("worker_error", 3, 0, 0, 0)
    line = job.job.line_of("def on_job_complete") + 1
    message = f"every batch was handled, but on-job-complete failed: {reason.format(line=line)}"
    assert re.fullmatch(message, job.status["message"]), job.status["message"]
