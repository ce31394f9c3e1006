"""Gives a recording to the status as `batchflow get` would: records in a store, Workflow and Pods as observed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from batchflow.queues.protocol import Depth
from batchflow.records import JobRef
from batchflow.status.adapter import Facts, final_status
from batchflow.status.facts import account, current_status, gather
from batchflow.status.model import JobStatus
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import JobRecords

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Replay:
    """One moment of a job; `workflow` and `pods` may be changed before asking."""

    records: JobRecords
    now: datetime
    workflow: dict[str, Any] | None
    pods: list[dict[str, Any]]
    depth: Depth | None
    hook_due: bool

    def facts(self) -> Facts:
        return gather(self.records, hook_due=self.hook_due, workflow=self.workflow, pods=self.pods, depth=lambda _: self.depth)

    def status(self, *, later: timedelta = timedelta()) -> JobStatus:
        """What `get` says."""
        return current_status(self.records, self.facts(), self.now + later)

    def verdict(self) -> JobStatus:
        """What cleanup writes, if it looks now."""
        facts = self.facts()
        return final_status(facts, account(self.records, facts), self.now)


def replay(moment: str, folder: Path) -> Replay:
    """The recording of that name; its records go to a store in `folder`."""
    recorded = json.loads((HERE / f"{moment}.json").read_text())
    submission = recorded["store"]["submission.json"]
    job = JobRef(submission["api_name"], submission["job_id"], recorded["run"])
    records = JobRecords(DirectoryStore(folder), job)
    for name, document in recorded["store"].items():
        data = b"\n".join(map(orjson.dumps, document)) if name.endswith(".jsonl") else orjson.dumps(document)
        records.store.put(records.prefix + name, data)
    queue = recorded["queue"]
    return Replay(
        records,
        datetime.fromisoformat(recorded["now"]),
        recorded["workflow"],
        recorded["pods"],
        Depth(**queue) if queue else None,
        recorded["hook_due"],
    )
