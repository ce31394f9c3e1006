"""What replicas do, and what their calls come to: the list at the end of spec/verda.md section 5."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.acceptance.command import until
from tests.acceptance.verda.kit import Deployed, Verda, completed, wait_for


@pytest.fixture(scope="module")
def deployed(verda: Verda) -> Iterator[Deployed]:
    with verda.deployed("example", replicas=3) as opened:
        yield opened


def test_a_job_that_works_answers_and_exits(deployed: Deployed) -> None:
    execution = deployed.run("job?duration=1")
    assert completed(execution) is None
    result = execution.result()
    assert (set(result), result["success"]) == ({"success", "message", "executionTime", "timestamp"}, True)
    assert result["executionTime"] >= 1
    assert datetime.fromisoformat(result["timestamp"])
    assert deployed.fetch("result", execution.id).status == 200


def test_a_job_that_fails(deployed: Deployed) -> None:
    execution = deployed.run("job?failed=true")
    assert completed(execution) == "container replied with HTTP 500"
    assert execution.result() == {"detail": "the job failed"}
    assert deployed.fetch("result", execution.id).status == 500


def test_every_job_has_a_replica_of_its_own(deployed: Deployed) -> None:
    """A second request to the same one would get 503."""
    executions = [deployed.run("job") for _ in range(5)]
    assert [completed(execution) for execution in executions] == [None] * 5
    ids = {execution.id for execution in executions}
    assert len({pid for pid, id, *_ in deployed.notes("began") if id in ids}) == 5


def test_a_reply_and_then_a_bad_exit_within_two_seconds(deployed: Deployed) -> None:
    """`failed=true` with a good answer: the exit code counts as long as it is waited for."""
    execution = deployed.run("bad-exit?code=5&after=0.5", {"kept": 1})
    assert completed(execution) == "process exited with code 5"
    assert execution.result() == {"kept": 1}


def test_three_jobs_and_two_replicas(verda: Verda) -> None:
    with verda.deployed("narrow", replicas=2) as deployed:
        executions = [deployed.run(f"gate?name={number}") for number in range(3)]
        for execution in executions[:2]:
            wait_for(execution, "Inference")
        assert [execution.status_json()["Status"] for execution in executions] == ["Inference", "Inference", "Queue"]
        deployed.open("1")
        wait_for(executions[2], "Inference")
        assert executions[0].status_json()["Status"] == "Inference"
        deployed.open("0")
        deployed.open("2")
        assert [completed(execution) for execution in executions] == [None] * 3
        assert deployed.most_at_once() == 2


def test_a_reply_without_an_exit_holds_its_slot_until_the_deadline(verda: Verda) -> None:
    with verda.deployed("lingering", replicas=1, deadline_s=6) as deployed:
        first, second = deployed.run("linger", {"kept": True}), deployed.run("job")
        assert completed(first) is None
        assert first.result() == {"kept": True}
        assert second.status_json()["Status"] == "Queue"
        assert completed(second) is None
        assert deployed.most_at_once() == 1
        assert first.status_json()["Error"] is None  # what came later changes nothing
        assert first.result() == {"kept": True}


@pytest.mark.parametrize(
    ("start", "path", "error"),
    [
        ("", "exit?code=0", None),
        ("", "exit?code=4", "process exited with code 4"),
        ("crash", "job", "process exited with code 7"),
        ("gone", "job", "replica exited before accepting the job"),
        ("deaf", "job", "deadline of 5s exceeded"),
        ("unhealthy", "job", "deadline of 5s exceeded"),
        ("", "gate?name=never", "deadline of 5s exceeded"),
        ("", "stubborn", "deadline of 5s exceeded"),
    ],
)
def test_bad_ends(verda: Verda, start: str, path: str, error: str | None) -> None:
    deadline_s = 5 if error and "deadline" in error else 300
    with verda.deployed("bad", replicas=1, deadline_s=deadline_s, start=start) as deployed:
        execution = deployed.run(path)
        assert completed(execution) == error
        assert len(deployed.notes("began")) == (0 if start else 1)


def test_a_program_that_is_not_there(verda: Verda) -> None:
    """As an image that can't be pulled: that call fails, the deployment goes on."""
    with verda.deployed("missing", entrypoint=["/no/such/program"]) as deployed:
        error = completed(deployed.run("job"))
        assert error
        assert verda.jobs.get_status("missing").value == "running"


def test_fewer_replicas_let_those_that_run_finish(verda: Verda) -> None:
    with verda.deployed("shrinking", replicas=2) as deployed:
        running = [deployed.run(f"gate?name={number}") for number in range(2)]
        for execution in running:
            wait_for(execution, "Inference")
        found = verda.jobs.get_by_name("shrinking")
        found.scaling.max_replica_count = 1
        verda.jobs.update("shrinking", found)
        waiting = deployed.run("job")
        deployed.open("0")
        assert completed(running[0]) is None
        until(lambda: len(deployed.notes("down")) == 1, "the first replica's end")
        assert waiting.status_json()["Status"] == "Queue"
        deployed.open("1")
        assert [completed(execution) for execution in (running[1], waiting)] == [None, None]


def test_a_deadline_that_is_changed_is_for_later_calls(verda: Verda) -> None:
    with verda.deployed("patient", replicas=1) as deployed:
        early = deployed.run("gate?name=go")
        wait_for(early, "Inference")
        found = verda.jobs.get_by_name("patient")
        found.scaling.deadline_seconds = 1
        verda.jobs.update("patient", found)
        later = deployed.run("gate?name=never")
        deployed.open("go")
        assert completed(early) is None
        assert completed(later) == "deadline of 1s exceeded"
