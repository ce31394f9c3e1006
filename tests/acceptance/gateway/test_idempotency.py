"""`Idempotency-Key`: however often a submission is repeated, and wherever the gateway died on the way, it is one job."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.acceptance.command import Terminal, terminal, until
from tests.acceptance.gateway.kit import Gateway, handler, item_list, pod, serving

SEED = 5
KILLS = 6
LONGEST_SUBMISSION_S = {"small": 0.15, "large": 1.2}  # a bit more than one takes here; only where a kill falls depends on it
BODIES = {"small": item_list([1, 2, 3]), "large": item_list([f"{number:01000}" for number in range(4000)], batch_size=200)}
KEY = {"Idempotency-Key": "one"}


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    with serving(shared_shell) as opened:
        yield opened


@pytest.fixture
def api(gateway: Gateway) -> str:
    """An api of the test's own, so that its jobs are its own."""
    name = f"api-{time.monotonic_ns()}"
    gateway.deploy(pod(name)).ok()
    return name


class Killed:
    """Submits and kills the gateway at a random moment of that; what came of it."""

    def __init__(self, gateway: Gateway, body: bytes, key: str, after_s: float) -> None:
        self.answered = ""
        began = threading.Event()

        def submit() -> None:
            with contextlib.suppress(HTTPException, OSError):
                began.set()
                answer = gateway.post("/batch/plain", body, headers={"Idempotency-Key": key})
                if answer.status == 200:
                    self.answered = answer.json()["job_id"]

        client = threading.Thread(target=submit)
        client.start()
        began.wait()
        time.sleep(after_s)
        gateway.kill()
        client.join()


@pytest.mark.parametrize("size", BODIES)
def test_a_gateway_killed_at_any_moment_and_the_clients_repeat_give_one_job(tmp_path: Path, size: str) -> None:
    moments = random.Random(f"{SEED} {size}")
    body = json.dumps(BODIES[size]).encode()
    jobs: dict[str, str] = {}
    notes = tmp_path / "notes"
    with terminal(tmp_path) as shell, serving(shell) as gateway:
        gateway.deploy(pod("plain", notes=notes)).ok()
        for number in range(KILLS):
            key = f"{size}-{number}"
            killed = Killed(gateway, body, key, moments.uniform(0, LONGEST_SUBMISSION_S[size]))
            gateway.start()
            headers = {"Idempotency-Key": key}
            with ThreadPoolExecutor(3) as pool:
                ids = set(pool.map(lambda _: gateway.submit("plain", BODIES[size], headers=headers), range(3)))  # noqa: B023
            assert len(ids) == 1, f"{key}: {ids}"
            jobs[key] = ids.pop()
            assert killed.answered in ("", jobs[key]), key
        assert len(set(jobs.values())) == KILLS
        assert gateway.job_ids("plain") == sorted(jobs.values()), "a job beside those that were answered"
        batches = {"small": 3, "large": 20}[size]
        for key, job_id in jobs.items():
            status = gateway.ended("plain", job_id)
            assert (status["status"], status["batch_metrics"]["succeeded"], status["run"]) == ("succeeded", batches, 1), (key, status)
        handled = notes.read_text().splitlines()
        assert len(handled) == len(set(handled)) == KILLS * (batches + 1), "two engines ran the same job"  # + 1: its completion


def test_clients_that_repeat_at_once_get_one_job(gateway: Gateway, api: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.post(f"/batch/{api}", item_list(), headers=KEY), range(16)))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.same_as(answers[0]) for answer in answers)
    assert gateway.job_ids(api) == [answers[0].json()["job_id"]]
    assert gateway.ended(api, answers[0].json()["job_id"])["batch_metrics"]["succeeded"] == 3


def test_two_gateways_on_one_store_give_one_job(shell: Terminal) -> None:
    """As two replicas behind a load balancer."""
    with serving(shell) as first, serving(shell) as second:
        first.deploy(pod("plain")).ok()
        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(lambda number: (first, second)[number % 2].submit("plain", headers=KEY), range(12)))
        assert len(ids) == 1 and first.job_ids("plain") == sorted(ids)
        assert second.ended("plain", ids.pop())["status"] == "succeeded"


def test_without_a_key_or_under_another_each_submission_is_a_job(gateway: Gateway, api: str) -> None:
    ids = [gateway.submit(api, headers=headers) for headers in ({}, {}, KEY, {"Idempotency-Key": "ONE"}, {"Idempotency-Key": "one "})]
    assert ids[2] == ids[4], "white space around a header's value is no part of it"
    assert len(set(ids)) == 4
    gateway.deploy(pod("other")).ok()
    assert gateway.submit("other", headers=KEY) not in ids, "a key belongs to an api"


def test_both_ways_to_an_api_know_the_same_keys(gateway: Gateway, api: str) -> None:
    first = gateway.post(f"/batch/{api}", item_list(), headers=KEY)
    assert gateway.post(f"/{api}", item_list(), headers=KEY).same_as(first)


