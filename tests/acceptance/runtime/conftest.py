"""A worker's handler, as the real thing: prepared by `prepare`, run as `python3 -m batchflow_runtime`, spoken to over HTTP."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchflow import contract
from batchflow.prepare import prepare
from batchflow.records import JobRef, SubmissionRecord, job_document
from batchflow.settings import Settings
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import ApiRecords, JobRecords
from batchflow.store.open import open_sources

HANG_S = 60
JOB = JobRef("an-api", "7" * 16)


class Worker:
    """One handler process; `project` maps paths to contents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mnt = folder / "mnt"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environ = {
            contract.ENV_MNT: str(self.mnt),
            contract.ENV_PROJECT: str(folder / "project"),
            contract.ENV_API_SPEC: str(folder / "spec.json"),
            contract.ENV_JOB_SPEC: str(folder / "batch.json"),
            contract.ENV_JOB_DOCUMENT: str(folder / "job.json"),
            contract.ENV_RUNTIME: str(folder / "runtime"),
            contract.ENV_VENVS: str(folder / "venvs"),
            contract.ENV_PORT: str(self.port),
            contract.ENV_LOG_LEVEL: "INFO",
        }

    def prepare(self, project: dict[str, str | bytes], *, api: dict[str, Any] | None = None, config: Any = None) -> None:
        store = DirectoryStore(self.folder / "store")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, content in project.items():
                archive.writestr(path, content)
        data = buffer.getvalue()
        entry = api or {"handler": {"type": "python", "path": "handler.py"}}
        apis, records = ApiRecords(store), JobRecords(store, JOB)
        sha256 = hashlib.sha256(data).hexdigest()
        apis.save_project(sha256, data)
        apis.save(JOB.api, "id", {"api": {"name": JOB.api, "kind": "BatchAPI", **entry}, "project": sha256, "has_hook": True})
        submission = SubmissionRecord(JOB.api, "id", JOB.job_id, "2026-01-01T00:00:00Z", {"workers": 1, "config": config})
        records.create_submission(submission)
        records.create_document(job_document(submission, total_batch_count=3))
        prepare(records, apis, open_sources(Settings()), self.environ)

    def launch(self, python: str = sys.executable, **environ: str) -> subprocess.Popen[bytes]:
        """Start it, and don't wait."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = {**inherited, **self.environ, "PYTHONPATH": self.environ[contract.ENV_RUNTIME], **environ}
        with self.log.open("ab") as log:
            command = [python, "-m", "batchflow_runtime"]
            self.process = subprocess.Popen(command, cwd=self.environ[contract.ENV_PROJECT], env=env, stdout=log, stderr=log)
        return self.process

    def start(self, handler: str, *, python: str = sys.executable, **environ: str) -> Worker:
        """Serve the class in `handler`; returns when it listens, or has ended."""
        self.prepare({"handler.py": handler})
        self.launch(python, **environ)
        self.wait_until_it_listens()
        return self

    def wait_until_it_listens(self) -> None:
        assert self.process
        deadline = time.monotonic() + HANG_S
        while self.process.poll() is None and not self.listens():
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_S)

    def post(
        self,
        items: Any,
        *,
        index: int = 12,
        path: str = "/",
        job_id: str = JOB.job_id,
        connection: http.client.HTTPConnection | None = None,
    ) -> tuple[int, str]:
        """Post a batch; `items` as bytes go as they are."""
        own = connection or self.connect()
        body = items if isinstance(items, bytes) else json.dumps(items).encode()
        names = (contract.HEADER_JOB, contract.HEADER_BATCH_ID, contract.HEADER_BATCH_INDEX, contract.HEADER_ATTEMPT)
        values = (job_id, f"id-{index}", str(index), "1")
        own.request("POST", path, body, {"Content-Type": "application/json", **dict(zip(names, values, strict=True))})
        response = own.getresponse()
        answer = response.status, response.read().decode()
        if connection is None:
            own.close()
        return answer

    def complete(self) -> tuple[int, str]:
        return self.post(contract.HOOK_BODY, path=contract.HOOK_PATH)

    def output(self) -> str:
        return self.log.read_text()

    def failures(self) -> list[str]:
        """The reasons of failed starts."""
        file = self.mnt / contract.FAILURES_FILE
        return [json.loads(line)["reason"] for line in file.read_text().splitlines()] if file.exists() else []

    def wait(self) -> int:
        assert self.process
        return self.process.wait(HANG_S)

    def stop(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.wait()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
