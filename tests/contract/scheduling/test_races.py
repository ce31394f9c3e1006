"""A scheduler that sleeps after any of its requests while another goes on: never a replica too many, none is forgotten, every call ends.

The engine is in memory, since hundreds of replicas are started; everything else is real.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest

from batchflow.callrecords import Fate
from batchflow.deployments import retention, starting
from batchflow.deployments.calls import Calls
from batchflow.deployments.deletion import Deletion
from batchflow.deployments.lease import Lease
from batchflow.engines.protocol import Observation
from batchflow.errors import Unreachable
from batchflow.store.deployments import PAUSED, TERMINATING, CallRecords, DeploymentRecords
from batchflow.store.directory import DirectoryStore
from tests.contract.scheduling.kit import HANG_S, Driven, Namespace

ABANDONED_S = 0.2
ROUNDS = 100


class Cluster:
    """An engine whose replicas run until `end_one`. `before_submit` happens once; while it `refuses`, nothing is submitted."""

    def __init__(self) -> None:
        self.phases: dict[str, str] = {}
        self.most_alive = 0
        self.before_submit: Callable[[], object] | None = None
        self.refuses = False

    def alive(self) -> list[str]:
        return [name for name, phase in self.phases.items() if phase == "Running"]

    def end_one(self) -> None:
        for name in self.alive()[:1]:
            self.phases[name] = "Succeeded"

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        if self.before_submit:
            event, self.before_submit = self.before_submit, None
            event()
        if self.refuses:
            raise Unreachable("no room for another workflow")
        self.phases.setdefault(workflow["metadata"]["name"], "Running")
        self.most_alive = max(self.most_alive, len(self.alive()))

    def observe(self, name: str) -> Observation:
        if name not in self.phases:
            return Observation()
        phase = self.phases[name]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        state = {"running": {"startedAt": now}} if phase == "Running" else {"terminated": {"exitCode": 0, "startedAt": now}}
        statuses = [{"name": "main", "state": state}]
        return Observation(
            {"spec": {}, "status": {"phase": phase}},
            [{"metadata": {"name": name}, "status": {"phase": phase, "containerStatuses": statuses}}],
        )

    def stop(self, name: str) -> None:
        self.phases[name] = "Failed"

    def kill(self, name: str) -> None:
        self.phases.pop(name, None)

    delete = kill

    def log_tail(self, name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        return b""


class Sleeper(DirectoryStore):
    """Something happens once, just after the `step`th request; `steps` counts them."""

    def __init__(self, root: Path, step: int, event: Callable[[], object]) -> None:
        super().__init__(root)
        self.steps = 0
        self._step = step
        self._event = event

    def _after(self) -> None:
        self.steps += 1
        if self.steps == self._step:
            self._event()

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self._after()

    def create(self, key: str, data: bytes) -> bool:
        created = super().create(key, data)
        self._after()
        return created

    def get(self, key: str) -> bytes | None:
        data = super().get(key)
        self._after()
        return data

    def list(self, prefix: str) -> Iterator[str]:
        keys = [*super().list(prefix)]
        self._after()
        return iter(keys)

    def folders(self, prefix: str) -> Iterator[str]:
        names = [*super().folders(prefix)]
        self._after()
        return iter(names)

    def delete(self, keys: Iterable[str]) -> None:
        super().delete(keys)
        self._after()


class World:
    """A namespace with one deployment of one replica, two calls that wait for it, and a scheduler that does not sleep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.cluster = Cluster()
        self.space = self._space(None)
        self.records = self.space.deploy(replicas=1)
        self.calls = [self.space.enter(self.records, f"call-{number}") for number in range(2)]
        self.awake = self.space.scheduler()

    def sleeper(self, step: int, event: Callable[[], object]) -> tuple[Driven, Sleeper]:
        store = Sleeper(self.folder / "store", step, event)
        return self._space(store).scheduler(), store

    def finish(self, *schedulers: Driven) -> None:
        """Have all calls run to their end."""
        assert all_have_slots(self.records, self.calls, self.cluster), "a replica has lost its slot"
        for _ in range(ROUNDS):
            if all(call.ending() for call in self.calls) and not self.records.running() and not list(self.records.waiting()):
                break
            for scheduler in schedulers:
                scheduler.tick()
            assert all_have_slots(self.records, self.calls, self.cluster), "a replica has lost its slot"
            self.cluster.end_one()
            time.sleep(0.005)
        assert self.cluster.most_alive == 1
        assert [call.ending() is not None for call in self.calls] == [True, True]
        assert (self.records.running(), list(self.records.waiting()), self.cluster.alive()) == ([], [], [])

    def _space(self, store: DirectoryStore | None) -> Namespace:
        space = Namespace(self.folder, store=store)
        space.engine = self.cluster  # type: ignore[assignment] # the methods that it has are all that are called
        return space


