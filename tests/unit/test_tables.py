"""The tables of the command line, to the character."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import yaml

from batchflow.cli.formats import as_json, as_yaml
from batchflow.cli.tables import apis_table, job_text, jobs_table
from batchflow.client import ApiSummary, JobList
from batchflow.records import DeploymentRecord, SubmissionRecord
from batchflow.status.model import BatchMetrics, JobStatus, WorkerCounts

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
DEPLOYED = DeploymentRecord("a" * 32, "2026-11-22T11:55:30Z")
RUNNING = JobStatus(
    job_id="67159485cee7ae02",
    api_name="digits",
    api_id="a" * 32,
    workers=2,
    status="running",
    created_time="2026-11-22T10:58:55Z",
    config={"threshold": 0.5},
    sqs_url="https://sqs/q.fifo",
    total_batch_count=23,
    batches_in_queue=3,
    batch_metrics=BatchMetrics(20, 0, 1.2345),
    worker_counts=WorkerCounts(pending=1, running=1),
)
ENDED = replace(RUNNING, job_id="67159485cee7ae03", status="succeeded", worker_counts=None, end_time="2026-11-22T10:59:40Z")


def latest(created_time: str) -> SubmissionRecord:
    return SubmissionRecord("digits", "a" * 32, RUNNING.job_id, created_time, {"workers": 1})


def test_apis() -> None:
    apis = [
        ApiSummary("digits", DEPLOYED, 1, latest("2026-11-22T11:59:18Z")),
        ApiSummary("of-a-file", None, 0, latest("2026-11-20T12:00:00Z")),
        ApiSummary("unused", replace(DEPLOYED, deployed_time="2026-11-22T07:00:01Z"), 0, None),
    ]
    assert apis_table(apis, NOW).split("\n") == [
        "batch api   running jobs   latest job id                          last update",
        "digits      1              67159485cee7ae02 (submitted 42s ago)   4m",
        "of-a-file   0              67159485cee7ae02 (submitted 2d ago)    -",
        "unused      0              -                                      4h",
    ]


def test_jobs_of_a_deployed_api() -> None:
    assert jobs_table(JobList(DEPLOYED, "/digits", [RUNNING, ENDED], 0), NOW).split("\n") == [
        "job id             status      total batches   start time               duration",
        "67159485cee7ae02   running     23              22 Nov 26 10:58:55 UTC   1h1m5s",
        "67159485cee7ae03   succeeded   23              22 Nov 26 10:58:55 UTC   45s",
        "",
        "endpoint: /digits",
        "",
        "api id                             last deployed",
        f"{'a' * 32}   4m",
    ]


def test_jobs_of_an_api_that_is_not_deployed() -> None:
    [head, line] = jobs_table(JobList(None, None, [ENDED], 0), NOW).split("\n")
    assert head == "job id             status      total batches   start time               duration"
    assert line == "67159485cee7ae03   succeeded   23              22 Nov 26 10:58:55 UTC   45s"


def test_no_jobs() -> None:
    text = jobs_table(JobList(DEPLOYED, "/digits", [], 0), NOW)
    assert text == f"no submitted batch jobs\n\nendpoint: /digits\n\napi id                             last deployed\n{'a' * 32}   4m"


def test_a_running_job() -> None:
    assert job_text(RUNNING, "/digits?jobID=67159485cee7ae02", NOW).split("\n") == [
        "job id: 67159485cee7ae02",
        "status: running",
        "",
        "start time: 22 Nov 26 10:58:55 UTC",
        "end time:   -",
        "duration:   1h1m5s",
        "",
        "batch stats",
        "total   succeeded   failed attempts   avg time per batch",
        "23      20          0                 1.234s",
        "",
        "worker stats",
        "Requested   Pending   Initializing   Running   Succeeded",
        "2           1         0              1         0",
        "",
        "job endpoint: /digits?jobID=67159485cee7ae02",
        "",
        "job configuration",
        "{",
        '  "job_id": "67159485cee7ae02",',
        '  "api_name": "digits",',
        '  "kind": "BatchAPI",',
        '  "workers": 2,',
        '  "sqs_dead_letter_queue": null,',
        '  "config": {',
        '    "threshold": 0.5',
        "  },",
        '  "timeout": null,',
        f'  "api_id": "{"a" * 32}",',
        '  "sqs_url": "https://sqs/q.fifo",',
        '  "total_batch_count": 23,',
        '  "start_time": "2026-11-22T10:58:55Z"',
        "}",
    ]


def test_what_went_wrong_is_shown_if_it_did() -> None:
    status = replace(
        RUNNING,
        run=2,
        message="worker 0: waits",
        batches_failed=2,
        batch_metrics=BatchMetrics(0, 5),
        worker_counts=WorkerCounts(initializing=1, failed=1, stalled=3, succeeded=4),
    )
    lines = job_text(status, "/x", NOW).split("\n")
    assert lines[2:9] == [
        "",
        "run:     2",
        "message: worker 0: waits",
        "",
        "start time: 22 Nov 26 10:58:55 UTC",
        "end time:   -",
        "duration:   1h1m5s",
    ]
    assert lines[11:16] == [
        "total   succeeded   failed   failed attempts   avg time per batch",
        "23      0           2        5                 -",
        "",
        "worker stats",
        "Requested   Pending   Initializing   Running   Failed   Stalled   Succeeded",
    ]
    assert lines[16] == "2           0         1              0         1        3         4"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("pending", "still enqueuing, workers have not been allocated for this job yet"),
        ("enqueuing", "still enqueuing, workers have not been allocated for this job yet"),
        ("succeeded", "worker stats are not available because this job is not currently running"),
        ("stopped", "worker stats are not available because this job is not currently running"),
    ],
)
def test_a_job_without_workers_says_why(status: str, line: str) -> None:
    lines = job_text(replace(RUNNING, status=status, worker_counts=None), "/x", NOW).split("\n")
    assert lines[10:13] == ["", line, ""]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0µs"),
        (0.00035, "350µs"),
        (0.001, "1ms"),
        (0.0129, "12ms"),
        (1.0, "1s"),
        (1.25, "1.25s"),
        (59.9999, "59.999s"),
        (3723.5, "1h2m3.5s"),
    ],
)
def test_average_times(seconds: float, shown: str) -> None:
    text = job_text(replace(RUNNING, batch_metrics=BatchMetrics(1, 0, seconds)), "/x", NOW)
    assert text.split("\n")[9].split()[-1] == shown


@pytest.mark.parametrize(
    ("created", "duration"),
    [
        ("2026-11-22T12:00:09Z", "0s"),
        ("2026-11-22T11:59:01Z", "59s"),
        ("2026-11-22T11:59:00Z", "1m0s"),
        ("2026-11-20T12:00:00Z", "48h0m0s"),
    ],
)
def test_durations(created: str, duration: str) -> None:
    assert jobs_table(JobList(None, None, [replace(RUNNING, created_time=created)], 0), NOW).split()[-1] == duration


VALUES = [
    {"job_id": "67159485e7402102", "null": None, "yes": "yes", "true": True, "list": [1, 2.5, "-", "", "1e3", "é", "a: b", "two\nlines"]},
    [],
    "67159485e7402102",
    [{"twice": {"a": 1}}] * 2,
]


@pytest.mark.parametrize("value", VALUES)
def test_yaml_reads_as_it_was_written(value: object) -> None:
    assert yaml.safe_load(as_yaml(value)) == json.loads(as_json(value)) == value


def test_yaml_has_no_aliases_and_leaves_no_id_to_be_taken_for_a_number() -> None:
    shared = {"id": "67159485e7402102"}
    assert as_yaml({"b": shared, "a": shared}) == 'b:\n  id: "67159485e7402102"\na:\n  id: "67159485e7402102"'
