"""The lines of a call's replica, where it has none any more, or not yet."""

from __future__ import annotations

import io
from pathlib import Path
from threading import Event, Thread

import pytest

from batchflow.callrecords import CallRequest, Ending, JobDeploymentRecord
from batchflow.deployments.calls import Arrivals, Calls
from batchflow.deployments.replicalogs import replica_lines
from batchflow.engines.local.engine import LocalEngine
from batchflow.engines.protocol import Observation
from batchflow.errors import NotFound
from batchflow.settings import Settings
from batchflow.store.deployments import DeploymentRecords, JobDeployments
from batchflow.store.directory import DirectoryStore


class Looked(LocalEngine):
    """Tells when it was asked for a workflow, of which it has none."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Settings(local_dir=str(folder)))
        self.asked = Event()

    def observe(self, name: str) -> Observation:
        seen = super().observe(name)
        self.asked.set()
        return seen


@pytest.fixture
def records(tmp_path: Path) -> DeploymentRecords:
    found = JobDeployments(DirectoryStore(tmp_path / "store")).create("long-job", JobDeploymentRecord({}, "2026-01-01T00:00:00.000Z"))
    assert found is not None
    return found


@pytest.fixture
def call(records: DeploymentRecords) -> str:
    name = Arrivals().next()
    request = CallRequest(id="mine", method="GET", target="/", headers=[], body_bytes=0, deadline_s=60, ttl_s=60)
    Calls(records).enter(name, request, io.BytesIO())
    return name


def test_the_saved_lines_of_a_call_that_has_ended(records: DeploymentRecords, call: str, tmp_path: Path) -> None:
    records.call(call).save_log("main", b"one\ntwo\n")
    records.call(call).save_log("courier", b"three\n")
    records.call(call).end(Ending("", 1.0))
    for follow in (False, True):
        lines = replica_lines(Looked(tmp_path), records.call(call), follow=follow)
        assert [(line.container, line.text) for line in lines] == [("main", "one"), ("main", "two"), ("courier", "three")]
    assert [line.text for line in replica_lines(Looked(tmp_path), records.call(call), container="courier")] == ["three"]


def test_a_container_that_no_replica_has(records: DeploymentRecords, call: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match='no container "other"; it has main and courier'):
        replica_lines(Looked(tmp_path), records.call(call), container="other")


@pytest.mark.parametrize("whole", [True, False])
def test_whoever_follows_a_call_is_let_go_when_it_is_deleted(records: DeploymentRecords, call: str, tmp_path: Path, whole: bool) -> None:
    engine = Looked(tmp_path)
    following = Thread(target=list, args=(replica_lines(engine, records.call(call), follow=True),), daemon=True)
    following.start()
    assert engine.asked.wait(20)
    if whole:
        JobDeployments(records.store).forget(records)
    else:
        records.unregister(call)
    following.join(20)
    assert not following.is_alive()
