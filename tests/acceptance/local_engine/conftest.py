"""Hand-written manifests, and a local engine to run them on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchflow.engines.local.engine import LocalEngine
from batchflow.engines.local.folder import RunFolder
from batchflow.engines.protocol import NODE_NAME, Observation
from batchflow.settings import Settings

HANG_S = 60  # bounds a test that hangs; nothing is measured

Json = dict[str, Any]


class Runs:
    """Builds workflows named `job-<n>`, runs them and looks at them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(
            engine="local",
            store=str(folder / "store"),
            local_dir=str(folder / "local"),
            cache_dir=str(folder / "cache"),
            grace_s=2,
        )
        self.directory = folder / "project"
        self.directory.mkdir()
        self.engine = LocalEngine(self.settings, os.environ)

    def container(self, code: str, name: str = "main", **fields: Any) -> Json:
        """Runs Python code; `SHARED` in it is a folder that outlives the pods."""
        return {"name": name, "image": "any", "command": ["python", "-c", code.replace("SHARED", repr(str(self.folder)))], **fields}

    def sidecar(self, name: str, code: str, **fields: Any) -> Json:
        return self.container(code, name, restartPolicy="Always", **fields)

    def pod(self, name: str, code: str, **fields: Any) -> Json:
        return {"name": name, "container": self.container(code), **fields}

    def workflow(self, *templates: Json, name: str = "job-1", groups: list[list[Json]] | None = None, **spec: Any) -> Json:
        """Each template is a group of its own, but `cleanup`, which is onExit."""
        names = [template["name"] for template in templates]
        steps = groups if groups is not None else [[{"name": n, "template": n}] for n in names if n != "cleanup"]
        on_exit = {"onExit": "cleanup"} if "cleanup" in names else {}
        entry = {"name": "job", "steps": steps}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name},
            "spec": {"entrypoint": "job", **on_exit, "templates": [entry, *templates], **spec},
        }

    def start(self, *templates: Json, **fields: Any) -> str:
        workflow = self.workflow(*templates, **fields)
        self.engine.submit(workflow, directory=str(self.directory))
        return str(workflow["metadata"]["name"])

    def run(self, *templates: Json, **fields: Any) -> Observation:
        return self.wait(self.start(*templates, **fields))

    def wait(self, name: str = "job-1") -> Observation:
        return self.until(name, lambda seen: seen.workflow is None or "finishedAt" in seen.workflow.get("status", {}))

    def until(self, name: str, holds: Callable[[Observation], object]) -> Observation:
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline:
            seen = self.engine.observe(name)
            if holds(seen):
                return seen
            time.sleep(0.05)
        raise AssertionError(f"still not so after {HANG_S} s: {seen}")

    def wait_for_lines(self, name: str, count: int = 1) -> list[str]:
        """The lines of a file in SHARED, once there are that many."""
        self.until("job-1", lambda _: len(self.lines(name)) >= count)
        return self.lines(name)

    def wait_until_gone(self, pids: list[int]) -> None:
        deadline = time.monotonic() + HANG_S
        while left := [pid for pid in pids if alive(pid)]:
            assert time.monotonic() < deadline, f"still running after {HANG_S} s: {left}"
            time.sleep(0.05)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def engine_pid(self, name: str = "job-1") -> int:
        return int((self.folder / "local" / name / "engine.lock").read_text())

    def log(self, name: str = "job-1", **chosen: Any) -> list[str]:
        return [line.text for line in self.engine.logs(name, **chosen)]

    def kill_engines(self) -> None:
        """End the engines that still run, and with them all that they started."""
        for lock in self.folder.glob("local/*/engine.lock"):
            pid = int(lock.read_text() or 0)
            if pid and RunFolder(lock.parent.parent, lock.parent.name).locked:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path)
    yield runs
    runs.kill_engines()


@pytest.fixture
def nodes() -> Callable[[Observation], dict[str, Json]]:
    """The nodes of a workflow by name, without the workflow's own name in front."""

    def by_name(seen: Observation) -> dict[str, Json]:
        assert seen.workflow is not None, seen.message
        workflow = seen.workflow["metadata"]["name"]
        return {node["name"].removeprefix(workflow): node for node in seen.workflow["status"]["nodes"].values()}

    return by_name


@pytest.fixture
def pods() -> Callable[[Observation], dict[str, Json]]:
    """The pods by their node's name."""

    def by_node(seen: Observation) -> dict[str, Json]:
        found = {pod["metadata"]["annotations"][NODE_NAME]: pod for pod in seen.pods}
        return {name.partition("[")[1] + name.partition("[")[2] or name: pod for name, pod in found.items()}

    return by_node


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has buried yet does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
    except (ProcessLookupError, FileNotFoundError):
        return False
