"""The command line as a real process, in a folder and a store of its own; and small jobs made of strings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
HANG_S = 120  # bounds a test that hangs; nothing is measured
LAST_PROCESS_S = 30  # the engine outlives its job's final status for a moment
MARK = "ACCEPTANCE_TERMINAL"  # in the environment of every process that a terminal's commands start
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

Json = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def lines(self) -> list[str]:
        """Of stdout; str.splitlines would break them at further characters."""
        return self.out.removesuffix("\n").split("\n") if self.out else []


class Terminal:
    """Runs `batchflow` in `folder`, with nothing of this machine's settings; the store is `folder/store`, which need not exist."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.store = folder / "store"
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        inherited = {name: os.environ[name] for name in (*INHERITED, *map(str.lower, INHERITED)) if name in os.environ}
        own = {"BATCHFLOW_ENGINE": "local", "BATCHFLOW_STORE": str(self.store), "BATCHFLOW_GRACE_S": "10", MARK: str(folder)}
        self.environ = {**inherited, **pip, **own, **settings}

    def run(self, *arguments: str | Path, code: int | None = 0, **environ: str) -> Result:
        """Run a command to its end; its exit code must be `code`, unless that is None."""
        process = self.start(*arguments, **environ)
        return self.wait(process, code=code)

    def start(self, *arguments: str | Path, **environ: str) -> subprocess.Popen[str]:
        """Start a command and don't wait for it; it heads a process group, as in a shell."""
        return subprocess.Popen(
            [sys.executable, "-m", "batchflow", *map(str, arguments)],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait(self, process: subprocess.Popen[str], *, code: int | None = 0, limit_s: float = HANG_S) -> Result:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{process.args} hangs\n{out}{err}") from None
        assert code in (None, process.returncode), f"{process.args} ended with {process.returncode}\n{out}{err}"
        return Result(process.returncode, out, err)

    def submit(self, file: Path, *arguments: str) -> str:
        """Submit a job and don't wait for it; returns its id."""
        return str(self.run("submit", file, *arguments, "-o", "json").json()["job_status"]["job_id"])

    def response(self, api: str, job_id: str) -> Json:
        response: Json = self.run("get", api, job_id, "-o", "json").json()
        return response

    def status(self, api: str, job_id: str) -> Json:
        status: Json = self.response(api, job_id)["job_status"]
        return status

    def listed(self, api: str, *arguments: str) -> list[Json]:
        """The statuses of an api's jobs, newest first."""
        [view] = self.run("get", api, *arguments, "-o", "json").json()
        return list(view["batch_job_statuses"])

    def ended(self, api: str, job_id: str, *, limit_s: float = HANG_S) -> Json:
        """Wait for the job's end; returns its status."""
        watching = self.start("get", api, job_id, "--watch", "-o", "json")
        result = self.wait(watching, code=None, limit_s=limit_s)
        assert result.code in (0, 1, 2) and result.out, f"{watching.args} ended with {result.code}\n{result.out}{result.err}"
        return dict(result.json()["job_status"])

    def logs(self, api: str, job_id: str, *arguments: str) -> list[str]:
        return self.run("logs", api, job_id, *arguments).lines()

    def processes(self) -> dict[int, str]:
        """Every living process that one of this terminal's commands started, with its command line."""
        return dict(_marked(f"{MARK}={self.folder}".encode()))

    def wait_until_alone(self) -> None:
        """Returns when no process of a job is left."""
        until(lambda: not self.processes(), "the job's last process to end", self.processes, limit_s=LAST_PROCESS_S)

    def close(self) -> None:
        """Ends what a failed test left behind."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@contextmanager
def terminal(folder: Path, **settings: str) -> Iterator[Terminal]:
    """A terminal; when its user is done, so must be all that it started."""
    opened = Terminal(folder, **settings)
    try:
        yield opened
        opened.wait_until_alone()
    finally:
        opened.close()


def until(
    condition: Callable[[], Any], what: str, shown: Callable[[], object] = lambda: "", *, limit_s: float = HANG_S, pause_s: float = 0.05
) -> Any:
    """Wait for an observable state; returns the first true value of `condition`."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}: {shown()}"
        time.sleep(pause_s)
    return value


# The start of every handler below: `note` appends a line to the job's own log, `gate` waits until the test opens it.
PREAMBLE = """\
import json, os, pathlib, signal, sys, time

class Notes:
    def __init__(self, config):
        self.folder = pathlib.Path(config["folder"])

    def note(self, *words):
        line = (json.dumps(words) + "\\n").encode()
        file = os.open(self.folder / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line)
        os.close(file)

    def times_begun(self, payload):
        return (self.folder / "notes").read_text().splitlines().count(json.dumps(["began", payload]))

    def gate(self, name):
        while not (self.folder / name).exists():
            time.sleep(0.02)

class Handler(Notes):
    def handle_batch(self, payload):
        self.note("began", payload)
        self.handle(payload)
        self.note("ended", payload)

"""


class Job:
    """A small job on disk, `<folder>/<api>/job.yaml`: JSON, which is YAML too. `settings` overrides any field of job.yaml."""

    def __init__(
        self,
        folder: Path,
        api: str,
        methods: str = "    def handle(self, payload): pass\n",
        *,
        batchflow: Mapping[str, Any] | None = None,
        entry: Mapping[str, Any] | None = None,
        items: Sequence[Any] = (1, 2, 3),
        batch_size: int = 1,
        workers: int = 1,
        **settings: Any,
    ) -> None:
        self.api = api
        self.notebook = folder / f"{api}-notes"  # not in the project, which would be another one each time
        self.notebook.mkdir()
        self.file = folder / api / "job.yaml"
        self.methods = methods
        project = self.file.parent
        project.mkdir()
        (project / "handler.py").write_text(PREAMBLE + methods)
        entry = dict(entry or {"handler": {"type": "python", "path": "handler.py"}})
        if batchflow:
            entry["batchflow"] = dict(batchflow)
        (project / "cortex.yaml").write_text(json.dumps([{"name": api, "kind": "BatchAPI", **entry}]))
        body = {
            "api": {"file": "cortex.yaml"},
            "workers": workers,
            "config": {"folder": str(self.notebook)},
            "item_list": {"items": list(items), "batch_size": batch_size},
            **settings,
        }
        self.file.write_text(json.dumps({key: value for key, value in body.items() if value is not None}))

    def line_of(self, text: str) -> int:
        """The line of handler.py that holds `text`."""
        return next(number for number, line in enumerate((PREAMBLE + self.methods).split("\n"), 1) if text in line)

    def open(self, gate: str) -> None:
        (self.notebook / gate).touch()

    def notes(self) -> list[list[Any]]:
        """What the handler noted, in order."""
        file = self.notebook / "notes"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def noted(self, event: str) -> list[Any]:
        """The payloads with which it noted this event, sorted."""
        return sorted((rest[0] for name, *rest in self.notes() if name == event), key=json.dumps)

    def wait_for(self, *note: Any) -> None:
        until(lambda: list(note) in self.notes(), f"the handler's note {note}", self.notes)


def _marked(mark: bytes) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes()
        except OSError:  # another user's, or gone
            continue
        if mark in environment and command:  # a zombie has none
            yield int(entry.name), command.replace(b"\0", b" ").decode(errors="replace").strip()
