"""What `get` shows of job deployments and their jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batchflow.callrecords import CallRequest, Ending, JobDeploymentRecord, Reply
from batchflow.cli.calltables import call_document, call_text, calls_text, deployment_document, deployments_table
from batchflow.deployments.listing import CallList, CallView, DeploymentView

NOW = datetime(2026, 11, 22, 11, 0, 0, tzinfo=UTC)
REQUEST = CallRequest("first", "POST", "/job?duration=10", [("a", "b")], 2, deadline_s=600, ttl_s=60)
SPEC: dict[str, Any] = {"name": "one", "containers": [{"image": {"image": "a:1"}}], "scaling": {"max_replica_count": 2}}
VIEW = DeploymentView("one", JobDeploymentRecord(SPEC, "2026-11-22T10:00:00.000Z"), "running", running=2, waiting=13)


def call(id: str, status: str, age_s: int, **fields: Any) -> CallView:
    arrived = (NOW - timedelta(seconds=age_s)).timestamp()
    given = {"message": "", "request": REQUEST, "reply": None, "ending": None, **fields}
    return CallView(id=id, call="c", workflow="one-c", status=status, arrived=arrived, **given)


def ending(age_s: int, error: str = "", exit_code: int | None = None) -> Ending:
    return Ending(error, (NOW - timedelta(seconds=age_s)).timestamp(), exit_code)


def test_deployments() -> None:
    assert deployments_table([VIEW]).splitlines() == [
        "job deployment   status    running   waiting   max replicas",
        "one              running   2         13        2",
    ]


def test_the_jobs_of_one() -> None:
    failed = call("first", "Completed", 4000, ending=ending(100, "process exited\nwith code 1", 1))
    assert calls_text(VIEW, CallList([call("second-one", "Queue", 12), failed], more=0), NOW).splitlines() == [
        "job id       status      age   error",
        "second-one   Queue       12s",
        "first        Completed   1h    process exited with code 1",
        "",
        "endpoint: /one",
        "",
        "status    running   waiting   max replicas   image",
        "running   2         13        2              a:1",
    ]


def test_no_jobs() -> None:
    assert calls_text(VIEW, CallList([], more=0), NOW).startswith("no jobs\n\nendpoint: /one\n")


def test_a_job_that_waits() -> None:
    assert call_text(call("first", "Queue", 65, message="waits for a free replica"), NOW).splitlines() == [
        "job id:  first",
        "status:  Queue",
        "message: waits for a free replica",
        "",
        "start time: 22 Nov 26 10:58:55 UTC",
        "end time:   -",
        "duration:   1m5s",
        "",
        "request:  POST /job?duration=10 (2 bytes)",
        "workflow: one-c",
    ]


def test_a_job_that_failed() -> None:
    failed = call("first", "Completed", 65, reply=Reply(500, "text/csv", 7), ending=ending(5, "container replied with HTTP 500", 0))
    assert call_text(failed, NOW).splitlines() == [
        "job id: first",
        "status: Completed",
        "error:  container replied with HTTP 500",
        "",
        "start time: 22 Nov 26 10:58:55 UTC",
        "end time:   22 Nov 26 10:59:55 UTC",
        "duration:   1m0s",
        "",
        "request:   POST /job?duration=10 (2 bytes)",
        "reply:     500 text/csv (7 bytes)",
        "exit code: 0",
        "workflow:  one-c",
    ]
    assert call_document(failed) == {
        "Id": "first",
        "Status": "Completed",
        "Error": "container replied with HTTP 500",
        "message": "",
        "start_time": "2026-11-22T10:58:55.000Z",
        "end_time": "2026-11-22T10:59:55.000Z",
        "exit_code": 0,
        "request": {"method": "POST", "target": "/job?duration=10", "body_bytes": 2},
        "reply": {"status": 500, "content_type": "text/csv", "body_bytes": 7},
        "workflow": "one-c",
    }


@pytest.mark.parametrize("ended", [None, ending(0)])
def test_no_error_is_null(ended: Ending | None) -> None:
    assert call_document(call("first", "Completed", 1, ending=ended))["Error"] is None


def test_a_deployment_as_a_document() -> None:
    state = {"endpoint": "/one", "status": "running", "running": 2, "waiting": 13}
    assert deployment_document(VIEW) == {"kind": "JobDeployment", **SPEC, "created_at": "2026-11-22T10:00:00.000Z", **state}
