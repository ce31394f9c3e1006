"""A handler that is up: batches, the hook, its output, time limits, SIGTERM."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

HANG_S = 60
HEAD = """
import contextlib, os, sys, threading, time
from cortex_internal.lib.log import logger
class Handler:
    def __init__(self, config): pass
    def handle_batch(self, payload, batch_id):
"""


def handler(*lines: str, hook: str = "") -> str:
    body = "".join(f"        {line}\n" for line in lines or ("pass",))
    return HEAD + body + (f"    def on_job_complete(self): {hook}\n" if hook else "")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["raise ValueError('bad pixel')"], "ValueError: bad pixel (handler.py:8)"),
        (["raise ValueError"], "ValueError (handler.py:8)"),
        (["raise ValueError('two\\nlines')"], "ValueError: two lines (handler.py:8)"),
        (["", "os.stat('/no/such')"], "FileNotFoundError: [Errno 2] No such file or directory: '/no/such' (handler.py:9)"),
        (["import json", "json.loads('{')"], "handler.py:9"),
        (["sys.exit(4)"], "SystemExit: 4 (handler.py:8)"),
        (["raise KeyboardInterrupt"], "KeyboardInterrupt (handler.py:8)"),
        (["class Bad(Exception):", "    def __str__(self): raise ValueError", "raise Bad"], "Bad: (its text can't be had) (handler.py:10)"),
    ],
)
def test_an_exception_is_the_answer_and_the_next_batch_is_handled(worker: Any, lines: list[str], reason: str) -> None:
    worker.start(handler("if not payload: return", *lines))
    status, text = worker.post([1])
    assert (status, reason in text, "\n" in text) == (500, True, False)
    assert worker.post([]) == (200, "{}")
    assert "[batch 12] batch 12 (id-12), attempt 1: failed\n[batch 12] Traceback (most recent call last):\n" in worker.output()
    assert "batchflow_runtime" not in worker.output()


def test_a_reason_is_at_most_1_kib_and_keeps_its_place(worker: Any) -> None:
    worker.start(handler("raise ValueError('é' * 5000)"))
    _, text = worker.post([1])
    assert 1000 < len(text.encode()) <= 1024
    assert text.endswith("é (handler.py:7)")


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"[1", "can't be decoded"), (b"\xff", "can't be decoded"), (b"[" * 100_000, "can't be decoded"), (b'{"a": 1}', "not a JSON array")],
)
def test_a_body_that_is_no_array_is_400(worker: Any, body: bytes, reason: str) -> None:
    worker.start(handler())
    status, text = worker.post(body)
    assert (status, reason in text) == (400, True)


def test_what_is_not_a_batch_is_refused(worker: Any) -> None:
    worker.start(handler("print('handled')"))
    assert worker.post([], path="/other")[0] == 404
    for request, status in [
        (b"GET / HTTP/1.1\r\n\r\n", b"501"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST /\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n[]", b""),  # the client leaves in the middle of the batch
    ]:
        with socket.create_connection(("127.0.0.1", worker.port), timeout=60) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
            assert answer[9:12] == status, request
    assert worker.output() == ""


def test_one_connection_carries_many_batches(worker: Any) -> None:
    worker.start(handler())
    connection = worker.connect()
    worker.post([], connection=connection)
    first = connection.sock
    for index in range(20):
        assert worker.post([index], connection=connection) == (200, "{}")
    assert connection.sock is first
    connection.close()


@pytest.mark.parametrize(
    ("hook", "answer"),
    [("", 404), ("print('done')", 200), ("raise ValueError('no bucket')", 500)],
)
def test_the_hook(worker: Any, hook: str, answer: int) -> None:
    worker.start(handler(hook=hook))
    status, text = worker.complete()
    assert status == answer
    if answer == 500:
        assert text == "ValueError: no bucket (handler.py:8)"
    if answer == 200:
        assert worker.output() == "done\n"


@pytest.mark.parametrize(("path", "done"), [("/", "[batch 12] handled"), ("/on-job-complete", "done")])
def test_what_is_meant_for_another_jobs_handler_is_refused(worker: Any, path: str, done: str) -> None:
    worker.start(handler("print('handled')", hook="print('done')"))
    connection = worker.connect()
    status, text = worker.post([1], path=path, job_id="8" * 16, connection=connection)
    assert (status, text) == (503, f"this is the handler of job {'7' * 16}, not of {'8' * 16}")
    assert worker.output() == ""
    assert worker.post([1], path=path, connection=connection)[0] == 200
    connection.close()
    assert worker.output() == f"{done}\n"


def test_a_batch_that_names_no_job_is_handled(worker: Any) -> None:
    worker.start(handler("print('handled')"))
    connection = worker.connect()
    connection.request("POST", "/", b"[1]")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"{}")
    connection.close()


def test_what_is_left_out_of_the_users_copy_of_the_job_document_is_known_still(worker: Any) -> None:
    worker.start(handler().replace("def __init__(self, config): pass", "def __init__(self, config, job_spec): job_spec.clear()"))
    assert worker.post([1]) == (200, "{}")
    assert worker.post([1], job_id="8" * 16)[0] == 503


def test_what_a_batch_prints_names_it(worker: Any) -> None:
    lines = [
        "print('a\\nb')",
        "print('err', file=sys.stderr)",
        "print('unfinished ', end='', flush=True)",
        "print('line')",
        "sys.stdout.buffer.write(b'\\xff bytes\\n')",
        "thread = threading.Thread(target=print, args=('of a thread',)); thread.start(); thread.join()",
        "thread = threading.Thread(target=print, args=('of another',), kwargs={'end': ''}); thread.start(); thread.join()",
        "print('no end', end='')",
    ]
    worker.start(handler(*lines).replace("config): pass", "config): print('outside')"))
    worker.post([1])
    said = ["a", "b", "err", "unfinished line", "\\xff bytes", "of a thread", "of another", "no end"]
    outside, *inside = worker.log.read_bytes().decode("utf-8", "backslashreplace").splitlines()
    assert outside == "outside"
    assert sorted(inside) == sorted(f"[batch 12] {text}" for text in said)


def test_batches_at_the_same_time_keep_their_lines_apart(worker: Any) -> None:
    lines = ["for n in range(50):", "    print(payload[0], end=' '); print('end')"]
    worker.start(handler(*lines), BATCHFLOW_MAX_CONCURRENCY="3")
    threads = [threading.Thread(target=worker.post, args=([f"item-{n}"],), kwargs={"index": n}) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(worker.output().splitlines())) == [f"[batch {n}] item-{n} end" for n in range(3)]
    assert len(worker.output().splitlines()) == 150


def test_concurrency_is_bounded(worker: Any) -> None:
    lines = ["self.now = getattr(self, 'now', 0) + 1", "print(self.now)", "time.sleep(0.05)", "self.now -= 1"]
    worker.start(handler(*lines))
    threads = [threading.Thread(target=worker.post, args=([],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.output() == "[batch 12] 1\n" * 4


def test_the_logger_writes_cortex_lines(worker: Any) -> None:
    lines = [
        "print('unfinished', end='', flush=True)",
        "logger.info('completed processing batch', extra={'batch_id': 'iuasyd8f7', 'confidence': 0.97})",
        "logger.debug('not at this level')",
        "logger.warning('%s kept', 1, extra={'message': 'x', 'process': 'x', 'labels': 1, 'name': 'n', 'deep': {'a': [1]}, 'o': {1}})",
        "logger.info('x' * 5_000_001)",
        "logger.info('é' * 833_333)",  # 4,999,998 bytes as JSON escapes them, and the rest of the line
        "logger.info('long', extra={'x': 'x' * 4_999_800})",
        "try: 1 / 0",
        "except ZeroDivisionError: logger.exception('went wrong')",
        "import datetime",
        "logger.info('at', extra={'when': datetime.datetime(2021, 1, 19, 15, 14, 5)}, stack_info=True)",
    ]
    worker.start(handler(*lines))
    assert worker.post([1])[0] == 200
    unfinished, *records = worker.output().splitlines()
    assert unfinished == "[batch 12] unfinished"
    first, second, long, third, fourth = (json.loads(line) for line in records)
    assert len(long["x"]) == 4_999_800
    assert list(first) == ["asctime", "levelname", "message", "process", "batch_id", "confidence"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", first["asctime"])
    assert (first["levelname"], first["message"], first["process"]) == ("INFO", "completed processing batch", worker.process.pid)
    assert {k: second[k] for k in list(second)[2:]} == {
        "message": "1 kept",
        "process": worker.process.pid,
        "name": "n",
        "deep": {"a": [1]},
        "o": "{1}",
    }
    assert list(third)[-1] == "exc_info"
    assert third["exc_info"].endswith("ZeroDivisionError: division by zero")
    assert fourth["when"] == "2021-01-19T15:14:05"
    assert list(fourth)[-1] == "stack_info"


def test_the_log_level_is_the_apis(worker: Any) -> None:
    worker.start(handler("logger.info('not shown')", "logger.error('shown')"), CORTEX_LOG_LEVEL="ERROR")
    worker.post([1])
    assert [json.loads(line)["message"] for line in worker.output().splitlines()] == ["shown"]


def test_what_was_printed_before_a_kill_is_not_lost(worker: Any) -> None:
    worker.start(handler("print('last words'); os.kill(os.getpid(), 9)"))
    with pytest.raises(OSError):
        worker.post([1])
    worker.wait()
    assert worker.output() == "[batch 12] last words\n"


def test_a_batch_that_hangs_ends_the_process_after_its_answer(worker: Any) -> None:
    worker.start(handler("if payload: time.sleep(600)"), BATCHFLOW_BATCH_TIMEOUT_S="0.5")
    assert worker.post([]) == (200, "{}")
    assert worker.post([1]) == (504, "timed out after 0.5 s at handler.py:7")
    assert not worker.listens()
    assert worker.wait() == 1
    assert "[batch 12] batch 12 (id-12), attempt 1: timed out after 0.5 s at handler.py:7\n[batch 12]   File" in worker.output()
    worker.launch()
    worker.wait_until_it_listens()
    assert worker.post([]) == (200, "{}")


def test_a_hook_that_hangs_ends_the_process(worker: Any) -> None:
    worker.start(handler(hook="time.sleep(600)"), BATCHFLOW_BATCH_TIMEOUT_S="0.5")
    assert worker.complete() == (504, "timed out after 0.5 s at handler.py:8")
    assert worker.wait() == 1


def test_a_hanging_batch_lets_the_others_finish(worker: Any) -> None:
    worker.start(handler("print('begun')", "time.sleep(payload[0])"), BATCHFLOW_BATCH_TIMEOUT_S="3", BATCHFLOW_MAX_CONCURRENCY="2")
    answers: dict[str, Any] = {}
    hanging = threading.Thread(target=lambda: answers.setdefault("hanging", worker.post([600])))
    other = threading.Thread(target=lambda: answers.setdefault("other", worker.post([2.5])))
    hanging.start()
    wait_until(lambda: "begun" in worker.output())
    time.sleep(1)  # the other one is still at it when the first one's time is up
    other.start()
    hanging.join()
    assert "other" not in answers
    other.join()
    assert answers == {"hanging": (504, "timed out after 3 s at handler.py:8"), "other": (200, "{}")}
    assert worker.wait() == 1


WAITS_IN_PYTHON = ["print('begun')", "while not os.path.exists('go'): time.sleep(0.02)", "print('ended')"]
WAITS_IN_C = [  # for a mutex: no signal interrupts that
    "import ctypes; libc = ctypes.CDLL(None); mutex = ctypes.create_string_buffer(64)",
    "def release():",
    "    while not os.path.exists('go'): time.sleep(0.02)",
    "    libc.pthread_mutex_unlock(mutex)",
    "libc.pthread_mutex_lock(mutex)",
    "threading.Thread(target=release).start()",
    "print('begun')",
    "libc.pthread_mutex_lock(mutex)",
    "print('ended')",
]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("lines", [WAITS_IN_PYTHON, WAITS_IN_C], ids=["python", "c"])
def test_sigterm_finishes_the_batch_in_hand_and_takes_no_other(worker: Any, lines: list[str], number: signal.Signals) -> None:
    worker.start(handler(*lines))
    answers: list[Any] = []
    batch = threading.Thread(target=lambda: answers.append(worker.post([1])))
    batch.start()
    wait_until(lambda: "begun" in worker.output())
    worker.process.send_signal(number)
    wait_until(lambda: not worker.listens())
    (worker.folder / "project" / "go").touch()
    batch.join()
    assert answers == [(200, "{}")]
    assert worker.wait() == 0
    assert worker.output() == "[batch 12] begun\n[batch 12] ended\n"


def test_sigterm_of_an_idle_handler(worker: Any) -> None:
    worker.start(handler())
    connection = worker.connect()
    worker.post([], connection=connection)
    assert worker.stop() == 0
    assert worker.output() == ""
    connection.close()


def test_handler_code_runs_in_the_main_thread(worker: Any) -> None:
    worker.start(handler("import asyncio; asyncio.run(asyncio.sleep(0)); print(threading.current_thread().name)"))
    worker.post([])
    assert worker.output() == "[batch 12] MainThread\n"


def test_a_pool_of_processes_can_end_its_own(worker: Any) -> None:
    lines = [
        "import multiprocessing",
        "with multiprocessing.get_context('fork').Pool(2) as pool: print(sum(pool.map(abs, payload)))",
    ]
    worker.start(handler(*lines))
    assert worker.post([-1, -2]) == (200, "{}")
    assert worker.post([-3]) == (200, "{}")
    assert worker.output() == "[batch 12] 3\n[batch 12] 3\n"
    assert worker.stop() == 0
