"""prune: what goes, what stays, and that what a submission or a deployment needs stays whenever it is made."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from batchflow.client import Services
from batchflow.client.plan import Plan
from batchflow.client.pruning import Pruned, prune
from batchflow.engines.local.folder import RunFolder
from batchflow.errors import NotFound
from batchflow.records import DeploymentRecord, JobRef, LogName
from batchflow.settings import Settings
from batchflow.spec.model import FilePathLister, Submission
from batchflow.spec.project import Project
from batchflow.store.jobs import JobRecords
from batchflow.store.shared import stored
from tests.unit.stored_jobs import NOW, ago, deployed, ended, submitted, text, version, watched

MONTH = timedelta(days=30)
PROJECTS = [letter * 64 for letter in "abc"]
UPLOADS = [letter * 64 for letter in "def"]


def open_services(folder: Path) -> Services:
    return Services(Settings.from_env({"BATCHFLOW_STORE": str(folder / "store")}, local=True))


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return open_services(tmp_path)


def upload(services: Services, name: str) -> str:
    """Store an upload of two files; returns the path that a submission gives."""
    for file in ("x/1", "x/2"):
        services.store.put(f"uploads/{name}/{file}", b"content")
    return f"{services.store.url}/uploads/{name}/"


def run_prune(services: Services, older_than: timedelta = MONTH, *, api: str = "", dry_run: bool = False) -> Pruned:
    return prune(services, older_than, api=api, dry_run=dry_run, told=pytest.fail)


def keys(services: Services) -> set[str]:
    return set(services.store.list(""))


def test_jobs_go_that_ended_long_ago_and_what_they_alone_named(services: Services) -> None:
    current = deployed(services, "api", image="new", project=PROJECTS[0])
    used = version(services, "api", image="used", project=PROJECTS[1])
    gone = version(services, "api", image="gone", project=PROJECTS[2])
    paths = [upload(services, name) for name in UPLOADS]
    young = ended(services, "api", used, ago(days=29), s3_paths=paths[:1])
    old = [ended(services, "api", gone, ago(days=31), s3_paths=paths), ended(services, "other", version(services, "other"), ago(days=300))]
    done = run_prune(services)
    assert {(job.api, job.job_id) for job in done.jobs} == {(job.api, job.job_id) for job in old}
    assert done.shared.versions == {("api", gone), ("other", version_of(done, "other"))}
    assert (done.shared.projects, done.shared.uploads, done.held) == ({PROJECTS[2]}, set(UPLOADS[1:]), False)
    left = stored(services.store)
    assert left.versions == {("api", current), ("api", used)}
    assert (left.projects, left.uploads) == ({*PROJECTS[:2]}, {UPLOADS[0]})
    assert {key.split("/")[2] for key in services.store.list("jobs/")} == {young.job_id}
    assert run_prune(services) == Pruned([], done.shared.without(done.shared), held=False)


def version_of(done: Pruned, api: str) -> str:
    [found] = [version_id for name, version_id in done.shared.versions if name == api]
    return found


def test_a_dry_run_tells_the_same_and_changes_nothing(services: Services) -> None:
    ended(services, "api", version(services, "api", project=PROJECTS[0]), ago(days=31), s3_paths=[upload(services, UPLOADS[0])])
    before = keys(services)
    told = run_prune(services, dry_run=True)
    assert keys(services) == before
    assert run_prune(services) == told
    assert len(told.jobs) == 1
    assert keys(services) == set()


def test_of_one_api_only_jobs_and_versions_go(services: Services) -> None:
    one = version(services, "one", project=PROJECTS[0])
    ended(services, "one", one, ago(days=31), s3_paths=[upload(services, UPLOADS[0])])
    other = ended(services, "other", version(services, "other"), ago(days=31))
    done = run_prune(services, api="one")
    assert ([job.api for job in done.jobs], done.shared.versions) == (["one"], {("one", one)})
    assert JobRecords(services.store, other).exists
    left = stored(services.store)
    assert ({name for name, _ in left.versions}, left.projects, left.uploads) == ({"other"}, {PROJECTS[0]}, {UPLOADS[0]})
    with pytest.raises(NotFound, match="one is not deployed"):
        run_prune(services, api="one")


def test_a_job_that_runs_stays_however_old_it_is(services: Services) -> None:
    job = submitted(services, "api", version(services, "api"), ago(days=100))
    run = RunFolder(Path(services.settings.local_dir), job.workflow)
    lock = run.try_lock()
    assert lock
    run.save_workflow(orjson.dumps({"metadata": {"name": job.workflow}, "status": {"phase": "Running"}}))
    assert run_prune(services).jobs == []
    os.close(lock)  # its engine is killed: the job ended without a final status
    [pruned] = run_prune(services).jobs
    assert (pruned.job_id, pruned.status) == (job.job_id, "")
    assert not run.path.exists()
    assert keys(services) == set()


def test_a_job_whose_version_is_gone_stays_since_nobody_can_tell_whether_it_runs(services: Services) -> None:
    job = submitted(services, "api", "0" * 32, ago(days=100))
    assert run_prune(services).jobs == []
    assert JobRecords(services.store, job).exists


def test_what_a_deletion_left_goes_at_once(services: Services) -> None:
    JobRecords(services.store, JobRef("api", "0" * 16)).save_log(LogName("0", "pod", "main"), b"")
    [pruned] = run_prune(services).jobs
    assert (pruned.job_id, pruned.status) == ("0" * 16, "")
    assert keys(services) == set()


def test_what_nobody_names_waits_for_a_submission_that_is_under_way(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(services, "api", version(services, "api", project=PROJECTS[0]), ago(days=31))
    coming = JobRef("other", "0" * 16)
    services.started.mark(coming)
    held = run_prune(services)
    assert (len(held.jobs), held.shared.projects, held.held) == (1, set(), True)
    assert stored(services.store).projects == {PROJECTS[0]}
    services.store.put("running/other/0000000000000000-1", (datetime.now(UTC) - timedelta(days=2)).isoformat().encode())
    done = run_prune(services)  # that submission was cut off
    assert (done.shared.projects, done.held) == ({PROJECTS[0]}, False)
    assert keys(services) == set()


Steps = Iterator[Callable[[], object]]


def plan_of(services: Services) -> Plan:
    """A job with a version and a project that the store has already."""
    version_id = version(services, "api", project=PROJECTS[0])
    path = f"{services.store.url}/uploads/{UPLOADS[0]}/"
    api = services.apis.api("api", version_id)
    submission = Submission("api", 1, FilePathLister((path,), 1))
    return Plan(submission, api, version_id, Project(PROJECTS[0], b"zip", ()), "")


def submitting(services: Services, plan: Plan) -> Steps:
    """What Client.submit does before it starts the workflow, call by call."""
    job = JobRef("api", "0123456789abcdef")
    there: set[str] = set()
    yield lambda: services.started.mark(job)
    yield lambda: there.update(services.store.list("uploads/"))
    for file in ("x/1", "x/2"):
        key = f"uploads/{UPLOADS[0]}/{file}"
        yield lambda key=key: key in there or services.store.put(key, b"content")  # type: ignore[misc]
    yield lambda: plan.save_api(services.apis)
    yield lambda: JobRecords(services.store, job).create_submission(plan.record(job.job_id, services.engine.place))
    yield lambda: plan.save_api(services.apis)


def deploying(services: Services, plan: Plan) -> Steps:
    """What `deploy` does after its checks, call by call."""
    yield lambda: plan.save_api(services.apis)
    yield lambda: services.apis.deploy("api", DeploymentRecord(plan.api_id, text(NOW)))
    yield lambda: plan.save_api(services.apis)


@pytest.mark.parametrize("uploaded", [True, False])
@pytest.mark.parametrize(
    ("steps_of", "steps_at_once"),
    # Not covered is a deployment of which all is done between two calls of the prune, the last ones before it removes anything.
    [(submitting, 1), (submitting, 2), (submitting, 100), (deploying, 1), (deploying, 2)],
)
def test_what_is_submitted_or_deployed_at_any_moment_of_a_prune_is_whole(
    tmp_path: Path, steps_of: Callable[[Services, Plan], Steps], steps_at_once: int, uploaded: bool
) -> None:
    """It begins before the prune's call number `moment`, and goes on with so many steps before each further one.

    What it needs is there, and needed by none but a job that is to go; `uploaded` says whether its upload is, too.
    """
    for moment in itertools.count():
        services = open_services(tmp_path / str(moment))
        plan = plan_of(services)
        ended(services, "api", plan.api_id, ago(days=31), s3_paths=[upload(services, UPLOADS[0])] if uploaded else [])
        steps, calls = steps_of(services, plan), itertools.count()

        def before(call: str, key: str, steps: Steps = steps, calls: Iterator[int] = calls, moment: int = moment) -> None:
            if call != "delete" and next(calls) >= moment:
                for step in itertools.islice(steps, steps_at_once):
                    step()

        run_prune(watched(services, before))
        begun = next(calls) > moment
        for step in steps:
            step()
        left = stored(services.store)
        assert (left.versions, left.projects) == ({("api", plan.api_id)}, {PROJECTS[0]}), moment
        if steps_of is submitting:
            assert list(services.store.list("uploads/")) == [f"uploads/{UPLOADS[0]}/x/{n}" for n in (1, 2)], moment
        if not begun:
            assert moment > 20
            return
