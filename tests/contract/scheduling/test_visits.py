"""Deployments are visited each for itself: what takes long in one holds up no other, and no stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from batchflow.deployments import logsaving
from batchflow.deployments import scheduler as scheduling
from batchflow.deployments.lease import Lease
from batchflow.store.deployments import CallRecords
from batchflow.store.directory import DirectoryStore
from tests.contract.scheduling.kit import HANG_S, Namespace
from tests.contract.scheduling.world import Cluster, Sleeper, eventually, working


class Met(DirectoryStore):
    """A deployment is looked at only when as many are looked at at once."""

    def __init__(self, root: Path, count: int) -> None:
        super().__init__(root)
        self.met = Event()
        self._barrier = Barrier(count, self.met.set)

    def folders(self, prefix: str) -> Iterator[str]:
        if prefix != "deployments/" and not self.met.is_set():
            self._barrier.wait(HANG_S)
        return super().folders(prefix)


def test_many_deployments_are_visited_at_once(tmp_path: Path) -> None:
    space = Namespace(tmp_path)
    for number in range(16):
        space.deploy(f"app-{number}")
    store = Met(tmp_path / "store", 16)
    with working(Namespace(tmp_path, store=store).scheduler()):
        store.met.wait(HANG_S)
    assert store.met.is_set()


def test_an_idle_deployment_costs_few_requests(tmp_path: Path) -> None:
    Namespace(tmp_path).deploy()
    store = Sleeper(tmp_path / "store", 0, lambda: None)
    scheduler = Namespace(tmp_path, store=store).scheduler()
    scheduler.tick()
    assert store.steps <= 5, "all names; the deployment of the name (2), what runs or waits, and whether it is being deleted"
    steps = store.steps
    scheduler.remove(old=False)
    assert store.steps == steps, "nothing was deleted, and old calls are looked for every ten minutes"


class Slow(DirectoryStore):
    """The deployment `slow` is looked at when `may_go_on` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.slow_visits = 0
        self.may_go_on = Event()

    def folders(self, prefix: str) -> Iterator[str]:
        if prefix.startswith("deployments/slow/"):
            self.slow_visits += 1
            assert self.may_go_on.wait(5 * HANG_S)
        return super().folders(prefix)


def test_one_that_takes_long_holds_up_no_other_nor_the_lease(tmp_path: Path) -> None:
    space = Namespace(tmp_path)
    space.deploy("slow")
    quick = space.deploy("quick", replicas=1)
    store = Slow(tmp_path / "store")
    with working(Namespace(tmp_path, store=store).scheduler(lease_s=0.5)):
        for id in ("first", "second"):
            call = space.enter(quick, id)
            eventually(lambda call=call: call.ending() is not None)
        rival = Lease(space.store, length_s=0.5)
        assert not any(rival.held() or time.sleep(0.1) for _ in range(20))
        assert store.slow_visits == 1, "never two visits at once"
        store.may_go_on.set()


def test_who_does_not_lead_visits_nothing(tmp_path: Path) -> None:
    space = Namespace(tmp_path)
    records = space.deploy()
    leader = Lease(space.store, length_s=HANG_S)
    assert leader.held()
    call = space.enter(records, "mine")
    scheduler = space.scheduler(lease_s=HANG_S)
    with working(scheduler):
        scheduler.wake("app")
        time.sleep(1)
        assert (records.running(), call.fate()) == ([], None)
        leader.release()
        eventually(lambda: call.ending() is not None)


def test_a_visit_that_hangs_does_not_keep_the_lease_from_the_next(tmp_path: Path) -> None:
    space = Namespace(tmp_path)
    space.deploy("slow")
    store = Slow(tmp_path / "store")
    ending = Namespace(tmp_path, store=store).scheduler(lease_s=HANG_S)
    stop = Event()
    thread = Thread(target=ending.run, args=(stop,), daemon=True)
    thread.start()
    rival = Lease(space.store, length_s=HANG_S)
    eventually(lambda: store.slow_visits > 0)
    assert not rival.held()
    stop.set()
    eventually(rival.held)
    store.may_go_on.set()
    thread.join(HANG_S)
    assert not thread.is_alive()


def test_the_system_has_no_thread_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two times for each of the two that there may be at once."""
    monkeypatch.setattr(scheduling, "_THREADS", 2)
    monkeypatch.setattr(logsaving, "_THREADS", 2)
    cluster, space = Cluster(), Namespace(tmp_path)
    space.engine = cluster  # type: ignore[assignment] # the methods that it has are all that are called
    cluster.log_tail = lambda *_: b"done"  # type: ignore[method-assign]
    records = space.deploy(replicas=1)
    call = space.enter(records, "first")
    refused: list[str] = []
    start = Thread.start

    def refuse(thread: Thread) -> None:
        if thread.name in ("visits", "logs") and refused.count(thread.name) < 2:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(Thread, "start", refuse)
    with working(space.scheduler()):
        eventually(lambda: bool(cluster.alive()))
        cluster.end_one()
        eventually(lambda: call.ending() is not None)
        eventually(lambda: not records.running())
        assert call.log("main") == b"done"
    assert sorted(refused) == ["logs", "logs", "visits", "visits"]


def test_a_node_that_gives_no_logs_holds_up_no_other_deployment(tmp_path: Path) -> None:
    cluster, space = Cluster(), Namespace(tmp_path)
    space.engine = cluster  # type: ignore[assignment] # as above
    may_go_on = Event()

    def log_tail(name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        if name.startswith("dead-"):
            may_go_on.wait(HANG_S)
        return b"done"

    cluster.log_tail = log_tail  # type: ignore[method-assign]
    dead, alive = space.deploy("dead", replicas=10), space.deploy("alive", replicas=1)
    lost = [space.enter(dead, f"lost-{number}") for number in range(10)]
    with working(space.scheduler()):
        end_all(cluster, lost)
        mine = space.enter(alive, "mine")
        end_all(cluster, [mine])
        eventually(lambda: mine.log("main") == b"done")
        assert [call.log("main") for call in lost] == [None] * 10
        may_go_on.set()


def end_all(cluster: Cluster, calls: list[CallRecords]) -> None:
    """Once they have replicas."""
    eventually(lambda: len(cluster.alive()) == len(calls))
    while cluster.alive():
        cluster.end_one()
    eventually(lambda: all(call.ending() for call in calls))