def all_have_slots(records: DeploymentRecords, calls: list[CallRecords], cluster: Cluster) -> bool:
    running = records.running()
    return all(call.ref.call in running for call in calls if call.ref.workflow in cluster.alive())


def at_each_step(folder: Path, event: Callable[[World], object], then: Callable[[World, Driven], object]) -> None:
    """In a world for each request of a scheduler's first tick: `event` happens after it, then the tick goes on, then `then`."""
    step = 0
    while True:
        step += 1
        world = World(folder / str(step))
        sleeper, store = world.sleeper(step, lambda world=world: event(world))  # type: ignore[misc]
        sleeper.tick()
        if store.steps < step:
            assert step > 20, "that many requests it takes at least"
            return
        then(world, sleeper)


def finish(world: World, sleeper: Driven) -> None:
    world.finish(world.awake, sleeper)


def go_on_and_end_one(world: World) -> None:
    for _ in range(2):
        world.awake.tick()
    world.cluster.end_one()
    for _ in range(2):
        world.awake.tick()


def take_for_abandoned(world: World) -> None:
    """While the deployment is paused; then the slot is the second call's."""
    world.records.set_flag(PAUSED, True)
    world.awake.tick()
    time.sleep(1.5 * ABANDONED_S)
    world.awake.tick()
    world.records.set_flag(PAUSED, False)
    waiting = world.records.waiting_of(world.calls[0].ref.call)
    if waiting:  # the other has seen only the second call wait, when there is a slot again
        world.records.no_longer_waits(waiting)
    for _ in range(3):
        world.awake.tick()
    if waiting:
        world.records.wait(waiting)


def start_and_claim_too_many(world: World) -> None:
    """So the sleeper finds no slot for the call that the other has just started."""
    world.awake.tick()
    world.records.claim(world.calls[1].ref.call, "killed")


@pytest.mark.parametrize("event", [go_on_and_end_one, start_and_claim_too_many])
def test_it_sleeps_while_another_goes_on(tmp_path: Path, event: Callable[[World], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "ABANDONED_S", ABANDONED_S)
    at_each_step(tmp_path, event, finish)


def test_it_sleeps_until_its_claim_is_taken_for_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "ABANDONED_S", ABANDONED_S)
    at_each_step(tmp_path, take_for_abandoned, finish)


def test_it_sleeps_while_the_deployment_is_paused_and_another_goes_on(tmp_path: Path) -> None:
    def pause(world: World) -> None:
        world.records.set_flag(PAUSED, True)
        world.awake.tick()

    def resume(world: World, sleeper: Driven) -> None:
        assert all_have_slots(world.records, world.calls, world.cluster)
        world.records.set_flag(PAUSED, False)
        finish(world, sleeper)

    at_each_step(tmp_path, pause, resume)


