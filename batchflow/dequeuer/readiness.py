"""Whether the handler is ready: the api's readiness probes, run by the dequeuer itself, since Kubernetes starts it first.

Cortex's rules (spec/cortex.md section 3): every container's readiness probe must pass, and goes on being asked, once in its period;
HTTP passes on 200 to 399, whatever a redirect leads to; unless a `tcp_socket` probe asks the api's own port, a TCP probe of that port is
added. Where we differ:

- At first a probe is asked every 50 ms to 1 s instead of once in its period, since a job waits for it.
- Later it is asked between batches, not beside them, and with no connection kept open: a server may have a single thread.
- One that fails then holds the next batch back until it passes again, asked as at first: `failure_threshold` has no effect.
- A TCP probe of the api's own port is not asked again: the next batch's POST finds out as much.
- Who is not ready within `start_timeout_s` ends the worker; Cortex waited for ever.
"""

from __future__ import annotations

import http.client
import math
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import Final

import orjson

from batchflow import contract
from batchflow.errors import HandlerDown
from batchflow.exchange import Connection, Origin, Request, target_of
from batchflow.spec.model import Api, Probe

__all__ = ["Readiness", "hint_of", "probes_of"]

# A Handler that failed to start that often in a row is given up, with its own words.
MAX_FAILED_STARTS: Final = 3
FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 1.0


def probes_of(api: Api, port: int) -> tuple[Probe, ...]:
    """The probes that must pass. `port` is where the api's server really listens: on a laptop not where the api says."""
    containers = api.pod.containers if api.pod else ()
    named = [c.readiness_probe for c in containers if c.readiness_probe]
    probes = [replace(p, port=port) if p.port == api.port else p for p in named]
    if not any(_of_own_port(p, port) for p in probes):
        probes.insert(0, Probe("tcp_socket", port=port))
    return tuple(dict.fromkeys(probes))


def _of_own_port(probe: Probe, port: int) -> bool:
    return probe.kind == "tcp_socket" and probe.port == port


def hint_of(api: Api) -> str:
    """What to look at when the api's server did not get ready in time."""
    if api.handler:
        return "a Handler listens once its __init__ has ended: see its log (start_timeout_s bounds the wait)"
    return "does the server listen on the port that CORTEX_PORT names? (start_timeout_s bounds the wait)"


