"""What a replica's workflow and pods say, and how its call ends: each ending of spec/verda.md sections 3.4 and 5."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from batchflow.callrecords import REPLY_LOST, Reply
from batchflow.deployments.endings import error_of
from batchflow.deployments.replicas import Replica, containers_of, reason_of_engine, reason_to_stop, replica_of
from batchflow.engines.protocol import Observation

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC).timestamp()
STARTED = datetime(2026, 11, 22, 19, 50, 0, tzinfo=UTC).timestamp()
BACK_OFF = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "registry.example/app:1"'}
NO_COURIER = "its courier can't be used (exit code 64), and has logged why"
BACK_OFF_TEXT = 'container main: ImagePullBackOff: Back-off pulling image "registry.example/app:1"'
DEADLINE = "Step exceeded its deadline"
ENOUGH = "2026-11-22T19:59:59Z"  # times are cut off
KILLED = "the local engine ended before the job did (killed?)"
LOOKUP = (
    'failed to look-up entrypoint/cmd for image "registry.example/app:1", you must either explicitly specify the command, or list it in '
    "the index: https://argo-workflows.readthedocs.io/en/latest/workflow-executors/#emissary-emissary: connection refused"
)

Json = dict[str, Any]


def workflow(phase: str = "Running", message: str = "", *, node: Json | None = None, shutdown: bool = False) -> Json:
    nodes = {"a": {"id": "a", "type": "Pod", "phase": "Running", **(node or {})}}
    return {"spec": {"shutdown": "Stop"} if shutdown else {}, "status": {"phase": phase, "message": message, "nodes": nodes}}


def pod(phase: str = "Running", name: str = "replica-1", *, due: str = "", unscheduled: str = "", **state: Json) -> Json:
    """`state` is main's."""
    conditions = [{"type": "PodScheduled", "status": "False", "message": unscheduled}] if unscheduled else []
    return {
        "metadata": {"name": name, **({"deletionTimestamp": due} if due else {})},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "initContainerStatuses": [{"name": "init"}, {"name": "courier", "state": {"running": {"startedAt": "2026-11-22T19:49:00Z"}}}],
            "containerStatuses": [{"name": "main", "state": state}, {"name": "wait"}],
        },
    }


RUNNING = {"startedAt": "2026-11-22T19:50:00Z"}
CREATING = {"reason": "ContainerCreating"}


def terminated(code: int, finished: str = "2026-11-22T19:59:00Z") -> Json:
    return {"exitCode": code, "startedAt": "2026-11-22T19:50:00Z", "finishedAt": finished}


@pytest.mark.parametrize(
    ("seen", "is_gone"),
    [
        (Observation({"spec": {}}, []), False),  # no controller has seen it
        (Observation(workflow(), [pod(running=RUNNING)]), False),
        (Observation(workflow(), [pod("Failed", terminated=terminated(1))]), False),  # Argo is about to see it
        (Observation(workflow("Failed"), [pod(terminated=terminated(1))]), False),  # the courier saves the reply
        (Observation(workflow("Failed"), [pod(running=RUNNING)]), False),  # stopped, within its grace period
        (Observation(workflow("Failed"), [pod("Pending")]), False),
        (Observation(workflow("Failed"), [pod("Failed", terminated=terminated(1))]), True),
        (Observation(workflow("Succeeded"), [pod("Succeeded", terminated=terminated(0))]), True),
        (Observation(workflow("Error"), []), True),  # it never had a pod, or that was removed
        (Observation(workflow("Failed"), [pod("Failed"), pod(running=RUNNING)]), False),  # Argo made the pod anew
        (Observation(workflow("Failed"), [pod(due="2026-11-22T19:59:30Z", running=RUNNING)]), False),
        (Observation(workflow("Failed"), [pod(due="2026-11-22T19:58:00Z", running=RUNNING)]), True),  # its node is lost
        (Observation(None, [pod(running=RUNNING)]), False),  # deleted, and its pod is about to be
        (Observation(None, []), True),
        (Observation(None, [pod(running=RUNNING)], KILLED), True),  # the engine takes its processes along
    ],
)
def test_a_replica_is_gone_when_nothing_of_it_runs(seen: Observation, is_gone: bool) -> None:
    assert replica_of(seen, NOW).is_gone is is_gone


