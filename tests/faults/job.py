"""A scenario's job: `batchflow` commands as processes, the faults meanwhile, and what they leave behind."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.acceptance.command import Terminal, until
from tests.faults.evidence import Evidence, Hit, Note, Record
from tests.faults.injury import Injured, Injuries
from tests.faults.scenario import Scenario
from tests.faults.services import Services

__all__ = ["HANDLER", "Job", "Place", "new_id"]

HANDLER = Path(__file__).with_name("handler.py")
LAST_PROCESS_S = 60
# Exit codes of batchflow. The first is of a command that waited for a job which did not succeed.
ENDED_OTHERWISE, NOTHING_TO_RESUME, UNREACHABLE = 1, 2, 4


class Hung(Exception):
    """What did not end in time, or not as it should."""


class Place(Injured, Protocol):
    """Where the job runs."""

    # How long a run may take.
    hang_s: float
    # Whether a job that ended because what runs it was killed is to be resumed.
    resumes: bool

    def project(self) -> Mapping[str, Path]:
        """The files of the Handler by their names in the project; one is handler.py."""
        ...

    def config(self) -> Mapping[str, Any]:
        """Where the handler's log goes."""
        ...

    def notes(self) -> list[dict[str, Any]]:
        """The handler's log: `event`, `batch` (its first item), `at`, `by`."""
        ...

    def running(self) -> tuple[str, ...]:
        """What of the job still runs."""
        ...


def new_id() -> str:
    """As batchflow's."""
    return f"{2**63 - 1 - time.time_ns():016x}"


class Job:
    """`terminal` runs the commands; with `directly` in its environment they go past the proxies."""

    def __init__(
        self, scenario: Scenario, job_id: str, place: Place, services: Services, terminal: Terminal, directly: Mapping[str, str]
    ) -> None:
        self._scenario = scenario
        self._id = job_id
        self._place = place
        self._services = services
        self._terminal = terminal
        self._directly = directly
        self._began = time.monotonic()
        self._dead_letters = f"{scenario.api}-{job_id}-failed.fifo" if scenario.max_receive_count else ""

    def run(self) -> Evidence:
        """From the submission until nothing of it is left."""
        file = self._write()
        self._services.create_queue(self._dead_letters)
        hung = ""
        status: Mapping[str, Any] = {}
        left: tuple[str, ...] = ()
        injuries = Injuries(self._scenario.faults, self._place)
        try:
            with injuries:
                status = self._to_the_end(file)
            if self._place.resumes and any(hit.at and hit.fault.target == "engine" for hit in injuries.hits):
                status = self._without_its_engine()
            left = self._left_alone()
        except Hung as error:
            hung = str(error)
        evidence = self._evidence(status, injuries.hits, left, hung)
        self._services.remove_queue(self._dead_letters)
        return evidence

    def _write(self) -> Path:
        """The job on disk; returns its job.yaml (JSON, which is YAML too)."""
        scenario = self._scenario
        project = self._terminal.folder / "project"
        project.mkdir()
        for name, file in self._place.project().items():
            shutil.copy(file, project / name)
        additions = {"max_concurrency": scenario.max_concurrency, "on_job_complete": scenario.hook != "none"}
        handler = {"type": "python", "path": "handler.py"}
        entry = {"name": scenario.api, "kind": "BatchAPI", "handler": handler, "compute": {"cpu": "20m"}, "batchflow": additions}
        (project / "cortex.yaml").write_text(json.dumps([entry]))
        body: dict[str, Any] = {
            "api": {"file": "cortex.yaml"},
            "workers": scenario.workers,
            "config": {**self._place.config(), "hook": scenario.hook, "hook_s": scenario.hook_s},
            "item_list": {"items": scenario.item_list(), "batch_size": scenario.batch_size},
        }
        if self._dead_letters:
            arn = f"arn:aws:sqs:us-east-1:000000000000:{self._dead_letters}"
            body["sqs_dead_letter_queue"] = {"arn": arn, "max_receive_count": scenario.max_receive_count}
        file = project / "job.yaml"
        file.write_text(json.dumps(body))
        return file

    def _to_the_end(self, file: Path) -> Mapping[str, Any]:
        """Submit it, and resume it as often as what runs it was killed."""
        self._command("submit", str(file), "--job-id", self._id)
        status = self._ended()
        while self._place.resumes and status["status"] == "unexpected_error":
            self._command("resume", self._scenario.api, self._id)
            status = self._ended()
        return status

    def _without_its_engine(self) -> Mapping[str, Any]:
        """What a killed engine left to do, though no outcome is missing, `resume` does."""
        self._command("resume", self._scenario.api, self._id, allowed=(NOTHING_TO_RESUME,))
        return self._ended()

    def _command(self, *arguments: str, allowed: Collection[int] = ()) -> None:
        """One that meets a fault itself is repeated, as a person would."""
        while (result := self._terminal.run(*arguments, code=None)).code not in (0, *allowed):
            if time.monotonic() - self._began > self._place.hang_s or result.code != UNREACHABLE:
                raise Hung(f"{arguments[0]} ended with {result.code}: {result.out}{result.err}")

    def _ended(self) -> Mapping[str, Any]:
        """The status at the end, asked for past the proxies."""
        watching = self._terminal.start("get", self._scenario.api, self._id, "--watch", "-o", "json", **self._directly)
        try:
            result = self._terminal.wait(watching, code=None, limit_s=max(1.0, self._place.hang_s - (time.monotonic() - self._began)))
            status = dict(result.json()["job_status"])
        except (AssertionError, ValueError) as error:
            raise Hung(f"the job did not end: {error}") from error
        if result.code != (0 if status["status"] == "succeeded" else ENDED_OTHERWISE):
            raise Hung(f"the job is {status['status']}, and get --watch ended with {result.code}: {result.err}")
        return status

    def _left_alone(self) -> tuple[str, ...]:
        """What still runs when nothing should."""
        try:
            until(lambda: not self._place.running(), "the job's last process", limit_s=LAST_PROCESS_S, pause_s=0.2)
        except AssertionError:
            return self._place.running()
        return ()

    def _evidence(self, status: Mapping[str, Any], hits: tuple[Hit, ...], left: tuple[str, ...], hung: str) -> Evidence:
        took_s = time.monotonic() - self._began
        prefix = f"jobs/{self._scenario.api}/{self._id}/"
        hook = self._services.stored(prefix + "hook.json")
        lines = [(line, written) for text, written in self._services.stored(prefix + "outcomes/") for line in text.splitlines()]
        size = self._scenario.batch_size
        return Evidence(
            scenario=self._scenario,
            log=tuple(Note(n["event"], None if n["batch"] is None else n["batch"] // size, n["at"], n["by"]) for n in self._place.notes()),
            records=tuple(Record(json.loads(line), written) for line, written in lines),
            status=status,
            hook=json.loads(hook[0][0]) if hook else None,
            dead_letters=tuple(self._services.messages(self._dead_letters)) if self._dead_letters else (),
            queues=tuple(name for name in self._services.queues() if self._id in name and name != self._dead_letters),
            processes=left,
            hits=hits,
            hung=hung,
            seconds=took_s,
        )
