"""Jobs that somebody cuts off."""

from __future__ import annotations

from tests.recordings.moments import counters, every, has_ended, is_gone, is_quiet, is_stopping, phase
from tests.recordings.scenario import Moment, Scenario, delete_workflow, ending, handler, items, lines, resume, stop, terminate

TWO_FAILED = {"failed": 2}
STOPPING = ("being stopped",)

CUT_OFF = (
    Scenario(
        "lines",
        lines(),
        (
            Moment("enqueuing", lambda seen: seen["store"].get("enqueue.json", {}).get("next_index", 0) > 0, "enqueuing", then=stop),
            *ending("stopped-while-enqueuing", "stopped", "enqueuing had not ended", meanwhile="enqueuing", waiting=STOPPING),
        ),
        handler=handler(),
        lines="1\n" * 100_000,
    ),
    Scenario(
        "stopped",
        items(16),
        (
            Moment("", counters("ready", number=2, finished=1), then=stop),
            Moment("stopping", is_stopping, "running", {"running": 2}, STOPPING),
            *ending("stopped", "stopped", "batches have no outcome", workers=TWO_FAILED, waiting=STOPPING, then=resume),
            Moment("resumed-enqueuing", phase("enqueue", "Running"), "enqueuing"),
            Moment("resumed-running", counters("ready", finished=1), "running", {"running": 2}),
            *ending("resumed", "succeeded", workers={"succeeded": 2}),
        ),
        handler=handler("time.sleep(3)"),
    ),
    Scenario(
        "terminated",
        items(40),
        (
            Moment("", counters("ready", number=2, finished=1), then=terminate),
            Moment("terminating", has_ended, "running", TWO_FAILED, ("last pods",)),
            Moment("terminated", every(has_ended, is_quiet), "stopped", words=("batches have no outcome",)),
        ),
        handler=handler("time.sleep(3)"),
    ),
    Scenario(
        "vanished",
        items(40),
        (
            Moment("", counters("ready", number=2, finished=1), then=delete_workflow),
            Moment("vanishing", is_gone, "running", words=("the workflow was deleted",)),
            Moment("vanished", every(is_gone, is_quiet), "unexpected_error", words=("the workflow was deleted", "batches have no outcome")),
        ),
        handler=handler("time.sleep(3)"),
    ),
)