@pytest.mark.parametrize(
    ("seen", "started", "exit_code"),
    [
        (Observation(workflow(), []), None, None),
        (Observation(workflow(), [pod("Pending", waiting=CREATING)]), None, None),
        (Observation(workflow(), [pod(running=RUNNING)]), STARTED, None),
        (Observation(workflow(), [pod(terminated=terminated(0))]), STARTED, 0),
        (Observation(workflow(), [pod(terminated=terminated(137))]), STARTED, 137),
        (Observation(workflow("Failed", node={"outputs": {"exitCode": "3"}}), []), None, 3),
        (Observation(workflow("Failed", node={"outputs": {"exitCode": "-1"}}), []), None, None),
        (
            Observation(workflow(), [pod("Failed", "first", waiting=CREATING), pod("Failed", "second", terminated=terminated(4))]),
            STARTED,
            4,
        ),
        (Observation(None, [pod("Failed", terminated=terminated(5))]), STARTED, 5),
    ],
)
def test_when_main_started_and_how_it_ended(seen: Observation, started: float | None, exit_code: int | None) -> None:
    replica = replica_of(seen, NOW)
    assert (replica.started, replica.exit_code) == (started, exit_code)


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (Observation(workflow(), [pod("Pending", waiting=CREATING)]), ""),
        (Observation(workflow(), [pod("Pending", unscheduled="0/3 nodes are available")]), ""),  # a node may come
        (Observation(workflow(), [pod("Pending", waiting=BACK_OFF)]), BACK_OFF_TEXT),
        (Observation(workflow(), [pod("Pending", waiting={"reason": "InvalidImageName"})]), "container main: InvalidImageName"),
        (
            Observation(workflow(), [pod("Pending", waiting={"reason": "CreateContainerConfigError", "message": 'secret "a" not found'})]),
            'container main: CreateContainerConfigError: secret "a" not found',
        ),
        (Observation(workflow("Failed"), [pod("Failed", waiting=BACK_OFF)]), ""),
        (
            Observation(workflow(node={"phase": "Pending", "message": LOOKUP}), []),
            "Argo can't look up the entrypoint of image registry.example/app:1 in its registry (connection refused); "
            "name the command: entrypoint_overrides with enabled: true and an entrypoint",
        ),
    ],
)
def test_what_keeps_a_replica_from_starting(seen: Observation, problem: str) -> None:
    assert replica_of(seen, NOW).problem == problem


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"state": {"terminated": terminated(64)}}, NO_COURIER),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": terminated(64)}}, NO_COURIER),
        ({"state": {"running": RUNNING}, "lastState": {"terminated": terminated(64)}}, NO_COURIER),  # for a moment
        ({"state": {"running": RUNNING}, "lastState": {"terminated": terminated(75)}}, ""),  # the store may be back
        ({"state": {"running": RUNNING}, "lastState": {"terminated": terminated(137)}}, ""),
    ],
)
def test_a_courier_that_can_not_do_its_work_keeps_a_replica_from_its_job(state: Json, problem: str) -> None:
    seen = pod(running=RUNNING)
    seen["status"]["initContainerStatuses"][1] = {"name": "courier", **state}
    assert replica_of(Observation(workflow(), [seen]), NOW).problem == problem
    seen["status"]["phase"] = "Failed"
    assert replica_of(Observation(workflow(), [seen]), NOW).problem == ""


@pytest.mark.parametrize(
    ("replica", "problem_s", "reason"),
    [
        (Replica(), 0, ""),
        (Replica(started=NOW - 600), 0, ""),  # it may have been started almost a second later than it says
        (Replica(started=NOW - 601), 0, "deadline of 600s exceeded"),
        (Replica(problem="container main: ErrImagePull"), 60, ""),
        (Replica(problem="container main: ErrImagePull"), 61, "replica could not be started: container main: ErrImagePull"),
    ],
)
def test_a_replica_is_stopped_at_its_deadline_or_if_it_can_not_start(replica: Replica, problem_s: float, reason: str) -> None:
    assert reason_to_stop(replica, deadline_s=600, problem_s=problem_s, now=NOW) == reason


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Observation(workflow("Failed", "main: Error (exit code 1)"), [pod("Failed", terminated=terminated(1))]), ""),
        (Observation(workflow("Failed", DEADLINE), [pod("Failed", terminated=terminated(143, ENOUGH))]), "deadline of 600s exceeded"),
        (Observation(workflow("Failed", DEADLINE), [pod(running=RUNNING)]), "deadline of 600s exceeded"),  # its node is lost
        (
            Observation(workflow("Failed", DEADLINE), [pod("Failed", terminated=terminated(143))]),
            "replica started too late: it was stopped after 540s of its 600s",
        ),
        (Observation(workflow("Failed", DEADLINE), []), "replica could not be started: there was no time left for it"),
        (
            Observation(workflow("Failed", DEADLINE), [pod("Failed", unscheduled="0/3 nodes are available")]),
            "replica could not be started: can't be scheduled: 0/3 nodes are available",
        ),
        (
            Observation(workflow("Error", node={"message": LOOKUP}), []),
            "replica could not be started: Argo can't look up the entrypoint of image registry.example/app:1 in its registry "
            "(connection refused); name the command: entrypoint_overrides with enabled: true and an entrypoint",
        ),
        (
            Observation(workflow("Failed", DEADLINE, node={"message": LOOKUP}), []),
            "replica could not be started: Argo can't look up the entrypoint of image registry.example/app:1 in its registry "
            "(connection refused); name the command: entrypoint_overrides with enabled: true and an entrypoint",
        ),
    ],
)
def test_a_workflow_that_the_engine_itself_has_ended(seen: Observation, reason: str) -> None:
    assert reason_of_engine(replica_of(seen, NOW), deadline_s=600) == reason


