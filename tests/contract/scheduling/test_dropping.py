"""Calls that were to be started, and lost their slots before they had replicas: they wait as all others do."""

from __future__ import annotations

import time
from typing import Any

import pytest

from batchflow.callrecords import Fate
from batchflow.deployments.calls import Calls
from batchflow.deployments.dropping import drop
from batchflow.errors import Unreachable
from batchflow.store.deployments import PAUSED, CallRecords, DeploymentRecords
from tests.contract.scheduling.kit import Namespace, ended, until, waiting


def given_up(space: Namespace, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[DeploymentRecords, CallRecords]:
    """A call whose replica could not be created before its deployment was paused."""
    records = space.deploy(replicas=1)
    call = space.enter(records, "given-up", **settings)
    scheduler = space.scheduler()

    def submit(workflow: Any, *, directory: str) -> None:
        raise Unreachable("no room for another workflow")

    with monkeypatch.context() as broken:
        broken.setattr(space.engine, "submit", submit)
        scheduler.tick()
        assert records.running() == [call.ref.call]
        records.set_flag(PAUSED, True)
        until(scheduler, lambda: records.running() == [], "the slot is given back")
    assert waiting(records) == [call.ref.call]
    return records, call


def test_a_purge_drops_it(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    records, call = given_up(space, monkeypatch)
    Calls(records).purge()
    scheduler = space.scheduler()
    assert ended(scheduler, call).error == "purged from queue"
    assert waiting(records) == []
    records.set_flag(PAUSED, False)
    later = space.enter(records, "later")
    assert ended(scheduler, later).error == ""
    assert space.began() == ["later"]


def test_somebody_stops_it(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    records, call = given_up(space, monkeypatch)
    assert Calls(records).stop("given-up")
    assert ended(space.scheduler(), call).error == "stopped"
    assert space.began() == []


@pytest.mark.parametrize("paused", [True, False])
def test_it_expires(space: Namespace, monkeypatch: pytest.MonkeyPatch, paused: bool) -> None:
    records, call = given_up(space, monkeypatch, ttl_s=600)
    records.set_flag(PAUSED, paused)
    scheduler = space.scheduler(clock=lambda: time.time() + 900)
    scheduler.clean()
    assert ended(scheduler, call).error == "expired in queue after 600s"
    assert space.began() == []


def test_one_that_had_a_replica_is_not_dropped(space: Namespace) -> None:
    records = space.deploy(replicas=1)
    call = space.enter(records, "started")
    [found] = records.waiting()
    call.decide(Fate())
    call.mark_submitted()
    assert not drop(records, found, "purged from queue")
    assert (call.stop_reason(), records.running()) == ("", [])