class Readiness:
    """Waits for the handler. Used by several slots at once: one of them asks, the others wait for it.

    Args:
        probes: what must pass; see `probes_of`.
        port: the api's own.
        failures: the file in which the Handler runtime notes why it could not start, a JSON line {"reason", "time"} each time.
        timeout_s: how long to wait (`start_timeout_s`).
        waiting: told what is waited for; "" once the handler is ready.
        hint: what to look at if the time is up; see `hint_of`.
    """

    def __init__(
        self,
        probes: tuple[Probe, ...],
        port: int,
        *,
        failures: Path,
        timeout_s: float,
        waiting: Callable[[str], None],
        hint: str = "",
    ) -> None:
        self._probes = probes
        self._port = port
        self._repeated = [probe for probe in probes if not _of_own_port(probe, port)]
        self._due: dict[Probe, float] = {}  # when a repeated probe is to be asked next; empty until it was ready once
        self._next_due = 0.0
        self._failures = failures
        self._timeout_s = timeout_s
        self._waiting = waiting
        self._hint = hint
        self._known_failures = 0
        self._was_ready = False
        self._one_at_a_time = Lock()

    def wait(self, abandon: Event, since: float | None = None) -> bool:
        """True once the handler is ready, False if `abandon` was set before.

        `since` is when the handler refused a batch for the first time, in time.monotonic; None: it has not. Raises HandlerDown when it
        is not ready `timeout_s` after that (or after now), or still refuses the batch then, or failed to start three times.
        """
        began = time.monotonic() if since is None else since
        with self._one_at_a_time:
            ready = self._wait(abandon, began)
        if ready and since is not None and time.monotonic() - since >= self._timeout_s:
            reason = f"{contract.HANDLER_HOST}:{self._port} passed its probes, and refused every batch within {self._timeout_s:g} s"
            raise HandlerDown(reason, hint="does another server listen there?")
        return ready

    @property
    def due(self) -> bool:
        """Whether a probe's period is over."""
        return time.monotonic() >= self._next_due

    def still(self, abandon: Event) -> bool:
        """To be called before a batch if one is `due`, once `wait` was true: asks the probes whose period is over; else as `wait`."""
        with self._one_at_a_time:
            now = time.monotonic()
            due = [probe for probe in self._repeated if self._due[probe] <= now]  # none, if another slot has just asked
            if any(_problem(probe) for probe in due):
                return self._wait(abandon, now)
            self._asked(due)
            return True

    def _asked(self, probes: Iterable[Probe]) -> None:
        now = time.monotonic()
        self._due |= {probe: now + max(probe.period_s, 1) for probe in probes}
        self._next_due = min(self._due.values(), default=math.inf)

    def _wait(self, abandon: Event, began: float) -> bool:
        passed = {probe: 0 for probe in self._probes}
        pause_s, said = FIRST_PAUSE_S, ""
        while not abandon.is_set():
            failing = self._ask(passed, time.monotonic() - began)
            if not failing:
                self._known_failures = len(self._reasons())
                self._was_ready = True
                self._asked(self._repeated)
                self._waiting("")
                return True
            self._give_up_if_hopeless(failing, time.monotonic() - began)
            if failing != said:
                said = failing
                self._waiting(f"waiting for the handler: {failing}")
            abandon.wait(pause_s)
            pause_s = min(pause_s * 1.5, MAX_PAUSE_S)
        return False

    def _ask(self, passed: dict[Probe, int], age_s: float) -> str:
        """Ask each probe once more, count in `passed` how often in a row it passed; returns what is wrong, "" if nothing."""
        wrong = ""
        for probe in self._probes:
            early = age_s < probe.initial_delay_s and not self._was_ready
            problem = "not yet asked" if early else _problem(probe)
            passed[probe] = 0 if problem else passed[probe] + 1
            if not wrong and passed[probe] < max(probe.success_threshold, 1):
                wrong = problem or f"port {probe.port} answered {passed[probe]} of {probe.success_threshold} times"
        return wrong

    def _give_up_if_hopeless(self, failing: str, waited_s: float) -> None:
        reasons = self._reasons()
        if len(reasons) - self._known_failures >= MAX_FAILED_STARTS:
            raise HandlerDown(f"the handler failed to start {MAX_FAILED_STARTS} times: {reasons[-1]}", hint="see its log")
        if waited_s < self._timeout_s:
            return
        if reasons[self._known_failures :]:
            raise HandlerDown(f"the handler was not ready within {self._timeout_s:g} s: {reasons[-1]}", hint="see its log")
        raise HandlerDown(f"{failing} within {self._timeout_s:g} s", hint=self._hint)

    def _reasons(self) -> list[str]:
        """Why the Handler did not start, once for each time; a line that is still being written is left for the next look."""
        try:
            lines = self._failures.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [_reason(line) for line in lines if line.strip()]


def _reason(line: bytes) -> str:
    try:
        return str(orjson.loads(line)["reason"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return line.decode(errors="replace")


def _problem(probe: Probe) -> str:
    """Run a probe once; "" if it passed."""
    timeout_s = max(probe.timeout_s, 1)
    where = f"{contract.HANDLER_HOST}:{probe.port}"
    try:
        if probe.kind == "tcp_socket":
            socket.create_connection((contract.HANDLER_HOST, probe.port), timeout_s).close()
            return ""
        origin = Origin("http", contract.HANDLER_HOST, probe.port)
        with closing(Connection(origin)) as connection:
            request = Request("GET", origin, target_of(probe.path), {"Connection": "close"})
            status = connection.exchange(request, time.monotonic() + timeout_s).status
    except ConnectionRefusedError:
        return f"nothing listened on {where}"
    except (OSError, http.client.HTTPException) as error:
        return f"{where} did not answer its readiness probe ({error or type(error).__name__})"
    return "" if 200 <= status <= 399 else f"{where}{request.target} answered its readiness probe with {status}"
