"""Job deployments themselves: created, looked at, changed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from batchflow.callrecords import CallRef, JobDeploymentRecord
from batchflow.deployments.calls import Calls
from batchflow.deployments.references import check_references
from batchflow.engines.protocol import Engine
from batchflow.errors import Conflict, InvalidInput, NotFound, Unreachable
from batchflow.settings import Settings
from batchflow.spec.computeresource import ComputeResource, Rules
from batchflow.spec.jobdeployment import JobDeployment, parse_job_deployment, to_document
from batchflow.spec.jobpatch import merged
from batchflow.spec.reader import Document, document_of
from batchflow.store.deployments import PAUSED, TERMINATING, DeploymentRecords, JobDeployments
from batchflow.store.endpoints import endpoints, first_part
from batchflow.store.jobs import ApiRecords
from batchflow.store.parallel import in_parallel
from batchflow.store.protocol import Store

__all__ = ["CREATED", "RUNNING", "UNCHANGED", "UPDATED", "Deployments", "status_of_deployment"]

RUNNING: Final = "running"

CREATED: Final = "created"
UPDATED: Final = "updated"
UNCHANGED: Final = "unchanged"

_NO_DEPLOYMENT: Final = "0" * 12  # where a manifest is made for its errors only
_NO_CALL: Final = f"{0:019d}-{0:08x}"


class Deployments:
    """A namespace's job deployments.

    `settings` are those to compile with (engines.open.complete); `wake` tells the scheduler of which one there may be something to do.
    Every method that takes a name raises NotFound if there is no such deployment; those that change one, also if it is being deleted.
    What `create`, `list`, `get` and `update` return says also whether its compute `is_available` now.
    """

    def __init__(
        self, store: Store, engine: Engine, settings: Settings, rules: Rules, *, wake: Callable[[str], object] = lambda name: None
    ) -> None:
        self._all = JobDeployments(store)
        self._apis = ApiRecords(store)
        self._engine = engine
        self._settings = settings
        self._rules = rules
        self._wake = wake

    def create(self, document: Document, *, directory: str = "") -> JobDeploymentRecord:
        """Raises Conflict if the name is taken, or is the first part of an api's endpoint, InvalidInput if the deployment can't be used.

        Then nothing is stored.

        `directory`: where replicas start on this machine.
        """
        deployment = parse_job_deployment(document, self._rules)
        records = self._all.find(deployment.name)
        if records:
            raise _being_deleted(deployment.name) if records.has_flag(TERMINATING) else _taken(deployment.name)
        self._refuse_paths_of_apis([deployment])
        self._check(deployment, document, None)
        record = JobDeploymentRecord(to_document(deployment), _now(), directory)
        if self._all.create(deployment.name, record) is None:
            raise _taken(deployment.name)
        return self._answered(record)

    def deploy(self, documents: Sequence[Document], *, directory: str) -> list[tuple[JobDeploymentRecord, str]]:
        """Make each deployment what its document says: CREATED, UPDATED or UNCHANGED. All are checked before the first is stored.

        Raises as `create`, but a deployment that is there already is no conflict, unless it is being deleted.
        """
        deployments = [parse_job_deployment(document, self._rules) for document in documents]
        self._refuse_paths_of_apis(deployments)
        for deployment, document in zip(deployments, documents, strict=True):
            records = self._all.find(deployment.name)
            if records and records.has_flag(TERMINATING):
                raise _being_deleted(deployment.name)
            self._check(deployment, document, records.load() if records else None)
        return [self._deploy(deployment, directory) for deployment in deployments]

    def list(self) -> list[JobDeploymentRecord]:
        """By name."""

        def load(name: str) -> JobDeploymentRecord | None:
            records = self._all.find(name)
            return records.load() if records else None

        return [self._answered(record) for record in in_parallel(load, self._all.names()) if record]

    def get(self, name: str) -> JobDeploymentRecord:
        return self._answered(self._load(self._find(name)))

    def update(self, name: str, patch: Mapping[str, Any]) -> JobDeploymentRecord:
        """Change what `patch`, part of a deployment's document, names; replicas that run are as they were. Raises InvalidInput."""
        records = self._find_lasting(name)
        current = self._load(records)
        record = None
        while record != current:  # to check it takes a while, in which others may change what this patch does not name
            record = current
            document = document_of(merged(record.spec, patch))
            deployment = parse_job_deployment(document, self._rules)
            self._check(deployment, document, record)
            current = self._load(records)
        changed = JobDeploymentRecord(to_document(deployment), current.created_time, current.directory)
        records.save(changed)
        self._wake(name)
        return self._answered(changed)

    def delete(self, name: str) -> Callable[[], bool]:
        """Take no more calls at once; the scheduler stops what runs, then frees the name. Returns what tells whether that is done."""
        records = self._find_lasting(name)
        records.set_flag(TERMINATING, True)
        self._wake(name)

        def is_gone() -> bool:
            try:
                current = self._all.find(name)
            except Unreachable:  # it goes on all the same, and may be seen later
                return False
            return current is None or current.deployment_id != records.deployment_id

        return is_gone

    def status(self, name: str) -> str:
        """TERMINATING, PAUSED or RUNNING; the last also with nothing to do."""
        return status_of_deployment(self._find(name))

    def scaling(self, name: str) -> dict[str, int]:
        """In Verda's schema."""
        scaling: dict[str, int] = self.get(name).spec["scaling"]
        return scaling

    def pause(self, name: str) -> None:
        """Start no further replica; calls are still taken, and age."""
        self._find_lasting(name).set_flag(PAUSED, True)

    def resume(self, name: str) -> None:
        self._find_lasting(name).set_flag(PAUSED, False)
        self._wake(name)

    def purge(self, name: str) -> None:
        """Drop the calls that wait."""
        Calls(self._find_lasting(name)).purge()

    def _find(self, name: str) -> DeploymentRecords:
        records = self._all.find(name)
        if records is None:
            raise _unknown(name)
        return records

    def _find_lasting(self, name: str) -> DeploymentRecords:
        records = self._find(name)
        if records.has_flag(TERMINATING):
            raise NotFound(f'job deployment "{name}" is being deleted')
        return records

    def _deploy(self, deployment: JobDeployment, directory: str) -> tuple[JobDeploymentRecord, str]:
        created = JobDeploymentRecord(to_document(deployment), _now(), directory)
        records = self._all.find(deployment.name)
        if records is None:
            if self._all.create(deployment.name, created) is None:
                raise _taken(deployment.name)
            return created, CREATED
        current = self._load(records)
        wanted = replace(created, created_time=current.created_time)
        if wanted == current:
            return current, UNCHANGED
        records.save(wanted)
        self._wake(deployment.name)
        return wanted, UPDATED

    def _load(self, records: DeploymentRecords) -> JobDeploymentRecord:
        record = records.load()
        if record is None:
            raise _unknown(records.name)
        return record

    def _answered(self, record: JobDeploymentRecord) -> JobDeploymentRecord:
        compute = record.spec["compute"]
        is_available = self._rules.is_available(compute["name"], compute["size"])
        return replace(record, spec={**record.spec, "compute": {**compute, "is_available": is_available}})

    def _refuse_paths_of_apis(self, deployments: Sequence[JobDeployment]) -> None:
        taken = endpoints(self._apis)
        names = {first_part(endpoint): name for endpoint, name in taken.items()} | {name: name for name in taken.values()}
        for deployment in deployments:
            if deployment.name in names:
                owner = names[deployment.name]
                what = "is a deployed batch api" if owner == deployment.name else f'begins the endpoint of the batch api "{owner}"'
                raise Conflict(f'"{deployment.name}" {what}', hint="choose another name, or delete that api")

    def _check_compute(self, deployment: JobDeployment, document: Document, current: JobDeploymentRecord | None) -> None:
        """Compute that is not available now is for those alone that have it already."""
        compute = to_document(deployment)["compute"]
        if current and current.spec["compute"] == compute:
            return
        if not self._rules.is_available(deployment.compute, deployment.size):
            raise document.place.at("compute").at("name").error(f'"{deployment.compute}" is not available now', hint="use another")

    def _check(self, deployment: JobDeployment, document: Document, current: JobDeploymentRecord | None) -> None:
        """Raise what the compiler, or the engine, has against a replica of it, or what that would miss."""
        self._check_compute(deployment, document, current)
        from batchflow.compiler import compile_call  # hera takes most of a second to import, and only this needs it

        sample = CallRef(deployment.name, _NO_DEPLOYMENT, _NO_CALL)
        compute = self._rules.find(deployment.compute) or ComputeResource(deployment.compute)
        workflow = compile_call(deployment, sample, compute, self._settings, deadline_s=deployment.scaling.deadline_s)
        try:
            self._engine.check(workflow.to_dict())
        except InvalidInput as error:
            if not error.where.startswith("spec."):
                raise
            container = document.place.at("containers").at(0)  # whoever wrote the deployment has never seen its Workflow
            raise container.error(error.what, hint=error.hint) from error
        check_references(deployment, self._engine)


def status_of_deployment(records: DeploymentRecords) -> str:
    """As `Deployments.status`."""
    return next((flag for flag in (TERMINATING, PAUSED) if records.has_flag(flag)), RUNNING)


def _unknown(name: str) -> NotFound:
    return NotFound(f'job deployment "{name}" not found')


def _being_deleted(name: str) -> Conflict:
    return Conflict(f'job deployment "{name}" is being deleted', hint="try again when that is done")


def _taken(name: str) -> Conflict:
    return Conflict(f'a job deployment "{name}" exists already', hint="update it, or choose another name")


def _now() -> str:
    """RFC 3339 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
