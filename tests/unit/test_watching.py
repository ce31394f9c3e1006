"""What the watcher does with a replica that does not end at SIGTERM: a cluster alone would let it run."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event

import pytest

from batchflow.deployments import logsaving, watching
from batchflow.deployments.watching import Watcher
from batchflow.engines.protocol import Observation
from batchflow.store.deployments import CallRecords, DeploymentRecords
from batchflow.store.open import open_store
from tests.acceptance.command import until
from tests.unit.stored_calls import started_call

HANG_S = 60

POD = {
    "metadata": {"name": "replica-1"},
    "status": {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {"startedAt": "2026-11-22T19:50:00Z"}}}]},
}
WORKFLOW = {"spec": {}, "status": {"phase": "Running"}}
STOPPED = {"spec": {"shutdown": "Stop"}, "status": {"phase": "Failed", "message": "Stopped with strategy 'Stop'"}}


class Cluster:
    """An engine whose replica goes on until it is killed: then its workflow is gone at once, its pod a while later."""

    def __init__(self) -> None:
        self.seen = Observation(WORKFLOW, [POD])
        self.kills = 0

    def observe(self, name: str) -> Observation:
        return self.seen

    def stop(self, name: str) -> None:
        self.seen = Observation(STOPPED, [POD])

    def kill(self, name: str) -> None:
        self.kills += 1
        self.seen = Observation(None, [POD])

    def log_tail(self, name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        return b"last words\n"


def test_a_replica_that_does_not_stop_is_killed_once_its_grace_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = started_call(open_store(str(tmp_path)), deadline_s=60)
    records = DeploymentRecords(call.store, call.ref.deployment, call.ref.deployment_id)
    records.claim(call.ref.call, "token")
    cluster = Cluster()
    watcher = Watcher(cluster, time.time)  # type: ignore[arg-type] # the methods that it has are all that are called

    def looked() -> int:
        watcher.watch(records, call, is_terminating=False)
        return cluster.kills

    assert [looked() for _ in range(3)] == [0, 0, 0]
    monkeypatch.setattr(watching, "KILL_AFTER_S", 0.0)
    until(lambda: looked() == 1, "killed")
    until(lambda: looked() == 1, "it is killed once its logs are saved")
    assert [looked() for _ in range(3)] == [1, 1, 1]
    assert (records.running(), call.ending()) == ([call.ref.call], None), "its pod still runs"
    assert call.log("main") == b"last words\n"
    cluster.seen = Observation()
    looked()
    ending = call.ending()
    assert ending is not None and ending.error == "deadline of 60s exceeded"
    assert records.running() == []


class Silent(Cluster):
    """Its replica has ended; its node gives no log until it is `answering`."""

    def __init__(self) -> None:
        super().__init__()
        ended = {"name": "main", "state": {"terminated": {"exitCode": 0, "startedAt": "2026-11-22T19:50:00Z"}}}
        pod = {**POD, "status": {"phase": "Succeeded", "containerStatuses": [ended]}}
        self.seen = Observation({"spec": {}, "status": {"phase": "Succeeded"}}, [pod])
        self.answering = Event()

    def log_tail(self, name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        assert self.answering.wait(HANG_S)
        return super().log_tail(name, pod, container, limit_bytes)


def silent(tmp_path: Path) -> tuple[Silent, Watcher, DeploymentRecords, CallRecords, Event]:
    call = started_call(open_store(str(tmp_path)))
    records = DeploymentRecords(call.store, call.ref.deployment, call.ref.deployment_id)
    records.claim(call.ref.call, "token")
    cluster, woken = Silent(), Event()
    return cluster, Watcher(cluster, time.time, woken.set), records, call, woken  # type: ignore[arg-type] # as above


def test_a_call_ends_without_its_logs_and_its_slot_is_given_back_when_they_are_stored(tmp_path: Path) -> None:
    cluster, watcher, records, call, woken = silent(tmp_path)
    for _ in range(3):
        watcher.watch(records, call, is_terminating=False)
    assert call.ending() is not None
    assert (records.running(), woken.is_set()) == ([call.ref.call], False)
    cluster.answering.set()
    assert woken.wait(HANG_S)
    watcher.watch(records, call, is_terminating=False)
    assert (records.running(), call.log("main")) == ([], b"last words\n")


def test_logs_that_do_not_come_hold_up_no_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logsaving, "WITHIN_S", 0.0)
    cluster, watcher, records, call, woken = silent(tmp_path)
    watcher.watch(records, call, is_terminating=False)
    assert call.ending() is not None
    assert (records.running(), call.log("main")) == ([], None)
    cluster.answering.set()
    assert woken.wait(HANG_S)
    assert call.log("main") == b"last words\n", "they came after all"
