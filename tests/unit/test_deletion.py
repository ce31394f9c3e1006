"""Deleting an api or a job, cut off before any of its steps: nobody sees a half, and a repeat completes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from batchflow.client import Services
from batchflow.client.client import Client
from batchflow.client.deletion import delete_api, delete_job
from batchflow.errors import Conflict, NotFound, Unreachable
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.model import ItemList, Submission
from tests.unit.stored_jobs import ago, deployed, ended, version, watched


class CutOffError(Exception):
    """The process ends here."""


class CutOff:
    """Ends the process before the change of the store with this number, from 1."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, call: str, key: str) -> None:
        if call in ("put", "create", "delete"):
            self.left -= 1
            if self.left <= 0:
                raise CutOffError


class Down:
    """A queue service that does not answer."""

    def find(self, name: str) -> None:
        raise Unreachable("no answer", where=name)


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(Settings.from_env({"BATCHFLOW_STORE": str(tmp_path / "store")}, local=True))


def tell_nobody(line: str) -> None:
    raise AssertionError(line)


def seen(services: Services, api: str, job_id: str) -> str:
    """What a reader sees of the job; anything but `whole` and `nothing` fails."""
    try:
        job = Client(services.settings).get(api, job_id)
        assert (job.status().status, job.status().total_batch_count) == ("succeeded", 1)
        assert job.api_version().name == api
    except NotFound as error:
        assert error.kind == "job.not_found"
        return "nothing"
    return "whole"


def test_a_job_is_seen_whole_or_not_at_all_while_it_is_deleted(services: Services) -> None:
    version_id, stages = deployed(services, "api"), []
    for number in itertools.count(1):
        job = ended(services, "api", version_id, ago(hours=number))
        services.started.mark(job)
        try:
            delete_job(watched(services, CutOff(number)), "api", job.job_id, force=False, told=tell_nobody)
            break
        except CutOffError:
            stages.append(seen(services, "api", job.job_id))
        with suppress(NotFound):  # nothing but its mark was left
            delete_job(services, "api", job.job_id, force=False, told=tell_nobody)
        assert list(services.store.list(f"jobs/api/{job.job_id}")) == []
    # job.json goes first, then submission.json, of which either makes a job visible; on S3 both go in one call.
    assert stages == ["whole", "whole", *["nothing"] * (len(stages) - 2)]
    assert len(stages) > 6
    assert list(services.store.list("jobs/")) == []


def test_an_api_is_deleted_by_repeats_wherever_they_are_cut_off(services: Services) -> None:
    kept = ended(services, "kept", deployed(services, "kept"), ago(hours=1))
    before = {key: services.store.get(key) for key in services.store.list("")}
    for number in itertools.count(1):
        old, current = version(services, "api", image="old"), deployed(services, "api")
        jobs = [ended(services, "api", version_id, ago(days=n)) for n, version_id in enumerate((current, old, old))]
        try:
            delete_api(watched(services, CutOff(number)), "api", keep_cache=False, told=tell_nobody)
            break
        except CutOffError:
            assert services.apis.deployed("api") is None or number == 1
            for job in jobs:
                seen(services, "api", job.job_id)
        with suppress(NotFound):
            delete_api(services, "api", keep_cache=False, told=tell_nobody)
        assert {key: services.store.get(key) for key in services.store.list("")} == before
    assert number > 20
    assert seen(services, "kept", kept.job_id) == "whole"


def test_a_job_that_is_submitted_while_its_api_is_deleted_goes_or_stays_whole(services: Services) -> None:
    """From a job file that names the api's file; submitted whole before each of the calls in turn that read something."""
    stayed = set()
    for moment in itertools.count():
        version_id, calls, came = deployed(services, "api"), itertools.count(), list[JobRef]()
        ended(services, "api", version_id, ago(hours=1))

        def before(call: str, key: str, moment: int = moment, calls: Iterator[int] = calls, came: list[JobRef] = came) -> None:
            if call != "delete" and next(calls) == moment:
                came.append(ended(services, "api", version(services, "api"), ago(hours=2 + moment)))
                services.started.mark(came[0])

        delete_api(watched(services, before), "api", keep_cache=False, told=list[str]().append)
        if not came:
            break
        if seen(services, "api", came[0].job_id) == "whole":
            stayed.add(moment)
            delete_job(services, "api", came[0].job_id, force=False, told=tell_nobody)
    assert stayed
    assert moment > 10


def test_an_undeployed_api_keeps_its_versions_and_jobs(services: Services) -> None:
    version_id = deployed(services, "api")
    job = ended(services, "api", version_id, ago(hours=1))
    delete_api(services, "api", keep_cache=True, told=tell_nobody)
    assert services.apis.deployed("api") is None
    assert services.apis.api("api", version_id).name == "api"
    assert seen(services, "api", job.job_id) == "whole"


@pytest.mark.parametrize(
    "call",
    [
        lambda s: delete_api(s, "other", keep_cache=False, told=tell_nobody),
        lambda s: delete_job(s, "api", "0" * 16, force=False, told=tell_nobody),
    ],
)
def test_what_is_not_there_is_not_found(services: Services, call: Callable[[Services], object]) -> None:
    deployed(services, "api")
    with pytest.raises(NotFound):
        call(services)


def test_a_job_id_is_not_used_again_before_its_deletion_is_complete(services: Services) -> None:
    """Else the new job would take the old one's outcomes for its own."""
    job = ended(services, "api", deployed(services, "api"), ago(hours=1))
    with pytest.raises(CutOffError):
        delete_job(watched(services, CutOff(4)), "api", job.job_id, force=False, told=tell_nobody)
    again = Submission("api", 1, ItemList([1], 1))
    with pytest.raises(Conflict, match=f"was deleted halfway; repeat that: batchflow delete api {job.job_id}"):
        Client(services.settings).submit(again, job_id=job.job_id)


def test_a_queue_service_that_is_out_of_reach_keeps_no_job_from_being_deleted(services: Services) -> None:
    job = ended(services, "api", deployed(services, "api"), ago(hours=1))
    services.queues = Down()  # type: ignore[assignment]
    told: list[str] = []
    delete_job(services, "api", job.job_id, force=False, told=told.append)
    assert seen(services, "api", job.job_id) == "nothing"
    [line] = told
    assert line.startswith(f"the queue of job {job.job_id} can't be removed: ")
