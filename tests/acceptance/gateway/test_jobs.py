"""Submission, status and stop: the documents of success and the errors of GET and DELETE (spec/cortex.md sections 3, 4 and 6)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Json, Terminal, until
from tests.acceptance.gateway.kit import Answer, Gateway, handler, is_error, item_list, pod, serving

DOCUMENT = ["job_id", "api_name", "kind", "workers", "sqs_dead_letter_queue", "config", "timeout", "api_id", "sqs_url", "start_time"]
# The keys that the documentation shows; later releases' and our own beside them are listed in docs/status.md.
DOCUMENTED = {"job_id", "api_name", "kind", "workers", "config", "api_id", "sqs_url", "status", "batches_in_queue", "batch_metrics"}
DOCUMENTED_TIMES = {"created_time", "start_time"}
METRICS = {"succeeded", "failed", "avg_time_per_batch"}
COUNTS = {"pending", "initializing", "running", "succeeded", "failed", "stalled"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
NOBODY = "7fffffffffffffff"

HANDLER = """\
import json, os, pathlib, time

class Handler:
    def __init__(self, config, job_spec):
        self.folder = pathlib.Path(config["folder"])
        self.pause_s = config.get("pause_s", 0)
        (self.folder / "spec").write_text(json.dumps(job_spec))

    def handle_batch(self, payload):
        with (self.folder / "payloads").open("a") as file:
            file.write(json.dumps(payload) + "\\n")
        while not (self.folder / "open").exists():
            time.sleep(0.02)
        time.sleep(self.pause_s)
"""

# Every kind of JSON value; a number that fits into 64 bits, or into a double, must arrive as it is.
ITEMS: list[Any] = [
    *(None, True, False, 0, -1, 2**63 - 1, -(2**63), 0.1, 1.0, 1e300, 5e-324, "", "é 日 \N{GRINNING FACE}", "\u0001\x7f\u2028"),
    *('"quotes"\\', "{{workflow.name}}", "$(CORTEX_PORT)", [], {}, {"": {"a": [None, {"b": []}]}}, [[[[[1]]]]], "x" * 1000),
]


class Ran:
    """One job, asked at each moment of its life, and a second one that is stopped."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        folder.mkdir()
        config = {"folder": str(folder), "nested": {"a": [1, None]}}
        self.body = item_list(ITEMS, batch_size=3, workers=1, config=config, timeout=3600)
        self.submitted = gateway.post("/asked/for", self.body)
        self.id: str = self.submitted.ok()["job_id"]
        until(lambda: (folder / "payloads").exists(), "the first batch", gateway.log)
        self.running = until(self._running, "the status of a running job", lambda: gateway.status("asked", self.id))
        other = folder.with_name("stopped")
        other.mkdir()
        (other / "open").touch()
        self.stopped_id = gateway.submit("asked", item_list(range(200), config={"folder": str(other), "pause_s": 0.2}))
        until(lambda: (other / "payloads").exists(), "the first batch", gateway.log)
        self.stopped = gateway.delete(f"/asked/for?jobID={self.stopped_id}")
        (folder / "open").touch()
        gateway.ended("asked", self.id)
        self.stopped_status = gateway.ended("asked", self.stopped_id)
        self.ended = gateway.get(f"/asked/for?jobID={self.id}")

    def _running(self) -> Answer | None:
        answer = self.gateway.get(f"/asked/for?jobID={self.id}")
        return answer if answer.ok()["job_status"]["status"] == "running" else None


@pytest.fixture(scope="module")
def ran(shared_shell: Terminal) -> Iterator[Ran]:
    with serving(shared_shell) as gateway:
        entry = handler("asked", networking={"endpoint": "asked/for"})
        gateway.deploy(entry, files={"handler.py": HANDLER}).ok()
        gateway.deploy(pod("other")).ok()
        yield Ran(gateway, shared_shell.folder / "notes")


def test_the_answer_to_a_submission_is_the_job_document(ran: Ran) -> None:
    document = ran.submitted.ok()
    assert [key for key in document if key != "created_time"] == DOCUMENT
    assert re.fullmatch(r"[0-9a-f]{16}", document["job_id"])
    assert re.fullmatch(TIME, document["created_time"]) and document["created_time"] == document["start_time"]
    assert document["sqs_url"] == ""
    given = {"api_name": "asked", "kind": "BatchAPI", "workers": 1, "config": ran.body["config"], "timeout": 3600}
    assert {**document, **given, "sqs_dead_letter_queue": None} == document


