"""Deploys the apis of a cortex.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from batchflow.client.plan import NO_JOB, Plan, check_plan
from batchflow.client.services import Services
from batchflow.errors import Conflict
from batchflow.records import DeploymentRecord
from batchflow.spec.api import load_apis
from batchflow.spec.model import Api, ItemList, Submission
from batchflow.spec.project import with_projects
from batchflow.spec.reader import shown_path
from batchflow.store.deployments import JobDeployments
from batchflow.store.endpoints import endpoints, first_part

__all__ = ["CREATED", "UNCHANGED", "UPDATED", "Deployment", "deploy"]

CREATED: Final = "created"
UPDATED: Final = "updated"
UNCHANGED: Final = "unchanged"


@dataclass(frozen=True, slots=True)
class Deployment:
    """An api as it is now deployed; `change` is CREATED, UPDATED or UNCHANGED."""

    api: Api
    record: DeploymentRecord
    change: str


def deploy(services: Services, file: Path) -> list[Deployment]:
    """Deploy every api of a file, in its order. Jobs that were submitted before keep their version.

    Everything is checked before the first is stored. Cut off halfway, some are deployed, each of them whole; a repeat completes it.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the file, a project or what an api compiles to can't be used.
        Conflict: a job deployment has a name of the file, or the first part of an endpoint; or another deployed api has an endpoint.
    """
    apis = load_apis(file)
    plans = [
        Plan.of_file(_any_job(api), filled, project, file) for api, (filled, project) in zip(apis, with_projects(apis, file), strict=True)
    ]
    _refuse_paths_of_job_deployments(services, apis, file)
    _refuse_taken_endpoints(services, apis, file)
    for plan in plans:
        check_plan(services, plan, NO_JOB)
    for plan in plans:
        plan.save_api(services.apis)
    deployed = [_deploy(services, plan) for plan in plans]
    for plan in plans:  # again: a prune that did not see them deployed yet may have removed what was there before
        plan.save_api(services.apis)
    return deployed


def _any_job(api: Api) -> Submission:
    """The api is compiled for its errors, and that takes a submission."""
    return Submission(api.name, workers=1, source=ItemList([None], batch_size=1))


def _refuse_paths_of_job_deployments(services: Services, apis: Sequence[Api], file: Path) -> None:
    """A job deployment has every path that begins with its name."""
    names = set(JobDeployments(services.store).names())
    for api in apis:
        for field, name in (("name", api.name), ("networking", first_part(api.endpoint))):
            if name in names:
                raise Conflict(
                    f'the name "{name}" is used by a job deployment',
                    where=f"{shown_path(file)}: {api.name} (BatchAPI): {field}",
                    hint="choose another, or delete that job deployment",
                )


def _refuse_taken_endpoints(services: Services, apis: Sequence[Api], file: Path) -> None:
    own = {api.name for api in apis}
    taken = {endpoint: name for endpoint, name in endpoints(services.apis).items() if name not in own}
    for api in apis:
        if api.endpoint in taken:
            raise Conflict(
                f'endpoint "{api.endpoint}" is used by another deployed api',
                where=f"{shown_path(file)}: {api.name} (BatchAPI): networking",
                hint=f"{taken[api.endpoint]} has it: choose another, or delete that api",
            )


def _deploy(services: Services, plan: Plan) -> Deployment:
    before = services.apis.deployed(plan.api.name)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    changed = before is None or before.api_id != plan.api_id
    record = DeploymentRecord(plan.api_id, now if before is None or changed else before.deployed_time, plan.directory)
    if record != before:
        services.apis.deploy(plan.api.name, record)
    return Deployment(plan.api, record, CREATED if before is None else UPDATED if changed else UNCHANGED)
