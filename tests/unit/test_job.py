"""A job in the client's hands while services are out of reach, or end at different moments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchflow.client import Client, Job, Services, removal
from batchflow.client.removal import remove_job
from batchflow.contract import NODE_NAME
from batchflow.engines.protocol import Observation
from batchflow.enqueuer import queue_name
from batchflow.errors import InvalidInput, Unreachable
from batchflow.records import SUCCEEDED, FinalStatus, HookAnswer, JobRef, Outcome, RunRecord, job_document
from batchflow.settings import Settings
from batchflow.spec.model import ItemList, Submission
from batchflow.status.model import JobStatus
from batchflow.store.jobs import JobRecords
from tests.unit.stored_jobs import NOW, ago, deployed, ended, submitted, text, version, watched


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(Settings.from_env({"BATCHFLOW_STORE": str(tmp_path / "store")}, local=True))


class Engine:
    """Shows the observations one after the other, the last one again and again, and notes what is submitted."""

    place = ""

    def __init__(self, *seen: Observation) -> None:
        self.seen = list(seen)
        self.submitted: list[str] = []

    def observe(self, name: str) -> Observation:
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        self.submitted.append(workflow["metadata"]["name"])

    def delete(self, name: str) -> None:
        pass


class Down:
    """A queue service that does not answer."""

    def find(self, name: str) -> None:
        raise Unreachable("no answer", where=name)


def cleanup_pod(phase: str) -> dict[str, Any]:
    return {"metadata": {"name": "p", "annotations": {NODE_NAME: "w.onExit(0)"}}, "status": {"phase": phase}}


def final(services: Services, job: JobRef, status: str) -> None:
    document = JobStatus(job.job_id, job.api, "", 1, status, text(NOW), end_time=text(NOW)).to_dict()
    JobRecords(services.store, job).save_final(FinalStatus(job.run, document))


def test_waiting_goes_on_while_the_store_is_out_of_reach_for_a_moment(services: Services) -> None:
    names = submitted(services, "api", version(services, "api"), ago())
    failing: list[str] = []

    def before(call: str, key: str) -> None:
        if failing:
            raise Unreachable(failing.pop())

    def seen(status: JobStatus) -> None:
        if not status.ended:
            failing.extend(["one", "two"])
            final(services, names, "succeeded")

    job = Job(watched(services, before), names.api, names.job_id)
    assert job.wait(seen, poll_s=0).status == "succeeded"
    assert failing == []


def test_waiting_for_a_job_that_was_never_seen_fails_at_once(services: Services) -> None:
    def before(call: str, key: str) -> None:
        raise Unreachable("no answer")

    with pytest.raises(Unreachable):
        Job(watched(services, before), "api", "0" * 16).wait()


def test_a_queue_service_that_is_out_of_reach_keeps_no_job_from_being_resumed(services: Services) -> None:
    names = submitted(services, "api", version(services, "api"), ago(minutes=9))
    final(services, names, "stopped")
    engine = Engine(Observation())
    services.engine = engine  # type: ignore[assignment]
    services.queues = Down()  # type: ignore[assignment]
    Job(services, names.api, names.job_id).resume()
    assert engine.submitted == [f"{names.workflow}-r2"]


@pytest.mark.parametrize("is_final", [False, True])
def test_a_cleanup_that_was_cut_off_is_ended_by_resume(services: Services, is_final: bool) -> None:
    names = submitted(services, "api", version(services, "api"), ago(minutes=9))
    records = JobRecords(services.store, names)
    records.create_document(job_document(records.submission(), total_batch_count=1))
    records.create_outcomes("pod", 0, [Outcome(0, SUCCEEDED, 1, 1.0)])
    records.save_hook(HookAnswer(1, 200, ok=True))
    services.queues.create(queue_name(names, services.store.url), visibility_s=60, tags={})
    if is_final:
        final(services, names, "succeeded")
    engine = Engine(Observation())
    services.engine = engine  # type: ignore[assignment]
    job = Job(services, names.api, names.job_id)
    assert ("cleanup was cut off" in job.status().message) is not is_final
    job.resume()
    assert engine.submitted == []
    assert list(services.queues.list("cx_")) == []
    known = records.final()
    assert known and known.status["status"] == "succeeded"
    with pytest.raises(InvalidInput, match="nothing to resume"):
        job.resume()


def test_a_resumed_run_leaves_no_queue_of_the_one_before_whether_or_not_a_record_tells_of_it(services: Services) -> None:
    names = submitted(services, "api", version(services, "api"), ago(minutes=9))
    services.queues.create(queue_name(names, services.store.url), visibility_s=60, tags={})
    engine = Engine(Observation())
    services.engine = engine  # type: ignore[assignment]
    Job(services, names.api, names.job_id).resume()
    assert engine.submitted == [f"{names.workflow}-r2"]
    assert list(services.queues.list("cx_")) == []


def test_a_job_is_deleted_when_cleanup_has_ended_even_if_its_workflow_ended_before(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "POLL_S", 0)
    names = ended(services, "api", version(services, "api"), ago(minutes=9))
    workflow = {"status": {"phase": "Failed"}}
    engine = Engine(*(Observation(workflow, [cleanup_pod(phase)]) for phase in ("Running", "Running", "Succeeded")))
    services.engine = engine  # type: ignore[assignment]
    remove_job(services, names.api, names.job_id, told=pytest.fail)
    assert len(engine.seen) == 1
    assert not JobRecords(services.store, names).has_any


@pytest.mark.parametrize("job_id", [None, "0123456789abcdef"])
def test_a_submission_that_fails_before_there_is_a_job_holds_up_no_prune(services: Services, job_id: str | None) -> None:
    deployed(services, "api")

    def before(call: str, key: str) -> None:
        if call == "put" and key.startswith("apis/"):
            raise Unreachable("no answer")

    client = Client(services.settings)
    client._services = watched(services, before)
    with pytest.raises(Unreachable):
        client.submit(Submission("api", 1, ItemList([1], 1)), job_id=job_id)
    # Under an id that was given, somebody else may be submitting the same job.
    assert len(list(services.started.list())) == (0 if job_id is None else 1)


@pytest.mark.parametrize("rerun", [False, True], ids=["its first run", "a later run"])
def test_a_run_in_another_place_is_taken_for_running(services: Services, rerun: bool) -> None:
    """Whoever shares the store may not take it for lost, and delete or resume it."""
    ref = submitted(services, "one", version(services, "one"), ago(hours=1), place="" if rerun else "namespace other")
    if rerun:
        JobRecords(services.store, ref).save_run(RunRecord(2, "namespace other"))
    job = Job(services, ref.api, ref.job_id)
    status = job.status()
    assert (status.status, status.ended, job.ended()) == ("pending", False, False)
    assert "namespace other" in status.message
    with pytest.raises(InvalidInput, match="runs in namespace other; stop it there"):
        job.stop()
    with pytest.raises(InvalidInput, match="is pending"):
        job.resume()
    with pytest.raises(InvalidInput):
        Client(services.settings).delete_job(ref.api, ref.job_id)


def test_a_run_of_this_place_without_a_workflow_is_lost(services: Services) -> None:
    ref = submitted(services, "one", version(services, "one"), ago(hours=1), place=services.engine.place)
    assert Job(services, ref.api, ref.job_id).status().status == "unexpected_error"