def test_the_handler_reads_the_document_that_the_client_got(ran: Ran) -> None:
    got, read = ran.submitted.ok(), json.loads((ran.folder / "spec").read_text())
    assert read["total_batch_count"] == -(-len(ITEMS) // 3) and read["sqs_url"]
    for key in DOCUMENT:
        assert key == "sqs_url" or read[key] == got[key], key


def test_every_item_reaches_the_handler_as_it_was_sent(ran: Ran) -> None:
    payloads = [json.loads(line) for line in (ran.folder / "payloads").read_text().splitlines()]
    sent = [ITEMS[start : start + 3] for start in range(0, len(ITEMS), 3)]
    assert sorted(map(json.dumps, payloads[: len(sent)])) == sorted(map(json.dumps, sent))


@pytest.mark.parametrize("moment", ["running", "ended"])
def test_a_status_has_the_documented_keys(ran: Ran, moment: str) -> None:
    document = getattr(ran, moment).ok()
    assert set(document) == {"job_status", "api_spec", "endpoint", "metrics"}
    status: Json = document["job_status"]
    assert set(status) >= DOCUMENTED | DOCUMENTED_TIMES
    assert ("end_time" in status, "worker_counts" in status) == ((False, True) if moment == "running" else (True, False))
    assert set(status.get("worker_counts", COUNTS)) == COUNTS
    assert set(status["batch_metrics"]) >= METRICS - {"avg_time_per_batch"} and set(status["batch_metrics"]) <= METRICS
    assert set(document["metrics"]) == {"succeeded", "failed", "average_time_per_batch"}
    assert document["api_spec"]["name"] == "asked"
    assert re.fullmatch(rf"(http://127\.0\.0\.1:\d+)?/asked/for\?jobID={ran.id}", document["endpoint"]), document["endpoint"]


def test_the_numbers_of_a_job_that_ended(ran: Ran) -> None:
    document = ran.ended.ok()
    status: Json = document["job_status"]
    batches = -(-len(ITEMS) // 3)
    assert (status["status"], status["total_batch_count"], status["batches_in_queue"]) == ("succeeded", batches, 0)
    assert (document["metrics"]["succeeded"], document["metrics"]["failed"]) == (batches, 0)
    assert status["batch_metrics"]["succeeded"] == batches and status["batch_metrics"]["avg_time_per_batch"] > 0
    assert re.fullmatch(TIME, status["end_time"])


def test_both_ways_to_an_api_lead_to_the_same_job(ran: Ran) -> None:
    assert ran.gateway.get(f"/batch/asked?jobID={ran.id}").same_as(ran.ended)


def test_the_command_line_says_the_same(ran: Ran, shared_shell: Terminal) -> None:
    assert shared_shell.response("asked", ran.id)["job_status"] == ran.ended.ok()["job_status"]


def test_stop_answers_in_cortex_words_and_stops(ran: Ran) -> None:
    assert (ran.stopped.status, ran.stopped.type) == (200, "application/json")
    assert ran.stopped.body == f'{{"message":"stopped job {ran.stopped_id}"}}'.encode()
    assert ran.stopped_status["status"] == "stopped"


def test_a_job_that_ended_can_not_be_stopped(ran: Ran) -> None:
    message = f"{ran.id} (asked api): cannot stop BatchAPI job because it is not in progress"
    is_error(ran.gateway.delete(f"/batch/asked?jobID={ran.id}"), "job.job_is_not_in_progress", message)
    assert ran.gateway.status("asked", ran.id)["status"] == "succeeded"


@pytest.mark.parametrize("query", ["", "?", "?jobID=", "?jobId=x", "?jobid=x", "?id=x", "?dryRun=true"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["/batch/asked", "/asked/for"])
def test_a_job_must_be_named(ran: Ran, method: str, path: str, query: str) -> None:
    is_error(ran.gateway.request(method, path + query), "endpoints.query_param_required", "query param required: jobID")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_api_that_is_not_deployed(ran: Ran, method: str) -> None:
    answer = ran.gateway.request(method, f"/batch/nobody?jobID={ran.id}")
    is_error(answer, "resources.api_not_deployed", "nobody is not deployed")


def not_found(answer: Answer, api: str, job_id: str, *, method: str = "GET") -> None:
    """GET in Cortex's words; DELETE had none of its own in the newer control plane, so only that it names the job."""
    document = answer.json()
    assert (answer.status, list(document)) == (400, ["kind", "message"]), answer
    if method == "GET":
        assert document == {
            "kind": "job.not_found",
            "message": f"failed to get job state: unable to find BatchAPI job {job_id} ({api} api)",
        }
    else:
        assert document["kind"] == "job.not_found" and f"unable to find BatchAPI job {job_id} ({api} api)" in document["message"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["/batch/asked", "/asked/for"])
def test_a_job_that_nobody_submitted(ran: Ran, method: str, path: str) -> None:
    not_found(ran.gateway.request(method, f"{path}?jobID={NOBODY}"), "asked", NOBODY, method=method)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_job_belongs_to_its_api(ran: Ran, method: str) -> None:
    not_found(ran.gateway.request(method, f"/batch/other?jobID={ran.id}"), "other", ran.id, method=method)
    assert ran.gateway.status("asked", ran.id)["status"] == "succeeded"


# What may stand for a job id; `ID` is a job's of the api `asked`.
ODD_IDS = {
    "another api's folder": "../asked/ID",
    "encoded": "%2e%2e%2fasked%2fID",
    "twice encoded": "%252e%252e%252fasked%252fID",
    "a backslash": "..%5casked%5cID",
    "its own folder": "./ID",
    "a trailing slash": "ID/",
    "a file of it": "ID/submission.json",
    "NUL behind": "ID%00",
    "NUL before": "%00ID",
    "a line's end": "ID%0a",
    "white space": "%20ID",
    "two": "ID&jobID=ID",
    "a star": "*",
    "a prefix": "7",
    "other digits": "%D9%A1%D9%A2%D9%A3%D9%A4%D9%A5%D9%A6%D9%A7%D9%A8%D9%A1%D9%A2%D9%A3%D9%A4%D9%A5%D9%A6%D9%A7%D9%A8",
    "wide letters": "%EF%BD%81" * 16,
    "no UTF-8": "%ff%fe%80",
    "a surrogate": "%ed%a0%80",
    "very long": "a" * 8000,
    "all zeros": "0" * 16,
    "a path": "%2fetc%2fpasswd",
    "a template": "%7B%7Bworkflow.name%7D%7D",
    "markup": "%3Cscript%3Ealert(1)%3C/script%3E",
}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("api", ["asked", "other"])
@pytest.mark.parametrize("name", ODD_IDS)
def test_odd_job_ids_lead_to_no_job(ran: Ran, api: str, name: str, method: str) -> None:
    if (api, name) == ("asked", "two"):
        return  # that is the job itself, named twice
    answer = ran.gateway.request(method, f"/batch/{api}?jobID={ODD_IDS[name].replace('ID', ran.id, 1)}")
    document = answer.json()
    assert (answer.status, list(document)) == (400, ["kind", "message"]), answer
    assert "created_time" not in document["message"] and ran.gateway.store not in document["message"]


def test_an_id_in_upper_case_is_another_one(ran: Ran) -> None:
    with_letters = ran.id.upper()
    assert with_letters != ran.id
    not_found(ran.gateway.get(f"/batch/asked?jobID={with_letters}"), "asked", with_letters)


ODD_APIS = [
    *(
        "../asked",
        "..%2fasked",
        "%2e%2e%2fasked",
        "%2e%2e/asked",
        "asked%2f..%2fasked",
        "asked%00",
        "%00",
        "asked%0a",
        "%20asked",
        "asked%20",
    ),
    *("Asked", "ASKED", "..", "%2e%2e", ".", "%2e", "asked/..%2f..%2fasked", "asked%5c", "%ff", "%ed%a0%80", "*", "a" * 43, "a" * 8000),
    *(
        "%D0%B0sked",
        "%61sked%2f",
        "asked;x=y",
        "asked%3fjobID=x",
        "asked%23",
        "-asked",
        "asked-",
        "%7B%7Bapi%7D%7D",
        "apis",
        "current.json",
    ),
]


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
@pytest.mark.parametrize("api", ODD_APIS, ids=lambda api: api[:44])
@pytest.mark.parametrize("prefix", ["/batch/", "/", "/get/", "/delete/", "/refresh/"])
def test_odd_api_names_lead_to_no_api(ran: Ran, prefix: str, api: str, method: str) -> None:
    answer = ran.gateway.request(method, f"{prefix}{api}?jobID={ran.id}&dryRun=true", b"{}" if method == "POST" else None)
    assert answer.status in (400, 404, 405), answer
    if answer.status != 405:
        assert {"kind", "message"} <= set(answer.json())
    assert ran.id not in answer.text and ran.gateway.store not in answer.text


def test_what_was_asked_has_changed_nothing(ran: Ran) -> None:
    """The last of this module."""
    assert ran.gateway.job_ids("other") == [] and len(ran.gateway.job_ids("asked")) == 2
    assert [api["spec"]["name"] for api in ran.gateway.get("/get").ok()] == ["asked", "other"]
    assert ran.gateway.get(f"/asked/for?jobID={ran.id}").same_as(ran.ended)
