"""A real cluster as a test sees it: the command as a process, `kubectl`, the job's own records in S3 and SQS, and small jobs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.command import Json, Terminal, until
from tests.cluster.recorder import Note, Recorder

PROJECT = Path(__file__).with_name("project")
KUBECTL_S = 120
JOB_S = 420  # bounds a job that hangs; nothing is measured
WORKFLOW = "workflows.argoproj.io/workflow"
NODE_NAME = "workflows.argoproj.io/node-name"


@dataclass(frozen=True)
class Cluster:
    """One namespace with batchflow in it.

    `environ` has the cluster's and AWS's variables for the command, `person` a kubeconfig of somebody who may do what the Role
    batchflow-user says, and nothing else. `s3` and `sqs` are boto3 clients. `token` is the gateway's for this namespace.
    """

    namespace: str
    environ: Mapping[str, str]
    recorder: Recorder
    bucket: str
    s3: Any
    sqs: Any
    person: str = ""
    token: str = ""

    def shell(self, folder: Path, **settings: str) -> Terminal:
        """A terminal of that person."""
        return self.terminal(folder, KUBECONFIG=self.person, **settings)

    def terminal(self, folder: Path, **settings: str) -> Terminal:
        """An administrator's, for this namespace; nothing but the cluster's ConfigMap tells it the store."""
        own = {"BATCHFLOW_ENGINE": "argo", "BATCHFLOW_STORE": "", "BATCHFLOW_NAMESPACE": self.namespace}
        return Terminal(folder, **{**self.environ, **own, **settings})

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return run("kubectl", "-n", self.namespace, *arguments, stdin=stdin)

    def objects(self, kind: str, selector: str = "") -> list[Json]:
        """Oldest first."""
        found = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return sorted(found, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))

    def living_pods(self) -> list[str]:
        """The names of all pods of jobs in the namespace that did not end."""
        pods = self.objects("pods", WORKFLOW)
        return [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") in ("Pending", "Running")]

    def workflow(self, name: str) -> Json | None:
        found = self.kubectl("get", "workflow", name, "--ignore-not-found", "-o", "json")
        return json.loads(found) if found.strip() else None

    def record(self, key: str) -> bytes | None:
        """An object of the store, by its key below the store's prefix."""
        try:
            return bytes(self.s3.get_object(Bucket=self.bucket, Key=f"{self.namespace}/{key}")["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None

    def queues(self) -> list[str]:
        """The URLs of all queues, whoever made them."""
        pages = self.sqs.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 100})
        return [url for page in pages for url in page.get("QueueUrls", [])]


