"""Injuries to a run: each fault in a thread of its own, which waits for its moment and then hits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol

from tests.faults.evidence import Hit
from tests.faults.proxy import FaultProxy, Rule
from tests.faults.scenario import Fault, Moment

__all__ = ["LOOK_S", "TARGETS", "Injured", "Injuries"]

# The step and the container that a target is.
TARGETS: Final = {
    "enqueuer": ("enqueue", "main"),
    "dequeuer": ("work", "main"),
    "handler": ("work", "handler"),
    "finalize": ("finalize", "main"),
    "hook": ("finalize", "handler"),
    "cleanup": ("cleanup", "main"),
}
LOOK_S: Final = 0.02
APPEARS_S: Final = 2.0  # how long a target that is not there (yet) is waited for
GUARDS: Final = 0.25  # the share of kills that hit what stands around a container's command instead of it


class Injured(Protocol):
    """Where a run is, and what can be hit there."""

    @property
    def proxies(self) -> Mapping[str, FaultProxy]:
        """Before its services, by sqs and s3."""
        ...

    def seen(self, moment: Moment) -> bool:
        """Whether the moment's event was."""
        ...

    def living(self, target: str) -> list[tuple[int, int]]:
        """The process ids of each such target: of what stands around its command (the same, if nothing does), and of the command."""
        ...

    def inflict(self, fault: Fault, over: threading.Event) -> str | None:
        """What can be done there only: what it did, "" if there was nothing to hit, None for any other fault. `over`: the run is."""
        ...


class Injuries:
    """Use as a context around a run; `hits` then tells what became of each fault."""

    def __init__(self, faults: tuple[Fault, ...], place: Injured) -> None:
        self._faults = faults
        self._place = place
        self._over = threading.Event()
        self._hits: dict[int, Hit] = {}
        self._rules: dict[int, Rule] = {}
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._inflict, args=(number,), name=f"fault-{number}") for number in range(len(faults))]

    def __enter__(self) -> Injuries:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def hits(self) -> tuple[Hit, ...]:
        return tuple(self._hits.get(number, Hit(fault)) for number, fault in enumerate(self._faults))

    def _inflict(self, number: int) -> None:
        fault = self._faults[number]
        if not self._waited_for(fault):
            return
        at = time.time()
        what = self._place.inflict(fault, self._over)
        if what is None:
            what = {"kill": self._kill, "pause": self._pause}.get(fault.kind, self._network)(number, fault)
        if what:
            self._hits[number] = Hit(fault, at, time.time(), what)

    def _waited_for(self, fault: Fault) -> bool:
        while not self._seen(fault):
            if self._over.wait(LOOK_S):
                return False
        return not self._over.wait(fault.when.delay_s)

    def _seen(self, fault: Fault) -> bool:
        step, _ = TARGETS.get(fault.target, ("", ""))
        return bool(self._place.living(fault.target)) if fault.when.event == step else self._place.seen(fault.when)

    def _chosen(self, fault: Fault) -> tuple[int, int] | None:
        """One of the targets; a target that is not there is waited for a little."""
        give_up = time.monotonic() + APPEARS_S
        while not (living := self._place.living(fault.target)):
            if time.monotonic() > give_up or self._over.wait(LOOK_S):
                return None
        return living[int(fault.pick * len(living))]

    def _kill(self, _: int, fault: Fault) -> str:
        chosen = self._chosen(fault)
        if chosen is None:
            return ""
        around, command = chosen
        hit = around if fault.pick * 1000 % 1 < GUARDS else command
        with suppress(ProcessLookupError):
            os.kill(hit, signal.SIGKILL)
            return "process" if hit == command else "guard"
        return ""

    def _pause(self, _: int, fault: Fault) -> str:
        chosen = self._chosen(fault)
        if chosen is None:
            return ""
        _, command = chosen
        with suppress(ProcessLookupError):
            os.killpg(command, signal.SIGSTOP)
            self._over.wait(fault.for_s)
            with suppress(ProcessLookupError):
                os.killpg(command, signal.SIGCONT)
            return f"{fault.for_s} s"
        return ""

    def _network(self, number: int, fault: Fault) -> str:
        """From the first call that is hit on for so long."""
        proxy = self._place.proxies[fault.target]
        before = proxy.counts[fault.kind]
        self._set_rule(number, fault, Rule(fault.kind, probability=fault.rate, hang_s=60.0, forwards=fault.pick < 0.5))  # type: ignore[arg-type]
        while proxy.counts[fault.kind] == before and not self._over.wait(LOOK_S):
            pass
        self._over.wait(fault.for_s)
        self._set_rule(number, fault, None)
        calls = proxy.counts[fault.kind] - before
        return f"{calls} calls" if calls else ""

    def _set_rule(self, number: int, fault: Fault, rule: Rule | None) -> None:
        with self._lock:
            self._rules.pop(number, None)
            if rule:
                self._rules[number] = rule
            service = [one for other, one in self._rules.items() if self._faults[other].target == fault.target]
            self._place.proxies[fault.target].replace(service)
