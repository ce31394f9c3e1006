"""Handlers that fail: what the status, `get --failed`, `logs` and the dead letter queue say, and that each job ends by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Delivery
from batchflow.settings import Settings
from tests.acceptance.command import Job, Json, Terminal

AT_ONCE = 3
ARN = "arn:aws:sqs:us-west-2:123456789012:{}.fifo"
FAILS = 'raise ValueError("no such colour")'
FAILURES = f"""\
    def handle(self, payload):
        print("a line of", len(payload))
        print("an error", file=sys.stderr)
        if "raise" in payload:
            {FAILS}
        if "exit" in payload:
            sys.exit("enough")
        if "die" in payload:
            os._exit(3)
        if "kill" in payload:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in payload:
            time.sleep(600)
"""
ITEMS = [1, "raise", "ü\u2028", "exit", {"a": None}, "die", 2.5, "kill", [], "hang", 6, 7]  # two a batch


def dead_letters(name: str, most: int) -> dict[str, Any]:
    return {"arn": ARN.format(name), "max_receive_count": most}


def pod(*command: str) -> Json:
    return {"pod": {"port": 8080, "containers": [{"name": "server", "image": "any", "command": list(command)}]}}


@dataclass(frozen=True)
class Case:
    """A job of three batches, unless `settings` says more: of job.yaml, and `batchflow` and `entry` of its api."""

    methods: str = "    def handle(self, payload): pass\n"
    settings: Json = field(default_factory=dict)


HOOK = "    def handle(self, payload): pass\n    def on_job_complete(self):\n        {}\n"
CASES = {
    "failures": Case(FAILURES, {"items": ITEMS, "batch_size": 2, "batchflow": {"batch_timeout_s": 2}}),
    "dead-letters": Case(
        f"    def handle(self, payload):\n        if payload == ['ü\u2028', 2]:\n            {FAILS}\n",
        {"items": [0, 1, "ü\u2028", 2, 3], "batch_size": 2, "sqs_dead_letter_queue": dead_letters("failed", 3)},
    ),
    "second-try": Case(
        f"    def handle(self, payload):\n        if self.times_begun(payload) == 1:\n            {FAILS}\n",
        {"sqs_dead_letter_queue": dead_letters("unused", 2)},
    ),
    "import": Case("raise RuntimeError('no model here')\n"),
    "init": Case("    def __init__(self, config):\n        raise KeyError('threshold')\n"),
    "argument": Case("    def handle_batch(self, payload, batch): pass\n"),
    "silent": Case(settings={"entry": pod("sleep", "600"), "batchflow": {"start_timeout_s": 2}}),
    "no-command": Case(settings={"entry": pod("no-such-command"), "batchflow": {"start_timeout_s": 3}}),
    "hook": Case(HOOK.format("raise OSError('disk full')")),
    "hook-hangs": Case(HOOK.format("time.sleep(600)"), {"batchflow": {"batch_timeout_s": 1}}),
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

    def failed(self, *arguments: str) -> str:
        return self.shell.run("get", self.job.api, self.id, "--failed", *arguments).out

    def attempts(self) -> list[Any]:
        return self.job.noted("began")


Run = Callable[[str], Ended]


@pytest.fixture(scope="module")
def ended(shared_shell: Terminal) -> Iterator[Run]:
    """All jobs are started together, in one store; a test waits for its own."""

    def run(name: str) -> Ended:
        case = CASES[name]
        job = Job(shared_shell.folder, name, case.methods, **case.settings)
        result = shared_shell.run("submit", job.file, "--watch", "-o", "json", code=None)
        return Ended(job, shared_shell, result.code, result.json()["job_status"])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures: dict[str, Future[Ended]] = {name: pool.submit(run, name) for name in CASES}
        yield lambda name: futures[name].result()
        pool.shutdown(cancel_futures=True)


def test_without_a_dead_letter_queue_one_attempt_is_final(ended: Run) -> None:
    job = ended("failures")
    assert job.code == 1
    assert job.counts() == ("completed_with_failures", 1, 5, 0, 5)
    assert job.status["message"] == "5 of 6 batches failed; list them with --failed"
    begun = [job.attempts().count(ITEMS[n : n + 2]) for n in range(0, 12, 2)]
    assert begun == [1] * 6


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (0, "status 500: ValueError: no such colour (handler.py:{line})"),
        (1, "status 500: SystemExit: enough (handler.py:{line})"),
        (2, "the connection broke"),
        (3, "the connection broke"),
        (4, "status 504: timed out after 2 s at handler.py:{line}"),
    ],
)
def test_each_failed_batch_is_listed_with_its_items_and_its_own_reason(ended: Run, batch: int, reason: str) -> None:
    job = ended("failures")
    items = ITEMS[2 * batch : 2 * batch + 2]
    line = job.job.line_of(f'if "{items[1]}" in payload') + 1
    expected = reason.format(line=line)
    shown, *rest = [text for text in job.failed().split("batch ") if text.startswith(f"{batch}:")]
    assert not rest
    assert re.fullmatch(rf"{batch}: {re.escape(expected)}.* \(1 attempts\)\n  items: (.*)\n", shown), shown
    assert json.loads(shown.partition("items: ")[2]) == items
    failures = [json.loads(text) for text in job.failed("-o", "json").strip().split("\n")]
    assert [failure["batch"] for failure in failures] == [0, 1, 2, 3, 4]
    assert (failures[batch]["attempts"], failures[batch]["items"]) == (1, items)
    assert failures[batch]["error"].startswith(expected)


def test_prints_and_tracebacks_reach_the_logs_with_the_number_of_their_batch(ended: Run) -> None:
    job = ended("failures")
    lines = job.shell.logs("failures", job.id, "--container", "handler", "--worker", "0")
    for batch in (0, 1, 4, 5):
        assert lines.count(f"0/handler | [batch {batch}] a line of 2") == 1
        assert lines.count(f"0/handler | [batch {batch}] an error") == 1
    assert "0/handler | [batch 0] Traceback (most recent call last):" in lines
    assert "0/handler | [batch 0] ValueError: no such colour" in lines


def test_a_dead_letter_queue_gets_the_batch_after_max_receive_count_attempts(ended: Run) -> None:
    job = ended("dead-letters")
    assert job.code == 1
    assert job.counts() == ("completed_with_failures", 2, 1, 0, 3)
    assert job.attempts() == sorted([[0, 1], [3], *[["ü\u2028", 2]] * 3], key=json.dumps)
    reason = f"status 500: ValueError: no such colour (handler.py:{job.job.line_of(FAILS)})"
    assert job.failed().startswith(f"batch 1: {reason} (3 attempts)\n")
    [delivery] = received(job.shell, "failed")
    assert delivery.message.body == '["ü\u2028",2]'
    attributes = delivery.message.attributes
    assert attributes["reason"] == reason
    names = ("api_name", "job_id", "batch_index", "attempt")
    assert [attributes[name] for name in names] == ["dead-letters", job.id, "1", "3"]


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


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (
            "import",
            "raise RuntimeError",
            "the handler failed to start 3 times: handler.py:{line}: RuntimeError: no model here; see its log",
        ),
        ("init", "raise KeyError", "the handler failed to start 3 times: handler.py:{line}: KeyError: 'threshold'; see its log"),
        (
            "argument",
            "",
            'invalid signature for method "handle_batch(self, payload, batch)": "batch" is not a supported argument; see its log',
        ),
        ("silent", "", "within 2 s; does the server listen on the port that CORTEX_PORT names? (start_timeout_s bounds the wait)"),
        ("no-command", "", "; container server was restarted {restarts} times, after exit code 127"),
    ],
)
def test_a_handler_that_does_not_start_ends_the_job_and_says_why(ended: Run, name: str, line: str, message: str) -> None:
    job = ended(name)
    assert job.code == 1
    assert job.counts() == ("worker_error", 0, 0, 3, 0)
    expected = re.escape(message.format(line=job.job.line_of(line), restarts="#")).replace(r"\#", r"\d+")
    assert re.fullmatch(f".*{expected}; 3 of 3 batches have no outcome", job.status["message"]), job.status["message"]


def test_a_command_that_is_not_there_is_named_in_the_logs(ended: Run) -> None:
    job = ended("no-command")
    text = "0/server | batchflow: can't start no-such-command: No such file or directory"
    assert text in job.shell.logs("no-command", job.id)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hook", r"status 500: OSError: disk full \(handler.py:{line}\)"),
        ("hook-hangs", r"status 504: timed out after 1 s at handler.py:{line}"),
    ],
)
def test_a_hook_that_fails_is_a_worker_error_with_every_batch_handled(ended: Run, name: str, reason: str) -> None:
    job = ended(name)
    assert job.code == 1
    assert job.counts() == ("worker_error", 3, 0, 0, 0)
    line = job.job.line_of("def on_job_complete") + 1
    message = f"every batch was handled, but on-job-complete failed: {reason.format(line=line)}"
    assert re.fullmatch(message, job.status["message"]), job.status["message"]
