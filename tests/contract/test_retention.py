"""What is removed, and when: calls a day after their end, what was never finished, deployments that are no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.callrecords import new_call
from batchflow.deployments import retention
from batchflow.deployments.scheduler import Scheduler
from batchflow.store.calls import DeploymentRecords
from tests.contract.scheduler_kit import Namespace, ended, until

DAY_S = 86_400


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Namespace]:
    space = Namespace(tmp_path)
    yield space
    space.kill_engines()


def later(space: Namespace, seconds: float) -> Scheduler:
    """One whose clock is ahead."""
    return space.scheduler(clock=lambda: time.time() + seconds)


def kept(records: DeploymentRecords) -> list[str]:
    return list(records.calls())


def test_a_call_goes_a_day_after_its_end_with_its_id_and_its_run(space: Namespace) -> None:
    records = space.deploy()
    call = space.enter(records, "mine")
    ended(space.scheduler(), call)
    later(space, DAY_S - 100).clean()
    assert (records.call_of("mine"), len(space.runs())) == (call.ref.call, 1)
    later(space, DAY_S + 100).clean()
    assert (records.call_of("mine"), kept(records), space.runs()) == (None, [], [])
    assert space.enter(records, "mine").ref != call.ref  # the id is free


def test_a_call_that_waits_runs_or_lingers_is_kept_however_old_it_is(space: Namespace) -> None:
    records = space.deploy(replicas=2)
    calls = [
        space.enter(records, "running", ttl_s=2 * DAY_S, deadline_s=2 * DAY_S, gate=space.gate("never")),
        space.enter(records, "lingering", ttl_s=2 * DAY_S, deadline_s=2 * DAY_S, stays=True),
        space.enter(records, "waiting", ttl_s=2 * DAY_S),
    ]
    until(space.scheduler(), lambda: calls[1].ending() and len(space.began()) == 2)
    later(space, DAY_S + 1000).clean()
    assert kept(records) == [call.ref.call for call in calls]
    assert all(call.request() for call in calls)


def test_a_call_that_was_never_taken_in_whole_goes_after_an_hour(space: Namespace) -> None:
    records = space.deploy()
    records.register("cut-off", new_call(time.time_ns()))
    without_turn = space.enter(records, "stored, but it never waited")
    for waiting in [*records.waiting()]:
        records.no_longer_waits(waiting)
    whole = space.enter(records, "whole", ttl_s=DAY_S)
    later(space, 3500).clean()
    assert len(kept(records)) == 3
    assert records.call_of("stored, but it never waited") == without_turn.ref.call
    later(space, 3700).clean()
    assert kept(records) == [whole.ref.call]
    assert [records.call_of(id) for id in ("cut-off", "stored, but it never waited")] == [None, None]


def test_records_of_an_earlier_deployment_of_the_name_go_once_they_were_seen_for_a_while(
    space: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = space.deploy()
    DeploymentRecords(space.store, "app", "0123456789ab").call(new_call(1)).mark_submitted()  # by a replica that came back late
    DeploymentRecords(space.store, "gone", "0123456789ab").set_flag("terminating", True)
    scheduler = space.scheduler()
    scheduler.clean()
    scheduler.clean()
    assert list(space.deployments.left_over("app")) == list(space.deployments.left_over("gone")) == ["0123456789ab"]
    monkeypatch.setattr(retention, "UNFINISHED_S", 0.0)
    scheduler.clean()
    assert list(space.deployments.left_over("app")) == list(space.deployments.left_over("gone")) == []
    assert space.deployments.find("app") is not None
    assert records.load() is not None


def test_a_name_is_free_only_when_nothing_is_taken_for_the_deployment_any_more(space: Namespace) -> None:
    """A deletion that is cut off anywhere leaves it terminating, or gone."""
    records = space.deploy()
    space.enter(records, "waits")
    records.set_flag("terminating", True)
    records.delete_calls()
    found = space.deployments.find("app")
    assert found is not None
    assert (found.has_flag("terminating"), found.load() is not None) == (True, True)
    space.scheduler().clean()
    assert [*space.store.list("deployments/")] == []