def run(*command: str | Path, stdin: str = "", timeout_s: float = KUBECTL_S, environ: Mapping[str, str] | None = None) -> str:
    """A command's stdout; it must succeed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=environ, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
    return done.stdout


class Job:
    """A small job on disk, `<folder>/<api>/job.yaml` (JSON, which is YAML too), and once submitted on the cluster.

    Its api is the Handler of tests/cluster/project, or whatever `entry` says; `settings` overrides any field of job.yaml.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        api: str,
        *,
        items: Sequence[Any] = (),
        batch_size: int = 1,
        workers: int = 1,
        config: Mapping[str, Any] | None = None,
        entry: Mapping[str, Any] | None = None,
        batchflow: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.cluster = cluster
        self.api = api
        self.id = ""
        self.batches = -(-len(items) // batch_size)
        self._batch_size = batch_size
        self.project = folder / api
        self.project.mkdir(parents=True)
        self.terminal = cluster.shell(self.project)
        shutil.copy(PROJECT / "handler.py", self.project)
        described = dict(entry or {"handler": {"type": "python", "path": "handler.py"}, "compute": {"cpu": "20m"}})
        if batchflow:
            described["batchflow"] = dict(batchflow)
        (self.project / "cortex.yaml").write_text(json.dumps([{"name": api, "kind": "BatchAPI", **described}]))
        body = {
            "api": {"file": "cortex.yaml"},
            "workers": workers,
            "config": {"recorder": cluster.recorder.url, **(config or {})},
            "item_list": {"items": list(items), "batch_size": batch_size},
            **settings,
        }
        self.file = self.project / "job.yaml"
        self.file.write_text(json.dumps({key: value for key, value in body.items() if value is not None}))

    @property
    def submission(self) -> Json:
        """What is posted to the gateway to submit it: job.yaml but for `api`."""
        body: Json = json.loads(self.file.read_text())
        return {key: value for key, value in body.items() if key != "api"}

    def use_deployed(self) -> None:
        """Have a job.yaml elsewhere name the deployed api: one beside the cortex.yaml would mean that."""
        body = {**json.loads(self.file.read_text()), "api": self.api}
        self.file = self.project.with_name(f"{self.api}-deployed") / "job.yaml"
        self.file.parent.mkdir()
        self.file.write_text(json.dumps(body))

    def submit(self, *arguments: str) -> Job:
        self.id = self.terminal.submit(self.file, *arguments)
        return self

    @property
    def workflow(self) -> str:
        """The first run's."""
        return f"{self.api}-{self.id}"

    def status(self) -> Json:
        return self.terminal.status(self.api, self.id)

    def ended(self, *, limit_s: float = JOB_S) -> Json:
        """Wait for the end; returns the final status, which must be in the store. The queue must be gone."""
        status = self.terminal.ended(self.api, self.id, limit_s=limit_s)
        stored = json.loads(self.cluster.record(f"jobs/{self.api}/{self.id}/status.json") or b"{}")
        assert stored.get("status") == status, (stored, status)
        self.wait_until_no_queue()
        return status

    def finished(self, code: str = "succeeded", *, failed: Sequence[int] = (), limit_s: float = JOB_S) -> Json:
        """Wait for the end and compare with what the Handler told: every batch has an outcome, all but those `failed` a success."""
        status = self.ended(limit_s=limit_s)
        assert status["status"] == code, status
        assert status["batches_without_outcome"] == 0, status
        assert status["total_batch_count"] == self.batches, status
        assert status["batches_failed"] == len(failed), status
        assert status["batch_metrics"]["succeeded"] == self.batches - len(failed), status
        told = set(self.indexes("ended"))
        assert told == set(range(self.batches)) - set(failed), (sorted(told), status)
        return status

    def reaches(self, *statuses: str, limit_s: float = JOB_S) -> Json:
        """Wait for one of these statuses."""
        seen: list[Json] = []

        def reached() -> Json | None:
            seen[:] = [self.status()]
            return seen[0] if seen[0]["status"] in statuses else None

        found: Json = until(reached, " or ".join(statuses), lambda: (self.id, seen), limit_s=limit_s, pause_s=1.0)
        return found

    def enqueued(self) -> Json:
        """The enqueuer's checkpoint."""
        return dict(json.loads(self.cluster.record(f"jobs/{self.api}/{self.id}/enqueue.json") or b'{"next_index": 0, "done": false}'))

    def pods(self, step: str = "") -> list[Json]:
        """Oldest first; all, or those of one step (`work`, `enqueue`, …)."""
        pods = self.cluster.objects("pods", f"{WORKFLOW}={self.workflow}")
        return [pod for pod in pods if f"-{step}-" in pod["metadata"]["name"]] if step else pods

    def saved_logs(self) -> list[list[str]]:
        """Worker, pod and container of every log that cleanup has saved."""
        prefix = f"{self.cluster.namespace}/jobs/{self.api}/{self.id}/logs/"
        found = self.cluster.s3.list_objects_v2(Bucket=self.cluster.bucket, Prefix=prefix).get("Contents", [])
        return [one["Key"].removeprefix(prefix).removesuffix(".log").split("/") for one in found]

    def notes(self, event: str = "") -> list[Note]:
        """What its Handler told, in order."""
        return [note for note in self.cluster.recorder.notes(self.id) if event in ("", note.event)]

    def indexes(self, event: str) -> list[int]:
        """The batches of which its Handler told that, in order; `n` of an item is its place among the items."""
        return [note.payload[0]["n"] // self._batch_size for note in self.notes(event)]

    def wait_for(self, event: str, times: int = 1, *, limit_s: float = JOB_S) -> list[Note]:
        """Wait until its Handler told that so many times."""
        return list(
            until(
                lambda: found if len(found := self.notes(event)) >= times else None,
                f"{times} notes of {event}",
                lambda: [(note.event, note.payload) for note in self.notes()],
                limit_s=limit_s,
                pause_s=0.2,
            )
        )

    def held_up(self, gate: str, *, ended: int, begun: int) -> list[str]:
        """Let so many of its batches pass the gate, and wait until so many more have begun; the pods that hold them, in order."""
        self.cluster.recorder.open(gate, ended)
        self.wait_for("ended", ended)
        return self.begun(begun)

    def begun(self, count: int) -> list[str]:
        """Wait until its Handler began so many batches without ending them; the pods in which it did, in order."""

        def found() -> list[str] | None:
            ended = [(note.pod, note.payload) for note in self.notes("ended")]
            pods = [note.pod for note in self.notes("began") if (note.pod, note.payload) not in ended]
            return pods if len(pods) >= count else None

        return list(until(found, f"{count} batches begun", self.notes, limit_s=JOB_S, pause_s=0.2))

    def has_queue(self) -> bool:
        """Whether SQS has a queue of any of its runs."""
        return any(f"_{self.api}_{self.id}." in url for url in self.cluster.queues())

    def wait_until_no_queue(self, *, limit_s: float = JOB_S) -> None:
        """Cleanup writes the final status first, and removes the queue then."""
        until(lambda: not self.has_queue(), "the queue to be gone", self.cluster.queues, limit_s=limit_s, pause_s=0.5)


def items(count: int, special: Mapping[int, Mapping[str, Any]] | None = None, *, gate: str = "") -> list[Json]:
    """So many items, each with its number `n`; `special` adds to some of them, and all wait at `gate`, if there is one.

    Workers get batches in any order, so it is the gate that says how many of them end.
    """
    waiting = {"do": "gate", "gate": gate} if gate else {}
    return [{"n": n, **waiting, **(special or {}).get(n, {})} for n in range(count)]


def many_files(cluster: Cluster, folder: Path, api: str, *, files: int) -> Job:
    """A job whose enqueuing takes a while for the number of its files; ten items, a file each, are a batch."""

    def put(n: int) -> None:
        cluster.s3.put_object(Bucket=cluster.bucket, Key=f"input/{api}/{n:06d}.jsonl", Body=json.dumps({"n": n}).encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(files)))
    source = {"s3_paths": [f"s3://{cluster.bucket}/input/{api}/"], "batch_size": 10}
    return Job(cluster, folder, api, items=items(files), batch_size=10, workers=3, item_list=None, delimited_files=source)
