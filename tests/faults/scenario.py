"""A run of the fault suite, decided by its seed alone: the job's shape, what its batches do, and the faults that hit it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

__all__ = ["ALWAYS", "NETWORK", "Batch", "Fault", "Moment", "Scenario"]

ALWAYS: Final = 1_000_000  # more often than any batch is handled

# What the proxy between batchflow and SQS or S3 does (proxy.py).
NETWORK: Final = ("throttle", "error", "refuse", "cut", "hang", "slow", "partial", "stale")


@dataclass(frozen=True)
class Batch:
    """What the handler does with a batch: it takes `seconds`, and raises the first `fails` times."""

    seconds: float
    fails: int = 0


@dataclass(frozen=True)
class Moment:
    """`delay_s` after an event was first seen in a run.

    `event` is submitted; a step's name (enqueue, work, finalize, cleanup), when that begins, or for a process of that step when it runs;
    ended (`count` different batches have ended or raised, says the handler's log); or hook (the log says that it began).
    """

    event: str
    delay_s: float = 0.0
    count: int = 0


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: kill, pause, fill (the store's disk), twice (every message), or one of NETWORK.
        target: of kill and pause a process: enqueuer, dequeuer, handler, finalize, hook (the handler beside finalize), cleanup, engine;
            on the cluster also pod (of any step, with all its containers) and controller. Of NETWORK the service: sqs or s3.
        when: at which moment.
        for_s: for how long; of a kill 0; of NETWORK from the first call on that it hits.
        rate: of NETWORK: the share of calls that it hits.
        pick: chooses among several living targets, whatever their number; and whether a call that hangs is done.
    """

    kind: str
    target: str
    when: Moment
    for_s: float = 0.0
    rate: float = 1.0
    pick: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """`items` are numbered from 0, `batch_size` of them a batch; the last batch may be smaller.

    Attributes:
        on: sqlite, sqs (both on the local engine) or cluster.
        max_receive_count: of the dead-letter queue; None without one.
        hook: ok, raises or none.
        hook_s: how long the hook takes.
        retry_s: how long a step tries store and queue again before it exits, to be tried anew.
    """

    seed: int
    on: str
    items: int
    batch_size: int
    batches: tuple[Batch, ...]
    workers: int
    max_concurrency: int
    max_receive_count: int | None
    hook: str
    hook_s: float
    retry_s: int
    faults: tuple[Fault, ...]

    @classmethod
    def of(cls, seed: int, on: str) -> Scenario:
        """The scenario of a seed; the same in every process and on every machine."""
        choice = random.Random(f"{on}-{seed}")
        count, batch_size = choice.randint(10, 60), choice.randint(1, 4)
        max_receive_count = choice.choice((None, None, 1, 2, 3))
        batches = _batches(choice, count)
        hook = choice.choice(("ok", "ok", "ok", "raises", "none"))
        return cls(
            seed=seed,
            on=on,
            items=(count - 1) * batch_size + choice.randint(1, batch_size),
            batch_size=batch_size,
            batches=batches,
            workers=choice.randint(1, 3),
            max_concurrency=choice.choice((1, 1, 4)),
            max_receive_count=max_receive_count,
            hook=hook,
            hook_s=choice.choice((0.0, 0.1, 0.5)),
            retry_s=choice.choice((600, 600, 4)),
            # A run on the cluster takes long, most of it to start pods: there are fewer of them, and more in each.
            faults=tuple(_fault(choice, on, count, hooked=hook != "none") for _ in range(choice.randint(1, 4) + 2 * (on == "cluster"))),
        )

    @property
    def api(self) -> str:
        return f"faults-{self.on}-{self.seed}"

    def item_list(self) -> list[dict[str, object]]:
        """The job's items: each has its number `n`; the first of a batch says what the handler does with it."""
        items: list[dict[str, object]] = [{"n": n} for n in range(self.items)]
        for index, batch in enumerate(self.batches):
            items[index * self.batch_size] |= {"seconds": batch.seconds, "fails": batch.fails}
        return items

    def __str__(self) -> str:
        dead_letters = f"DLQ after {self.max_receive_count}" if self.max_receive_count else "no DLQ"
        faults = ", ".join(
            f"{f.kind} {f.target} {f.when.delay_s:.2f} s after {f.when.event} {f.when.count or ''}".strip() for f in self.faults
        )
        return (
            f"{self.on} {self.seed}: {len(self.batches)} batches of {self.batch_size}, {self.workers} workers × {self.max_concurrency}, "
            f"{dead_letters}, hook {self.hook}; {faults}"
        )


def _batches(choice: random.Random, count: int) -> tuple[Batch, ...]:
    """Some jobs have only good batches, in others some fail; most take a few milliseconds, a few much longer."""
    failing = choice.choice((0.0, 0.05, 0.2))
    base_s = choice.choice((0.005, 0.02, 0.05))

    def batch() -> Batch:
        seconds = round(choice.uniform(0.3, 2.0), 3) if choice.random() < 0.03 else base_s
        fails = choice.choice((1, 2, ALWAYS)) if choice.random() < failing else 0
        return Batch(seconds, fails)

    return tuple(batch() for _ in range(count))


def _fault(choice: random.Random, on: str, batches: int, *, hooked: bool) -> Fault:
    """Kills are the most frequent; the rest depends on what there is: a disk of one's own, or services behind a proxy."""
    kinds: dict[str, Callable[[random.Random, int, bool], Fault]] = {"kill": _kill, "pause": _pause}
    weights = {"kill": 5, "pause": 2}
    if on == "sqlite":
        kinds |= {"fill": _fill, "twice": _twice}
        weights |= {"fill": 1, "twice": 1}
    else:
        kinds |= {"network": _network}
        weights |= {"network": 5}
    if on == "cluster":
        kinds |= {"kill": _kill_on_cluster, "pause": _pause_on_cluster}
        weights |= {"kill": 8}
    kind = choice.choices([*weights], [*weights.values()])[0]
    return kinds[kind](choice, batches, hooked)


def _kill(choice: random.Random, batches: int, hooked: bool) -> Fault:
    targets = {"enqueuer": 3, "dequeuer": 4, "handler": 4, "finalize": 4, "cleanup": 4, "engine": 4}
    if hooked:
        targets["hook"] = 2
    target = choice.choices([*targets], [*targets.values()])[0]
    return Fault("kill", target, _moment(choice, target, batches, hooked), pick=choice.random())


def _pause(choice: random.Random, batches: int, hooked: bool) -> Fault:
    """Some end before the visibility does (3 s), some after it."""
    target = choice.choice(("enqueuer", "dequeuer", "dequeuer", "dequeuer", "handler", "finalize", "cleanup"))
    when = _moment(choice, target, batches, hooked)
    return Fault("pause", target, when, for_s=round(choice.uniform(1, 6), 2), pick=choice.random())


def _fill(choice: random.Random, batches: int, hooked: bool) -> Fault:
    target = choice.choice(("enqueuer", "dequeuer", "dequeuer", "finalize", "cleanup"))
    return Fault("fill", "store", _moment(choice, target, batches, hooked), for_s=round(choice.uniform(0.5, 5), 2))


def _twice(choice: random.Random, batches: int, hooked: bool) -> Fault:
    return Fault("twice", "queue", Moment("submitted"))


def _network(choice: random.Random, batches: int, hooked: bool) -> Fault:
    service = choice.choice(("sqs", "s3"))
    kind = choice.choice(NETWORK if service == "sqs" else NETWORK[:6])
    steps = [_after(choice, step, 0.3) for step in ("enqueue", "work", "finalize", "cleanup")]
    when = choice.choice([*steps, Moment("ended", round(choice.uniform(0, 0.3), 3), choice.randint(1, batches // 2))])
    rate = choice.choice((0.2, 0.5, 1.0))
    if kind in ("partial", "stale"):  # of some operations only
        when, rate = choice.choice(steps[:2]), choice.choice((0.5, 1.0))
    return Fault(kind, service, when, for_s=round(choice.uniform(0.5, 5), 2), rate=rate, pick=choice.random())


def _kill_on_cluster(choice: random.Random, batches: int, hooked: bool) -> Fault:
    """There the engine is the workflow-controller, which stays down for a while; and whole pods are deleted, of any step."""
    fault = _kill(choice, batches, hooked)
    if fault.target == "engine":
        return replace(fault, target="controller", for_s=round(choice.uniform(1, 8), 2))
    return replace(fault, target="pod") if choice.random() < 0.4 else fault


def _pause_on_cluster(choice: random.Random, batches: int, hooked: bool) -> Fault:
    """Messages are visible again after twice the time there."""
    fault = _pause(choice, batches, hooked)
    return replace(fault, for_s=2 * fault.for_s)


def _moment(choice: random.Random, target: str, batches: int, hooked: bool) -> Moment:
    """Where such a process lives: right after its start, in the middle, and at the end, around commit, leaving, hook and cleanup."""
    started = {
        "enqueuer": "enqueue",
        "dequeuer": "work",
        "handler": "work",
        "finalize": "finalize",
        "hook": "finalize",
        "cleanup": "cleanup",
    }
    moments = [_after(choice, started.get(target, "submitted"), 1.5 if target in ("dequeuer", "handler", "engine") else 0.5)]
    if target in ("dequeuer", "handler", "engine"):
        middle = Moment("ended", round(choice.uniform(0, 0.3), 3), choice.randint(1, batches - 1))
        end = Moment("ended", round(choice.uniform(0, 1.8), 3), batches - choice.randint(0, 2))
        moments += [middle, middle, end, end]
    if hooked and target in ("finalize", "hook", "engine"):
        moments += [_after(choice, "hook", 0.3)] * 2
    if target == "engine":
        moments += [_after(choice, step, 0.7) for step in ("enqueue", "finalize", "cleanup")]
    return choice.choice(moments)


def _after(choice: random.Random, event: str, within_s: float) -> Moment:
    return Moment(event, round(choice.uniform(0, within_s), 3))