def test_another_body_under_the_same_key_is_refused(gateway: Gateway, api: str) -> None:
    job_id = gateway.submit(api, headers=KEY)
    for body in (item_list([1, 2]), item_list(workers=2), {**item_list(), "color": "red"}):
        answer = gateway.post(f"/batch/{api}", body, headers=KEY)
        assert answer.status == 422 and {"kind", "message"} <= set(answer.json())
    assert gateway.job_ids(api) == [job_id] == [gateway.submit(api, headers=KEY)]


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "two words", "é", "\x7f", "tab\there"])
def test_a_key_that_is_none_is_refused(gateway: Gateway, api: str, key: str) -> None:
    answer = gateway.post(f"/batch/{api}", item_list(), headers={"Idempotency-Key": key})
    assert answer.status == 400 and "message" in answer.json()
    assert gateway.job_ids(api) == []


@pytest.mark.parametrize("key", ["a" * 255, "../../x", "%2e%2e%2f", '"{{a}}"/*'])
def test_any_visible_key_will_do(gateway: Gateway, api: str, key: str) -> None:
    headers = {"Idempotency-Key": key}
    job_id = gateway.submit(api, headers=headers)
    assert gateway.submit(api, headers=headers) == job_id and gateway.job_ids(api) == [job_id]


def test_what_was_refused_may_be_corrected_under_the_same_key(gateway: Gateway, api: str) -> None:
    assert gateway.post(f"/batch/{api}", item_list(workers=0), headers=KEY).status == 400
    assert gateway.post("/batch/nobody", item_list(), headers=KEY).status == 400
    gateway.submit(api, headers=KEY)


def test_a_dry_run_uses_no_key_up(gateway: Gateway, api: str) -> None:
    assert gateway.post(f"/batch/{api}?dryRun=true", item_list([1]), headers=KEY).text == "validations passed"
    gateway.submit(api, item_list([2]), headers=KEY)


def test_after_its_end_the_job_is_still_the_same(gateway: Gateway, api: str) -> None:
    first = gateway.post(f"/batch/{api}", item_list(), headers=KEY)
    status = gateway.ended(api, first.ok()["job_id"])
    assert gateway.post(f"/batch/{api}", item_list(), headers=KEY).same_as(first)
    assert gateway.status(api, first.json()["job_id"]) == status


def test_after_another_version_was_deployed_the_job_is_still_the_same(gateway: Gateway, api: str) -> None:
    first = gateway.post(f"/batch/{api}", item_list(), headers=KEY)
    gateway.deploy(pod(api, batchflow={"batch_timeout_s": 60})).ok()
    assert gateway.post(f"/batch/{api}", item_list(), headers=KEY).same_as(first)


SLOW = """\
import pathlib, time

class Handler:
    def __init__(self, config):
        self.folder = pathlib.Path(config["folder"])

    def handle_batch(self, payload):
        (self.folder / "began").touch()
        while not (self.folder / "open").exists():
            time.sleep(0.02)
        time.sleep(0.2)
"""


def test_a_stopped_job_is_not_begun_again(gateway: Gateway, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    gateway.deploy(handler("slow"), files={"handler.py": SLOW}).ok()
    body = item_list(range(200), config={"folder": str(notes)})
    first = gateway.post("/batch/slow", body, headers=KEY)
    job_id = first.ok()["job_id"]
    until(lambda: (notes / "began").exists(), "the first batch", gateway.log)
    assert gateway.delete(f"/batch/slow?jobID={job_id}").status == 200
    again = gateway.post("/batch/slow", body, headers=KEY)  # while it comes to its end
    (notes / "open").touch()
    status = gateway.ended("slow", job_id)
    assert status["status"] == "stopped" and again.same_as(first)
    assert gateway.post("/batch/slow", body, headers=KEY).same_as(first)
    assert gateway.status("slow", job_id) == status and status["run"] == 1
    assert gateway.job_ids("slow") == [job_id]


def test_after_the_job_was_deleted_its_key_makes_one_job_again(gateway: Gateway, api: str) -> None:
    first = gateway.submit(api, headers=KEY)
    gateway.ended(api, first)
    gateway.shell.run("delete", api, first)
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda _: gateway.submit(api, headers=KEY), range(4)))
    assert len(ids) == 1 and gateway.job_ids(api) == sorted(ids)
    assert gateway.ended(api, ids.pop())["status"] == "succeeded"


def test_after_the_api_was_deleted_and_deployed_anew_a_key_is_new(gateway: Gateway, api: str) -> None:
    first = gateway.submit(api, headers=KEY)
    gateway.ended(api, first)
    assert gateway.delete(f"/delete/{api}").status == 200
    until(lambda: gateway.job_ids(api) == [], "the api's jobs to go")
    assert gateway.post(f"/batch/{api}", item_list(), headers=KEY).json()["kind"] == "resources.api_not_deployed"
    gateway.deploy(pod(api)).ok()
    again = gateway.submit(api, item_list([7]), headers=KEY)
    assert again != first and gateway.ended(api, again)["batch_metrics"]["succeeded"] == 1
