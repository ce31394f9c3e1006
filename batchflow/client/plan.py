"""A submission with everything that belongs to it, before anything of it is created."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from batchflow.client.services import Services
from batchflow.errors import InvalidInput, NotFound
from batchflow.records import JobRef, SubmissionRecord
from batchflow.spec.api import load_api
from batchflow.spec.model import Api, Submission
from batchflow.spec.project import Project, with_project
from batchflow.spec.stored import api_document, api_id, submission_document
from batchflow.store.deployments import JobDeployments
from batchflow.store.jobs import ApiRecords

__all__ = ["NO_JOB", "Plan", "check_plan", "job_ref", "not_deployed", "not_there", "plan_submission"]

NO_JOB: Final = "0" * 16  # where a manifest is made for its errors only
_HOW_TO_DEPLOY: Final = "deploy it: batchflow deploy cortex.yaml; or name its file in job.yaml: api: {file: cortex.yaml}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be stored of a job and its api. `project` is None if there is none, or if the store has it."""

    submission: Submission
    api: Api
    api_id: str
    project: Project | None
    directory: str  # of the api's file, on this machine

    @classmethod
    def of_file(cls, submission: Submission, api: Api, project: Project | None, file: Path) -> Plan:
        """With an api as `spec.project.with_project` gives it."""
        return cls(submission, api, api_id(api_document(api)), project, str(file.absolute().parent))

    def record(self, job_id: str, place: str) -> SubmissionRecord:
        """submission.json, as of now; `place` is the engine's."""
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = submission_document(self.submission)
        return SubmissionRecord(self.api.name, self.api_id, job_id, created, body, self.directory, place, uuid.uuid4().hex)

    def save_api(self, apis: ApiRecords) -> None:
        """Store the api's version and its project; repeating it costs little."""
        if self.project:
            apis.save_project(self.project.sha256, self.project.data)
        apis.save(self.api.name, self.api_id, api_document(self.api))


def plan_submission(services: Services, submission: Submission) -> Plan:
    """Find the api, in its file or among the deployed ones, and pack its project; raises InvalidInput or NotFound."""
    if submission.api_file:
        file = Path(submission.api_file)
        return Plan.of_file(submission, *with_project(load_api(file, submission.api), file), file)
    current = services.apis.deployed(submission.api)
    if current is None:
        deployed = (name for name in services.apis.names() if services.apis.deployed(name))
        raise not_deployed(services, submission.api, deployed)
    return Plan(submission, services.apis.api(submission.api, current.api_id), current.api_id, None, current.directory)


def check_plan(services: Services, plan: Plan, job_id: str) -> None:
    """Compile, and ask the engine whether it would run that; raises what either has against it."""
    services.engine.check(services.manifest(plan.submission, plan.api, JobRef(plan.api.name, job_id)))


def job_ref(services: Services, api: str, job_id: str) -> JobRef:
    """A job by the names that somebody gives. Raises InvalidInput if `job_id` can't be a job's; NotFound if there is no such api either."""
    try:
        return JobRef(api, job_id)
    except InvalidInput:
        if api in services.apis.names():
            raise
        raise not_there(services, api) from None  # the id may be that of a job deployment's job


def not_there(services: Services, name: str) -> NotFound:
    """The error for a name that is neither an api's nor a job deployment's, where either may have been meant."""
    names = [*services.apis.names(), *JobDeployments(services.store).names()]
    return not_deployed(services, name, names, otherwise="batchflow get lists what is")


def not_deployed(services: Services, api: str, names: Iterable[str], *, otherwise: str = _HOW_TO_DEPLOY) -> NotFound:
    """The error for an api that is not there; `names` are those that may have been meant, `otherwise` is the hint if none is near."""
    near = get_close_matches(api, [name for name in names if name != api], n=1)
    hint = f'did you mean "{near[0]}"?' if near else otherwise
    return NotFound(f"{api} is not deployed", where=services.store.url, hint=hint, kind="resources.api_not_deployed")