@pytest.mark.parametrize(
    ("seen", "explanation"),
    [
        (
            Observation(workflow("Error", "invalid spec: unknown field"), []),
            "invalid spec: unknown field",
        ),
        (Observation(workflow("Failed", "child 'a' failed", node={"message": "pod deleted"}), []), "pod deleted"),
        (Observation(workflow("Failed", "Stopped with strategy 'Stop'", shutdown=True), []), ""),
        (Observation(workflow("Failed"), [pod("Failed", waiting=BACK_OFF)]), BACK_OFF_TEXT),
        (Observation(None, []), "its workflow was deleted"),
        (Observation(None, [], KILLED), KILLED),
    ],
)
def test_the_best_explanation_of_an_end_that_was_not_mains(seen: Observation, explanation: str) -> None:
    assert replica_of(seen, NOW).explanation == explanation


def test_somebody_has_asked_for_its_end() -> None:
    assert replica_of(Observation(workflow(shutdown=True), []), NOW).is_stopping
    assert replica_of(Observation(None, [pod()]), NOW).is_stopping
    assert not replica_of(Observation(workflow(), []), NOW).is_stopping


def test_the_logs_of_argos_own_containers_are_left_out() -> None:
    assert containers_of(Observation(None, [pod()]), NOW) == [("replica-1", "courier"), ("replica-1", "main")]


def test_a_pod_on_a_lost_node_has_no_logs_that_can_be_had() -> None:
    assert containers_of(Observation(None, [pod(due="2026-11-22T19:58:00Z")]), NOW) == []


GOOD, BAD = Reply(200, "text/plain", 2), Reply(500, "application/json", 9)


@pytest.mark.parametrize(
    ("stop_reason", "reply", "unanswered", "delivered", "exit_code", "explanation", "error"),
    [
        ("", GOOD, None, True, 0, "", ""),
        ("", None, "", True, 0, "", ""),  # it did its work, and had nothing to say
        ("", None, None, True, 0, "", REPLY_LOST),  # nobody knows what it had to say
        ("", None, "it broke off", True, 0, "", "it broke off"),
        ("", None, "it broke off", True, 3, "", "process exited with code 3"),
        ("deployment deleted", None, "it broke off", True, 0, "", "deployment deleted"),
        ("", BAD, None, True, 0, "", "container replied with HTTP 500"),
        ("", BAD, None, True, 1, "", "container replied with HTTP 500"),  # `failed=true` of the example
        ("", GOOD, None, True, 3, "", "process exited with code 3"),
        ("", None, None, True, 3, "", "process exited with code 3"),
        ("", None, None, True, 137, "", "process exited with code 137"),
        ("", None, None, False, 1, "", "process exited with code 1"),  # crash at start
        ("", None, None, False, 0, "", "replica exited before accepting the job"),
        ("deadline of 600s exceeded", None, None, True, 143, "", "deadline of 600s exceeded"),
        ("deadline of 600s exceeded", None, None, False, 143, "", "deadline of 600s exceeded"),  # never healthy
        ("deadline of 600s exceeded", BAD, None, True, 137, "", "deadline of 600s exceeded"),
        ("deployment deleted", None, None, False, None, "", "deployment deleted"),
        ("", None, None, False, None, BACK_OFF_TEXT, BACK_OFF_TEXT),
        ("", None, None, True, None, "pod deleted", "pod deleted"),
        ("", None, None, True, None, "", "the replica was lost"),
        ("", GOOD, None, True, None, "pod deleted", ""),  # its reply is there
        ("", BAD, None, True, None, "pod deleted", "container replied with HTTP 500"),
    ],
)
def test_the_error_of_each_ending(
    stop_reason: str, reply: Reply | None, unanswered: str | None, delivered: bool, exit_code: int | None, explanation: str, error: str
) -> None:
    told = error_of(
        stop_reason=stop_reason, reply=reply, unanswered=unanswered, delivered=delivered, exit_code=exit_code, explanation=explanation
    )
    assert told == error
