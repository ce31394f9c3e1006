"""What is removed, and when: calls a day after their end, what was never finished, deployments that are no more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import pytest

from batchflow.callrecords import new_call
from batchflow.deployments import retention
from batchflow.deployments import scheduler as scheduling
from batchflow.engines.local.engine import LocalEngine
from batchflow.store.deployments import DeploymentRecords, JobDeployments
from batchflow.store.directory import DirectoryStore
from tests.contract.scheduling.kit import HANG_S, Driven, Namespace, ended, until
from tests.unit.stored_calls import Unreliable

DAY_S = 86_400


def later(space: Namespace, seconds: float) -> Driven:
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


class Hanging(LocalEngine):
    """One to which a request takes long: much happens `meanwhile`."""

    meanwhile: Callable[[], None]

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        self.meanwhile()
        super().submit(workflow, directory=directory)


def test_a_replica_that_is_created_when_its_deployment_is_gone_is_ended(space: Namespace) -> None:
    records = space.deploy()
    space.enter(records, "late", work_s=600)
    other = space.scheduler()

    def delete() -> None:
        records.set_flag("terminating", True)
        deadline = time.monotonic() + HANG_S
        while space.deployments.find("app"):
            assert time.monotonic() < deadline
            other.tick()
            other.clean()

    space.engine = Hanging(space.settings, os.environ)
    space.engine.meanwhile = delete
    space.scheduler().tick()
    [run] = space.runs()
    until(other, lambda: space.notes("up"))
    other.clean()
    assert space.runs() == [], run
    assert len(space.notes("down")) == 1


def test_a_store_that_was_out_of_reach_in_a_sweep_keeps_nothing_for_ever(space: Namespace) -> None:
    records = space.deploy()
    records.register("cut-off", new_call(time.time_ns()))
    store = Unreliable(space.folder / "store")
    store.fails = lambda method, key: method == "list" and "/waiting/" in key
    scheduler = Namespace(space.folder, store=store).scheduler(clock=lambda: time.time() + 3700)
    scheduler.clean()
    assert (store.failed > 0, kept(records) != []) == (True, True)
    store.fails = lambda method, key: False
    scheduler.clean()
    assert (records.call_of("cut-off"), kept(records)) == (None, [])


def test_a_call_that_can_not_be_removed_keeps_no_other(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 1)
    records = space.deploy()
    calls = []
    for number in range(4):
        records.register(f"call-{number}", call := new_call(time.time_ns()))
        calls.append(call)
    store = Unreliable(space.folder / "store")
    store.fails = lambda method, key: method == "list" and f"/waiting/{calls[1]}" in key
    Namespace(space.folder, store=store).scheduler(clock=lambda: time.time() + 3700).clean()
    assert kept(records) == [calls[1]]


def test_a_removal_that_had_no_time_left_goes_on_where_it_was(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    records = space.deploy()
    waiting = [space.enter(records, f"waiting-{number}", ttl_s=2 * DAY_S) for number in range(3)]
    for number in range(2):
        records.register(f"cut-off-{number}", new_call(time.time_ns()))
    sweep = retention.Retention(space.deployments, space.engine, lambda: time.time() + 3700)
    over = time.monotonic()
    assert [sweep.remove_old("app", over) for _ in range(2)] == [True, True]
    assert len(kept(records)) == 4, "two were looked at, and two more"
    assert sweep.remove_old("app", over)
    assert not sweep.remove_old("app", over)
    assert kept(records) == [call.ref.call for call in waiting]


def test_a_queue_is_looked_through_only_when_something_in_it_may_have_expired(space: Namespace) -> None:
    records = space.deploy()
    store = Listed(space.folder / "store")
    sweep = retention.Retention(JobDeployments(store), space.engine, time.time)
    long = space.enter(records, "long", ttl_s=600)
    brief = space.enter(records, "brief", ttl_s=2)
    for _ in range(3):
        sweep.drop_expired("app")
    assert store.queues == 1
    deadline = time.monotonic() + HANG_S
    while brief.ending() is None:
        assert time.monotonic() < deadline
        sweep.drop_expired("app")
        time.sleep(0.1)
    assert (store.queues, long.ending()) == (2, None)


class Listed(DirectoryStore):
    """Counts how often a queue was listed."""

    queues = 0

    def list(self, prefix: str) -> Iterator[str]:
        self.queues += prefix.endswith("/waiting/")
        return super().list(prefix)


class Stuck(LocalEngine):
    """Nothing can be deleted from it for a while."""

    def __init__(self, space: Namespace) -> None:
        super().__init__(space.settings, os.environ)
        self.asked, self.goes_on = Event(), Event()

    def delete(self, name: str) -> None:
        self.asked.set()
        assert self.goes_on.wait(HANG_S)
        super().delete(name)


def test_calls_expire_while_a_deletion_takes_long(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOOK_AGAIN_S", 1.0)
    monkeypatch.setattr(scheduling, "EXPIRE_EVERY_S", 0.2)
    monkeypatch.setattr(scheduling, "REMOVE_EVERY_S", 0.2)
    deleted = space.deploy("a-deleted")
    ended(space.scheduler(), space.enter(deleted, "ended"))
    paused = space.deploy("paused")
    for records, flag in ((deleted, "terminating"), (paused, "paused")):
        records.set_flag(flag, True)
    space.engine = engine = Stuck(space)
    stop = Event()
    worker = Thread(target=space.scheduler().run, args=(stop,))
    worker.start()
    try:
        assert engine.asked.wait(HANG_S)
        call = space.enter(paused, "brief", ttl_s=1)
        hang = time.monotonic() + HANG_S
        while call.ending() is None:
            assert time.monotonic() < hang
            time.sleep(0.1)
        assert space.deployments.find("a-deleted") is not None
    finally:
        engine.goes_on.set()
        stop.set()
        worker.join(HANG_S)


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
