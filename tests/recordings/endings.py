"""Jobs that come to an end by themselves."""

from __future__ import annotations

from tests.recordings.moments import counters, deleted, every, is_between_tries, is_new, is_taken_up, is_up, no, node_says, phase, restarted
from tests.recordings.scenario import (
    PYTHON,
    Moment,
    Scenario,
    container,
    drain_a_worker,
    ending,
    handler,
    items,
    kill_a_worker,
    lines,
)

TWO_FAILED = {"failed": 2}

GOOD_ENDINGS = (
    Scenario(
        "hello",
        items(12),
        (
            Moment("pending", every(no(is_new), phase("enqueue", "Pending")), "pending"),
            Moment("workers-pending", every(phase("work", "Pending", 2), is_taken_up("work", 2)), "running", {"initializing": 2}),
            Moment(
                "handler-not-ready",
                counters("waiting", number=2, error="listened"),
                "running",
                {"initializing": 2},
                ("worker 0", "listened"),
            ),
            Moment("running", counters("ready", number=2, finished=1), "running", {"running": 2}),
            Moment("finalizing", phase("finalize", "Running"), "running", {"succeeded": 2}),
            *ending("succeeded", "succeeded", workers={"succeeded": 2}),
        ),
        api=PYTHON,
        handler=handler("time.sleep(2)", start="time.sleep(15)", hook="time.sleep(3)"),
    ),
    Scenario("no-batches", lines(), ending("no-batches", "succeeded", workers={}), handler=handler(), lines="\n"),
    Scenario(
        "some-fail",
        items(6),
        ending("completed-with-failures", "completed_with_failures", "1 of 6 batches failed", workers={"succeeded": 2}),
        handler=handler("1 / payload[0]"),
    ),
    Scenario(
        "handler-crashes-once",
        items(6, 1),
        (
            Moment("handler-restarted", every(restarted("handler"), counters("ready")), "running", {"running": 1}),
            *ending("handler-crashed-once", "completed_with_failures", "1 of 6 batches failed", workers={"succeeded": 1}),
        ),
        handler=handler("os._exit(9) if payload[0] == 1 else time.sleep(2)"),
    ),
    Scenario(
        "drained",
        items(20),
        (
            Moment("", counters("ready", number=2, finished=1), then=drain_a_worker),
            Moment("draining", deleted("work"), "running", {"running": 2}),
            Moment("worker-drained", is_between_tries, "running", {"pending": 1, "running": 1}, ("worker", "tried again")),
            *ending("drained", "succeeded", workers={"succeeded": 2}),
        ),
        handler=handler("time.sleep(4)"),
    ),
    Scenario(
        "loses-a-worker",
        items(20),
        (
            Moment("", counters("ready", number=2, finished=1), then=kill_a_worker),
            Moment(
                "worker-lost",
                every(is_between_tries, node_says("pod deleted")),
                "running",
                {"pending": 1, "running": 1},
                ("tried again", "pod deleted"),
            ),
            *ending("worker-replaced", "succeeded", workers={"succeeded": 2}),
        ),
        handler=handler("time.sleep(4)"),
    ),
)

BAD_ENDINGS = (
    Scenario(
        "bad-line",
        lines(),
        ending("enqueue-failed", "enqueue_failed", "bad-line.jsonl:3", meanwhile="enqueuing"),
        handler=handler(),
        lines="1\n2\nthree\n",
    ),
    Scenario(
        "hook-fails",
        items(2, 1),
        ending("hook-failed", "worker_error", "on-job-complete failed", "no results", workers={"succeeded": 1}),
        api=PYTHON,
        handler=handler(hook="raise ValueError('no results')"),
    ),
    Scenario(
        "import-error",
        items(2),
        (
            Moment("import-error-restarted", restarted("handler", 2), "running", {"initializing": 2}, ("handler", "exit code 1")),
            *ending("import-error", "worker_error", "no_such_module", "2 of 2 batches have no outcome", workers=TWO_FAILED),
        ),
        api=PYTHON,
        handler="import no_such_module\n",
    ),
    Scenario(
        "deaf",
        items(2),
        (
            Moment(
                "deaf-waiting",
                counters("waiting", error="listened", number=2),
                "running",
                {"initializing": 2},
                ("nothing listened on 127.0.0.1:8080",),
            ),
            *ending("deaf", "worker_error", "nothing listened on 127.0.0.1:8080 within 10 s", workers=TWO_FAILED),
        ),
        api=container("sleep 3600", start_timeout_s=10),
    ),
    Scenario(
        "crashes",
        items(2),
        (
            # Whether its dequeuer starts is chance (docs/status.md), so it may take a while.
            Moment(
                "crash-loop",
                every(restarted("server", 2), no(is_up("server"))),
                "running",
                {"initializing": 2},
                ("container server", "exit code 3"),
            ),
            *ending("crashed", "worker_error", "container server was restarted", "exit code 3", workers=TWO_FAILED, within_s=1800),
        ),
        api=container("echo no model >&2; sleep 0.5; exit 3", start_timeout_s=45),
    ),
    Scenario(
        "oom",
        items(2),
        ending("worker-oom", "worker_oom", "container server was restarted", "out of memory", workers=TWO_FAILED, within_s=1800),
        api=container("exec python3 -c 'import time; time.sleep(3); x = bytearray(10**9)'", start_timeout_s=20, memory_limit="40Mi"),
    ),
    Scenario(
        "slow",
        items(40, timeout=45),
        ending("timed-out", "timed_out", "the job's timeout passed", "batches have no outcome", workers=TWO_FAILED, waiting=("last pods",)),
        handler=handler("time.sleep(5)"),
    ),
)

ENDINGS = (*GOOD_ENDINGS, *BAD_ENDINGS)
