"""The logs of a workflow's pods as lines, once or as they come.

Kubelet keeps a container's output since its last start, and that of the start before. A container is followed start by start, a
thread each; a stream that breaks off is taken up again after its last line's time.
"""

from __future__ import annotations

import logging
import queue
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Thread
from typing import Any, Final

from batchflow import contract
from batchflow.engines.argo.kube import Kube
from batchflow.engines.lines import Lines, tail
from batchflow.engines.protocol import LogLine, worker_of
from batchflow.errors import BatchflowError
from batchflow.retry import Retry
from batchflow.status.pods import containers

__all__ = ["log_lines", "log_tail"]

_log = logging.getLogger(__name__)

# Streams open at once; further containers are begun when others have ended, from their first line.
MAX_STREAMS: Final = 100
_LOOK_EVERY_S: Final = 1.0
# Pause at least so many times as long as a look took: a thousand workers' pods are megabytes to list.
_LOOKING_SHARE: Final = 4
_AGAIN_S: Final = 1.0
_STOPS_WITHIN_S: Final = 0.2
# How long the cluster may be out of reach; and how far this machine's clock may be from the nodes'.
_OUT_OF_REACH_S: Final = 600.0
_CLOCKS_DIFFER_S: Final = 60
_BUFFERED_LINES: Final = 1_000

_STAMP: Final = re.compile(r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)")

Pods = Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Start:
    """A container's `number`th restart, 0 for its first start; `previous`: it is not the latest one."""

    pod: str
    worker: str
    container: str
    number: int
    previous: bool


def log_lines(
    kube: Kube,
    pods: Pods,
    *,
    worker: str | None,
    container: str | None,
    without: Collection[str] = contract.ARGO_CONTAINERS,
    follow: bool,
    finished: Callable[[], bool],
    stop: Event | None = None,
) -> Iterator[LogLine]:
    """See `Engine.logs`. `finished` says whether no container writes any more."""
    wanted = _Wanted(worker, container, without)
    if follow:
        yield from _Follower(kube, pods, wanted, finished, stop or Event()).lines()
        return
    for start in wanted.new(pods()):
        for _, text in _lines(kube.log(start.pod, start.container, previous=start.previous)):
            yield LogLine(start.pod, start.worker, start.container, text)


def log_tail(kube: Kube, pod: str, container: str, limit_bytes: int) -> bytes:
    """See `Engine.log_tail`; what a container said before its last restart comes first, as far as kubelet knows it."""
    kept = bytearray()
    for previous in (True, False):
        for _, text in _lines(kube.log(pod, container, previous=previous)):
            kept += text.encode() + b"\n"
            if len(kept) > 2 * limit_bytes:
                kept = bytearray(tail(bytes(kept), limit_bytes))
    return tail(bytes(kept), limit_bytes)


class _Wanted:
    """Which containers are asked for, and which of their starts were found already."""

    def __init__(self, worker: str | None, container: str | None, without: Collection[str]) -> None:
        self._worker = worker
        self._container = container
        self._without = without
        self._known: dict[tuple[str, str], int] = {}

    def new(self, pods: list[dict[str, Any]]) -> Iterator[_Start]:
        """The starts that were not found before, oldest first; of those between two looks kubelet knows the last two."""
        for pod in pods:
            name, worker = pod["metadata"]["name"], worker_of(pod)
            if self._worker not in (None, name, worker):
                continue
            for status in containers(pod):
                if not self._is_wanted(status["name"]) or not _was_started(status):
                    continue
                latest, known = status.get("restartCount", 0), self._known.get((name, status["name"]), -1)
                for number in range(max(known + 1, latest - 1), latest + 1):
                    yield _Start(name, worker, status["name"], number, previous=number < latest)
                self._known[name, status["name"]] = max(known, latest)

    def _is_wanted(self, container: str) -> bool:
        return container == self._container if self._container else container not in self._without


