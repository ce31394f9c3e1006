"""What the watcher does with a replica that does not end at SIGTERM: a cluster alone would let it run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from batchflow.deployments import watching
from batchflow.deployments.watching import Watcher
from batchflow.engines.protocol import Observation
from batchflow.store.calls import DeploymentRecords
from batchflow.store.open import open_store
from tests.unit.stored_calls import started_call

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
    assert [looked() for _ in range(3)] == [1, 1, 1]
    assert (records.running(), call.ending()) == ([call.ref.call], None), "its pod still runs"
    assert call.log("main") == b"last words\n"
    cluster.seen = Observation()
    looked()
    ending = call.ending()
    assert ending is not None and ending.error == "deadline of 60s exceeded"
    assert records.running() == []
