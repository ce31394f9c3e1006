"""Schedulers among replicas that are only said to run: an engine in memory, since hundreds are started. All else is real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from batchflow.engines.protocol import Observation
from batchflow.errors import Unreachable
from batchflow.store.deployments import CallRecords, DeploymentRecords
from batchflow.store.directory import DirectoryStore
from tests.contract.scheduling.kit import HANG_S, Driven, Namespace

ROUNDS = 100


class Cluster:
    """An engine with `room` for some replicas, which run until `end_one`. `before_submit` happens once."""

    def __init__(self) -> None:
        self.phases: dict[str, str] = {}
        self.most_alive = 0
        self.before_submit: Callable[[], object] | None = None
        self.room = float("inf")

    def started(self) -> list[str]:
        """All that had a replica, in that order."""
        return [*self.phases]

    def alive(self) -> list[str]:
        return [name for name, phase in self.phases.items() if phase == "Running"]

    def end_one(self) -> None:
        for name in self.alive()[:1]:
            self.phases[name] = "Succeeded"

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        name = workflow["metadata"]["name"]
        if self.before_submit:
            event, self.before_submit = self.before_submit, None
            event()
        if name not in self.phases and len(self.alive()) >= self.room:
            raise Unreachable("no room for another workflow")
        self.phases.setdefault(name, "Running")
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
    """A namespace with one deployment, calls that wait for it, and a scheduler that does not sleep."""

    def __init__(self, folder: Path, *, replicas: int = 1, calls: int = 2) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.cluster = Cluster()
        self.space = self._space(None)
        self.records = self.space.deploy(replicas=replicas)
        self.calls = [self.space.enter(self.records, f"call-{number}") for number in range(calls)]
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
        assert all(call.ending() for call in self.calls)
        assert (self.records.running(), list(self.records.waiting()), self.cluster.alive()) == ([], [], [])

    def errors(self) -> list[str | None]:
        """Of all calls; None of those that have not ended."""
        return [ending.error if (ending := call.ending()) else None for call in self.calls]

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