def test_it_sleeps_while_the_deployment_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "UNFINISHED_S", 0.0)

    def delete(world: World) -> None:
        world.records.set_flag(TERMINATING, True)
        for _ in range(3):
            world.awake.tick()
            world.awake.clean()

    def is_gone(world: World, sleeper: Driven) -> None:
        for _ in range(ROUNDS):
            world.awake.tick()
            world.awake.clean()
            left = world.space.deployments.find("app"), world.cluster.alive(), [*world.space.store.list("deployments/")]
            if left == (None, [], []):
                return
            time.sleep(0.005)  # logs are saved in a thread of its own
        pytest.fail(f"{left} is left")

    at_each_step(tmp_path, delete, is_gone)


@pytest.mark.parametrize("event", [lambda world: world.awake.tick(), go_on_and_end_one], ids=["starts", "ends"])
def test_it_sleeps_on_its_way_to_the_engine(tmp_path: Path, event: Callable[[World], object]) -> None:
    world = World(tmp_path)
    world.cluster.before_submit = lambda: event(world)
    sleeper = world.space.scheduler()
    sleeper.tick()
    finish(world, sleeper)


def test_what_was_left_by_a_scheduler_that_was_killed_waits_while_the_deployment_is_paused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.records.claim(world.calls[0].ref.call, "killed")
    world.calls[0].decide(Fate())
    world.records.set_flag(PAUSED, True)
    world.awake.tick()
    assert world.cluster.alive() == []
    world.records.set_flag(PAUSED, False)
    world.finish(world.awake)


def test_more_calls_are_decided_than_there_is_room_for(tmp_path: Path) -> None:
    """The engine was out of reach when there was room for two."""
    world = World(tmp_path)
    record = world.records.load()
    assert record is not None
    for replicas, refuses in ((2, True), (1, False)):
        record.spec["scaling"]["max_replica_count"] = replicas
        world.records.save(record)
        world.cluster.refuses = refuses
        for _ in range(3):
            world.awake.tick()
    assert world.cluster.alive() == [world.calls[0].ref.workflow], "the first is first"
    world.finish(world.awake)


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_deployment_is_deleted_while_the_engine_takes_no_workflow(tmp_path: Path, by_itself: bool) -> None:
    world = World(tmp_path)
    world.cluster.refuses = True
    world.awake.tick()
    assert world.records.running() == [world.calls[0].ref.call]
    world.records.set_flag(TERMINATING, True)
    if by_itself:
        deletion = Deletion(world.records, world.cluster)  # type: ignore[arg-type] # as above
        deletion.advance()
        deletion.advance()
    else:
        world.awake.tick()
        world.awake.clean()
    assert [*world.space.store.list("deployments/")] == []


def test_a_call_is_stopped_while_the_engine_takes_no_workflow(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cluster.refuses = True
    world.awake.tick()
    assert Calls(world.records).stop("call-0")
    world.awake.tick()
    ending = world.calls[0].ending()
    assert ending is not None and ending.error == "stopped"
    assert world.calls[0].ref.call not in world.records.running()


@pytest.mark.parametrize("alive", [True, False])
def test_a_call_that_was_delivered_is_never_started_again_though_nobody_noted_its_replica(tmp_path: Path, alive: bool) -> None:
    world = World(tmp_path)
    call = world.calls[0]
    world.records.claim(call.ref.call, "killed")
    call.decide(Fate())
    call.deliver("courier")
    if alive:
        world.cluster.phases[call.ref.workflow] = "Running"
    world.awake.tick()
    assert (call.ref.workflow in world.cluster.phases, call.ending() is None) == (alive, alive)
    world.finish(world.awake)


def test_a_replica_without_a_slot_gets_one_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.awake.tick()
    world.records.release(world.calls[0].ref.call)
    world.space.scheduler(clock=lambda: time.time() + 3700).clean()
    assert world.records.running() == [world.calls[0].ref.call]


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
    Namespace(tmp_path, store=store).scheduler().tick()
    assert store.steps <= 5, "all names; the deployment of the name (2), what runs or waits, and whether it is being deleted"


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


@contextmanager
def working(scheduler: Driven) -> Iterator[None]:
    stop = Event()
    thread = Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(HANG_S)
        assert not thread.is_alive()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
