"""The scheduler with real replicas: each way in which a call ends (spec/verda.md section 5)."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from batchflow.deployments.calls import COMPLETED, Calls
from batchflow.deployments.listing import latest_calls
from batchflow.spec.computeresource import ComputeResource
from tests.contract.scheduling.kit import Driven, Namespace, ended, until, waiting


def test_the_deadline_ends_a_replica_whatever_it_does(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy()
    call = space.enter(records, "long", deadline_s=1, work_s=600)
    assert ended(scheduler, call).error == "deadline of 1s exceeded"
    assert "delivered.json" in call.names()
    assert len(space.notes("down")) == 1


def test_a_replica_that_never_gets_healthy_ends_at_its_deadline(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(UNHEALTHY="1")
    call = space.enter(records, "never", deadline_s=1)
    assert ended(scheduler, call).error == "deadline of 1s exceeded"
    assert "delivered.json" not in call.names()


@pytest.mark.parametrize(
    ("code", "error"), [("3", "process exited with code 3"), ("0", "replica exited before accepting the job")], ids=["crash", "exit"]
)
def test_a_replica_that_ends_at_its_start(space: Namespace, scheduler: Driven, code: str, error: str) -> None:
    records = space.deploy(AT_START=code)
    call = space.enter(records, "early")
    ending = ended(scheduler, call)
    assert (ending.error, ending.exit_code) == (error, int(code))
    assert "delivered.json" not in call.names()


@pytest.mark.parametrize(("code", "error"), [(7, "process exited with code 7"), (0, "")])
def test_a_replica_that_ends_before_it_replies(space: Namespace, scheduler: Driven, code: int, error: str) -> None:
    records = space.deploy()
    call = space.enter(records, "no-reply", crash=code)
    ending = ended(scheduler, call)
    assert (ending.error, ending.exit_code, call.reply()) == (error, code, None)
    assert space.began() == ["no-reply"]


def test_a_bad_reply_and_a_bad_exit_code(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy()
    bad_reply = space.enter(records, "bad-reply", status=500, exit=1)
    bad_exit = space.enter(records, "bad-exit", exit=4)
    assert ended(scheduler, bad_reply).error == "container replied with HTTP 500"
    assert ended(scheduler, bad_exit).error == "process exited with code 4"


def test_a_replica_that_stays_after_its_reply_keeps_its_slot_until_its_deadline(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    staying = space.enter(records, "staying", deadline_s=6, stays=True)
    following = space.enter(records, "following")
    until(scheduler, lambda: staying.ending())
    scheduler.tick()
    assert (records.running(), waiting(records)) == ([staying.ref.call], [following.ref.call])
    assert ended(scheduler, staying).error == ""
    assert staying.stop_reason() == "deadline of 6s exceeded"
    assert ended(scheduler, following).error == ""
    assert space.most_at_once() == 1


def test_the_logs_of_replica_and_courier_are_kept(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy()
    call = space.enter(records, "logged")
    ended(scheduler, call)
    assert b"at work\n" in (call.log("main") or b"")
    assert b"delivering" in (call.log("courier") or b"")


def test_a_replica_whose_engine_is_killed(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    call = space.enter(records, "lost", work_s=600)
    until(scheduler, lambda: space.began())
    os.kill(space.engine_pid(call), signal.SIGKILL)
    assert ended(scheduler, call).error == "the local engine ended before the job did (killed?)"
    assert ended(scheduler, space.enter(records, "next")).error == ""
    assert space.began() == ["lost", "next"]


def test_a_call_that_is_stopped(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    running = space.enter(records, "running", work_s=600)
    queued = space.enter(records, "queued")
    until(scheduler, lambda: space.began())
    for id in ("queued", "running"):
        assert Calls(records).stop(id)
    assert ended(scheduler, running).error == "stopped"
    assert ended(scheduler, queued).error == "stopped"
    assert space.began() == ["running"]


def test_one_that_has_answered_and_does_not_exit_can_be_stopped(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    call = space.enter(records, "staying", work_s=0, stays=True)
    until(scheduler, lambda: call.ending())
    [view] = latest_calls(records, 5).calls
    assert (view.status, view.message) == (COMPLETED, "its replica is not gone yet, and keeps its slot")
    assert Calls(records).stop("staying")
    ending = ended(scheduler, call)
    assert (ending.error, call.reply() is not None, call.stop_reason()) == ("", True, "stopped")
    assert not Calls(records).stop("staying"), "nothing of it runs"
    [view] = latest_calls(records, 5).calls
    assert view.message == ""


def test_a_call_of_a_deployment_whose_compute_is_not_offered_any_more(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    space.rules = replace(space.rules, compute=(ComputeResource("Other"),))
    calls = [space.enter(records, f"call-{number}") for number in range(2)]
    error = 'replica could not be started: compute: name: "CPUNode" is not offered any more; update the deployment'
    assert [ended(scheduler, call).error for call in calls] == [error] * 2
    assert space.runs() == []


def test_a_call_that_the_engine_refuses(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    record = records.load()
    assert record is not None
    record.spec["containers"][0]["entrypoint_overrides"]["enabled"] = False
    records.save(record)
    assert "needs a command" in ended(scheduler, space.enter(records, "refused")).error
    assert (space.runs(), waiting(records)) == ([], [])
