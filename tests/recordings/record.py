"""Records what real jobs look like: `python -m tests.recordings.record [SCENARIO…]`, against the cluster that KUBECONFIG names.

Each scenario of scenarios.py is a job, submitted as users submit it. At each of its moments what `batchflow get` would read (Workflow,
Pods, records in the store, the queue's depth) is written to a file of this folder; tests/unit/test_recordings.py has the status read it.

batchflow has to be installed in the namespace, and its store and queue reachable from here: BATCHFLOW_NAMESPACE and AWS_* as for the
command line, KUBECONFIG and kubectl as for kubectl. `hello` takes a minute, all of them an hour.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from batchflow.client.client import Client
from batchflow.client.job import Job
from batchflow.client.removal import remove_job
from batchflow.client.services import Services
from batchflow.errors import BatchflowError
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.jobfile import load_submission
from batchflow.store.jobs import JobRecords
from tests.recordings.scenario import Json, Moment, Scenario
from tests.recordings.scenarios import SCENARIOS
from tests.recordings.trimming import trimmed

HERE: Final = Path(__file__).parent
POLL_S: Final = 0.2


class Missed(Exception):
    """A moment did not come."""


@dataclass(frozen=True)
class Run:
    """A submitted job, and the means to look at it and to interfere with it."""

    services: Services
    job: Job

    @property
    def workflow(self) -> str:
        return self.job.workflow

    def command(self, *words: str) -> None:
        """`{workflow}` in a word is the workflow's name."""
        command(self.services.settings.namespace, *(word.format(workflow=self.workflow) for word in words))

    def snapshot(self) -> Json:
        """Everything that `get` would read, as of now."""
        records = JobRecords(self.services.store, JobRef(self.job.api, self.job.id))
        run = records.latest_run()
        seen = self.services.engine.observe(JobRef(self.job.api, self.job.id, run).workflow)
        store = dict(self._records(records.prefix))
        checkpoint = records.checkpoint()
        queue = None
        if checkpoint and checkpoint.queue_url:
            try:
                depth = self.services.queues.open(checkpoint.queue_url).depth()
                queue = {"visible": depth.visible, "in_flight": depth.in_flight}
            except BatchflowError:  # gone
                pass
        return {
            "now": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": run,
            "hook_due": self.services.apis.api(self.job.api, store["submission.json"]["api_id"]).has_hook,
            "workflow": seen.workflow,
            "pods": seen.pods,
            "store": store,
            "queue": queue,
        }

    def _records(self, prefix: str) -> Iterator[tuple[str, Any]]:
        """The job's documents by name; what the status does not read is left out."""
        for key in self.services.store.list(prefix):
            name = key.removeprefix(prefix)
            if name.startswith(("logs/", "starts/", "inputs")):
                continue
            data = self.services.store.get(key)
            if data is not None:
                yield name, [json.loads(line) for line in data.splitlines()] if name.endswith(".jsonl") else json.loads(data)

    def remove(self) -> None:
        """All there is of it, whether it ended or not."""
        for run in self.services.started.list(self.job.api, self.job.id):
            self.services.engine.delete(run.workflow)
        remove_job(self.services, self.job.api, self.job.id, told=print)


def main(names: list[str]) -> None:
    settings = Settings.from_env()
    for scenario in SCENARIOS:
        if not names or scenario.name in names:
            try:
                record(scenario, settings)
            except Missed as error:
                print(error, file=sys.stderr)


def record(scenario: Scenario, settings: Settings) -> None:
    os.environ.update(scenario.environ)
    try:
        for words, document in scenario.before:
            command(settings.namespace, *words, document=document)
        with tempfile.TemporaryDirectory() as folder:
            run = Run(Services(settings), _submit(scenario, settings, Path(folder)))
        try:
            for moment in scenario.moments:
                snapshot = _wait(run, moment)
                if moment.name:
                    _write(moment, snapshot, settings.namespace)
                moment.then(run)
        finally:
            run.remove()
    finally:
        for words, document in scenario.after:
            command(settings.namespace, *words, document=document)
        for name in scenario.environ:
            del os.environ[name]


def command(namespace: str, *words: str, document: Json | None = None) -> None:
    """kubectl or argo, as somebody else would use it; `document` is its input."""
    given = None if document is None else json.dumps(document)
    subprocess.run([*words, "-n", namespace], input=given, text=True, timeout=120, check=True, stdout=subprocess.DEVNULL)


def _submit(scenario: Scenario, settings: Settings, folder: Path) -> Job:
    api = {"name": scenario.name, "kind": "BatchAPI", **scenario.api}
    (folder / "cortex.yaml").write_text(yaml.safe_dump([api]))
    (folder / "handler.py").write_text(scenario.handler)
    job = {"api": {"file": "cortex.yaml"}, **scenario.job}
    if scenario.lines:
        store = Services(settings).store
        store.put(f"recordings/{scenario.name}.jsonl", scenario.lines.encode())
        job["delimited_files"] = {**job["delimited_files"], "s3_paths": [f"{store.url}/recordings/{scenario.name}.jsonl"]}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return Client(settings).submit(load_submission(folder / "job.yaml", overrides={}))


def _wait(run: Run, moment: Moment) -> Json:
    """The first snapshot that shows the moment; the last one in a row, if the moment asks for that."""
    give_up = time.monotonic() + moment.within_s
    found = None
    while True:
        seen = run.snapshot()
        if moment.when(seen):
            found = seen
            if not moment.last:
                return found
        elif found is not None:
            return found
        if time.monotonic() > give_up:
            raise Missed(f"{moment.name} was not seen within {moment.within_s:g} s")
        time.sleep(POLL_S)


def _write(moment: Moment, snapshot: Json, namespace: str) -> None:
    (HERE / f"{moment.name}.json").write_text(trimmed(snapshot, namespace))
    print(moment.name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