class _Follower:
    def __init__(self, kube: Kube, pods: Pods, wanted: _Wanted, finished: Callable[[], bool], stop: Event) -> None:
        self._kube = kube
        self._pods = pods
        self._wanted = wanted
        self._finished = finished
        self._lines: queue.Queue[LogLine] = queue.Queue(_BUFFERED_LINES)
        self._stop = stop
        self._closed = Event()  # readers drop what they have
        self._last_ns: dict[_Start, int] = {}  # the time of the last line of each

    def lines(self) -> Iterator[LogLine]:
        waiting: list[_Start] = []
        readers: dict[_Start, Thread] = {}
        again = Retry(_OUT_OF_REACH_S, self._stop)
        try:
            while not self._stop.is_set():
                is_last, pods, took_s = again(self._look)
                running = frozenset(_running(pods))
                done = [start for start, reader in readers.items() if not reader.is_alive()]
                broken = [start for start in done if not start.previous and (start.pod, start.container, start.number) in running]
                waiting += [*broken, *self._wanted.new(pods)]
                readers = {start: reader for start, reader in readers.items() if start not in done}
                free = MAX_STREAMS - len(readers)
                readers |= {start: self._reader(start) for start in waiting[:free]}
                waiting = waiting[free:]
                yield from self._for_a_while(max(_LOOK_EVERY_S, _LOOKING_SHARE * took_s))
                if is_last and not waiting and not any(reader.is_alive() for reader in readers.values()):
                    while not self._lines.empty():
                        yield self._lines.get()
                    return
        finally:
            self._closed.set()

    def _look(self) -> tuple[bool, list[dict[str, Any]], float]:
        """Whether this is the last look, the pods, and how many seconds it took."""
        began = time.monotonic()
        is_last = self._finished()  # asked before looking, so that nothing started before the end is missed
        return is_last, self._pods(), time.monotonic() - began

    def _for_a_while(self, pause_s: float) -> Iterator[LogLine]:
        """The lines that come until it is time to look again, or to stop."""
        until = time.monotonic() + pause_s
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            with suppress(queue.Empty):
                yield self._lines.get(timeout=min(left, _STOPS_WITHIN_S))

    def _reader(self, start: _Start) -> Thread:
        reader = Thread(target=self._read, args=(start,), name=f"log-{start.pod}", daemon=True)
        reader.start()
        return reader

    def _read(self, start: _Start) -> None:
        """Pass on one start's lines, until its stream ends; if the start itself has not ended, a later look opens another."""
        last_ns = self._last_ns.get(start, 0)
        since_s = max(0, time.time_ns() - last_ns) // 1_000_000_000 + _CLOCKS_DIFFER_S if last_ns else None
        try:
            data = self._kube.log(start.pod, start.container, previous=start.previous, follow=not start.previous, since_s=since_s)
            for time_ns, text in _lines(data):
                if time_ns is None or time_ns > last_ns:
                    self._put(LogLine(start.pod, start.worker, start.container, text))
                    self._last_ns[start] = last_ns = time_ns or last_ns
        except BatchflowError as error:
            # Out of reach for the moment; if it stays so, the next looks raise.
            _log.debug("a log stream broke off", extra={"pod": start.pod, "error": str(error)})

    def _put(self, line: LogLine) -> None:
        while not self._closed.is_set():
            try:
                return self._lines.put(line, timeout=_AGAIN_S)
            except queue.Full:
                continue


def _was_started(status: Mapping[str, Any]) -> bool:
    states = (status.get("state") or {}, status.get("lastState") or {})
    return any("running" in state or "terminated" in state for state in states)


def _running(pods: list[dict[str, Any]]) -> Iterator[tuple[str, str, int]]:
    for pod in pods:
        for status in containers(pod):
            if "running" in (status.get("state") or {}):
                yield pod["metadata"]["name"], status["name"], status.get("restartCount", 0)


def _lines(chunks: Iterator[bytes]) -> Iterator[tuple[int | None, str]]:
    """The time (Unix nanoseconds) and the text of each line; no time for a further piece of a long line, or kubelet's own messages."""
    lines = Lines()
    for chunk in chunks:
        yield from (_split(text) if starts else (None, text) for text, starts in lines.feed(chunk))
    yield from (_split(text) if starts else (None, text) for text, starts in lines.end())


def _split(text: str) -> tuple[int | None, str]:
    stamp, _, rest = text.partition(" ")
    match = _STAMP.fullmatch(stamp)
    if match is None:
        return None, text
    seconds = int(datetime.fromisoformat(match["seconds"] + match["zone"].replace("Z", "+00:00")).timestamp())
    return seconds * 1_000_000_000 + int((match["fraction"] or "").ljust(9, "0")), rest
