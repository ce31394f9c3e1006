"""What is known of a run once it is over: what the handler really did, what batchflow recorded, and what was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.scenario import Fault, Scenario

__all__ = ["Evidence", "Hit", "Note", "Record"]

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Note:
    """A line of the handler's own log, in the order in which the lines were written.

    Attributes:
        event: began, ended or raised, of a batch; hook_began, hook_ended or hook_raised.
        batch: the number of the batch; None for the hook.
        at: Unix seconds.
        by: the process that wrote it, unique in the run.
    """

    event: str
    batch: int | None
    at: float
    by: str


@dataclass(frozen=True)
class Record:
    """An outcome as it is in the store: a JSON object of outcomes/<writer>/<n>.jsonl, and when that object was written (Unix seconds)."""

    outcome: Json
    written: float


@dataclass(frozen=True)
class Hit:
    """A fault and what it did, from `at` to `until` (Unix seconds); `at` is None if nothing was there that it could hit."""

    fault: Fault
    at: float | None = None
    until: float = 0.0
    what: str = ""


@dataclass(frozen=True)
class Evidence:
    """One run.

    Attributes:
        log: the handler's own.
        records: every outcome record of the job.
        status: `job_status` of `batchflow get -o json`, when the job was over.
        hook: hook.json; None if there is none.
        dead_letters: the messages in the dead-letter queue, as {"batch": number, "items": the parsed body, "reason": text}.
        queues: names of the job's queues that are left.
        processes: what of the job still runs (command lines, or names of pods).
        hits: one of each fault.
        hung: what did not end in time; empty if the run ended.
        seconds: how long it took from submission to the end.
    """

    scenario: Scenario
    log: tuple[Note, ...]
    records: tuple[Record, ...]
    status: Json
    hook: Json | None
    dead_letters: tuple[Json, ...]
    queues: tuple[str, ...]
    processes: tuple[str, ...]
    hits: tuple[Hit, ...]
    hung: str = ""
    seconds: float = 0.0
