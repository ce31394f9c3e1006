"""The operator's endpoints: deploy, get, delete, refresh (spec/cortex.md section 6, "API view")."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import HANG_S, Json, Terminal, terminal, until
from tests.acceptance.gateway.kit import EMPTY_HANDLER, Answer, Gateway, archive, files_of, handler, is_error, item_list, pod, serving

NOBODY = "7fffffffffffffff"
HANDLER = """\
import json, pathlib

class Handler:
    def __init__(self, config):
        self.folder = pathlib.Path(config["folder"])
        self.values = json.loads(pathlib.Path("values.json").read_text())

    def handle_batch(self, payload):
        (self.folder / str(payload[0])).write_text(json.dumps(self.values))
"""


@pytest.fixture
def gateway(shell: Terminal) -> Iterator[Gateway]:
    with serving(shell) as opened:
        yield opened


def messages(answer: Answer) -> list[str]:
    results = answer.ok()
    assert all(set(result) - {"warnings"} == {"api", "message", "error"} and result["error"] == "" for result in results), results
    return [result["message"] for result in results]


def test_deploy_says_in_cortex_words_what_became_of_each_api(gateway: Gateway) -> None:
    files = {"handler.py": EMPTY_HANDLER}
    assert messages(gateway.deploy(handler("one"), pod("two"), files=files)) == ["created one (BatchAPI)", "created two (BatchAPI)"]
    stored = files_of(Path(gateway.store))
    assert messages(gateway.deploy(handler("one"), pod("two"), files=files)) == [
        "one (BatchAPI) is up to date",
        "two (BatchAPI) is up to date",
    ]
    assert files_of(Path(gateway.store)) == stored
    files["handler.py"] += "# changed\n"
    assert messages(gateway.deploy(handler("one"), pod("two"), files=files)) == ["updated one (BatchAPI)", "two (BatchAPI) is up to date"]


def test_an_archive_that_was_packed_otherwise_is_the_same_project(gateway: Gateway) -> None:
    """What counts are the files that Cortex's rules leave, not how or when somebody zipped them."""
    gateway.deploy(handler("one"), files={"handler.py": EMPTY_HANDLER, "a/b.txt": "b"}).ok()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        packed.mkdir("a")
        for name, text in (("a/b.txt", "b"), ("handler.py", EMPTY_HANDLER), (".hidden", "x"), ("__pycache__/handler.pyc", "x")):
            packed.writestr(zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6)), text)
    parts = {"config": ("cortex.yaml", json.dumps([handler("one")]).encode()), "project.zip": ("project.zip", buffer.getvalue())}
    assert messages(gateway.send_form("/deploy", parts)) == ["one (BatchAPI) is up to date"]


@pytest.mark.parametrize("content_type", ["application/yaml", "text/plain", "text/plain; charset=utf-8"])
def test_a_body_may_be_the_yaml_itself(gateway: Gateway, content_type: str) -> None:
    text = (
        "# a comment\n- name: one\n  kind: BatchAPI\n  pod:\n    containers:\n    - {name: c, image: registry.example/a:1, command: [a]}\n"
    )
    answer = gateway.request("POST", "/deploy", text.encode(), headers={"Content-Type": content_type})
    assert messages(answer) == ["created one (BatchAPI)"]
    [api] = gateway.get("/get/one").ok()
    assert api["spec"]["pod"]["containers"][0]["image"] == "registry.example/a:1"


def test_the_files_name_is_the_one_that_the_query_gives(gateway: Gateway) -> None:
    bad = gateway.deploy({"name": "one"}, query="?configFileName=apis%2Fmine.yaml")
    assert bad.status == 400 and "mine.yaml" in bad.json()["message"]
    parts = {
        "config": ("x", json.dumps([handler("one")]).encode()),
        "project.zip": ("project.zip", archive({"handler.py": EMPTY_HANDLER, "mine.yaml": "no part of it"})),
    }
    assert messages(gateway.send_form("/deploy?configFileName=mine.yaml&force=true", parts)) == ["created one (BatchAPI)"]


def test_odd_file_names_are_only_names(gateway: Gateway) -> None:
    for name in ("../../etc/passwd", "%2Fetc%2Fpasswd", "..%2F..%2Fa", "%00", "a%00b", "..", ".", "%2F", "a" * 300, "%ff"):
        answer = gateway.deploy(handler("one"), files={"handler.py": EMPTY_HANDLER}, query=f"?configFileName={name}")
        assert answer.status in (200, 400), (name, answer)
        assert "root:" not in answer.text


def view(api: Json) -> None:
    """Keys of the documented view of an api."""
    assert {"spec", "metadata", "endpoint", "dashboard_url", "batch_job_statuses", "api_versions"} <= set(api)
    assert set(api["metadata"]) == {"name", "kind", "id", "last_updated"}
    assert api["metadata"]["kind"] == "BatchAPI" and isinstance(api["metadata"]["last_updated"], int)
    assert all(set(version) == {"api_id", "last_updated"} for version in api["api_versions"])


def test_get_shows_what_is_deployed(gateway: Gateway) -> None:
    assert gateway.get("/get").ok() == []
    first, second = pod("one", networking={"endpoint": "here/"}), pod("two")
    gateway.deploy(second, first).ok()
    listed = gateway.get("/get").ok()
    assert [api["metadata"]["name"] for api in listed] == ["one", "two"]
    for api, entry in zip(listed, (first, second), strict=True):
        view(api)
        assert api["spec"] == {**entry, "id": api["metadata"]["id"]} and api["batch_job_statuses"] == []
        [same] = gateway.get(f"/get/{api['metadata']['name']}").ok()
        view(same)
        assert same["spec"] == api["spec"] and same["metadata"] == api["metadata"]
        assert same["metadata"]["id"] in [version["api_id"] for version in same["api_versions"]]
    assert re.fullmatch(r"(http://127\.0\.0\.1:\d+)?/here", listed[0]["endpoint"])


@pytest.mark.parametrize(("method", "path"), [("GET", "/get/nobody"), ("DELETE", "/delete/nobody"), ("POST", "/refresh/nobody")])
def test_an_api_that_is_not_deployed(gateway: Gateway, method: str, path: str) -> None:
    is_error(gateway.request(method, path), "resources.api_not_deployed", "nobody is not deployed")


def test_get_shows_ten_jobs_all_that_run_and_the_latest_of_the_others(gateway: Gateway) -> None:
    gateway.deploy(pod("one"), pod("two")).ok()
    ids = []
    for _ in range(3):
        ids.append(gateway.submit("one"))
        gateway.ended("one", ids[-1])
    [one] = gateway.get("/get/one").ok()
    assert [status["job_id"] for status in one["batch_job_statuses"]] == sorted(ids)  # newer ids sort first
    assert all(status["status"] == "succeeded" for status in one["batch_job_statuses"])
    [in_list, two] = gateway.get("/get").ok()
    assert [status["job_id"] for status in in_list["batch_job_statuses"]] == [min(ids)]
    assert two["batch_job_statuses"] == []


def test_a_handler_that_was_deployed_by_http_runs(gateway: Gateway, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    files = {"handler.py": HANDLER, "values.json": '{"a": 1}', "requirements.txt": "", "cortex.yaml": "not read"}
    assert messages(gateway.deploy(handler("runs"), files=files)) == ["created runs (BatchAPI)"]
    job_id = gateway.submit("runs", item_list([1, 2, 3], config={"folder": str(notes)}))
    # A new version while the job runs is for later jobs.
    gateway.deploy(handler("runs"), files={**files, "values.json": '{"a": 2}'}).ok()
    status = gateway.ended("runs", job_id)
    assert (status["status"], status["batch_metrics"]["succeeded"]) == ("succeeded", 3)
    assert files_of(notes) == {name: b'{"a": 1}' for name in "123"}
    second = gateway.submit("runs", item_list([4], config={"folder": str(notes)}))
    assert gateway.ended("runs", second)["status"] == "succeeded"
    assert (notes / "4").read_text() == '{"a": 2}'


SLOW = """\
import pathlib, time

class Handler:
    def __init__(self, config):
        self.folder = pathlib.Path(config["folder"])

    def handle_batch(self, payload):
        (self.folder / "began").touch()
        time.sleep(0.2)
"""


@pytest.mark.parametrize("keep", [True, False])
def test_delete_stops_the_jobs_and_keeps_what_it_is_told_to(gateway: Gateway, tmp_path: Path, keep: bool) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    gateway.deploy(handler("one"), files={"handler.py": SLOW}).ok()
    job_id = gateway.submit("one", item_list(range(200), config={"folder": str(notes)}))
    until(lambda: (notes / "began").exists(), "the job's first batch", gateway.log)
    answer = gateway.delete(f"/delete/one?keepCache={'true' if keep else 'false'}")
    assert (answer.status, answer.body) == (200, b'{"message":"deleting one"}')
    is_error(gateway.get("/get/one"), "resources.api_not_deployed", "one is not deployed")
    assert gateway.get("/get").ok() == [] and gateway.get("/one").status == 404
    if keep:
        status = until(lambda: stopped(gateway.shell.status("one", job_id)), "the job to end")
        assert status["status"] == "stopped"
    else:
        until(lambda: gateway.job_ids("one") == [], "the job's records to go", lambda: gateway.job_ids("one"))
    assert messages(gateway.deploy(handler("one"), files={"handler.py": SLOW})) == ["created one (BatchAPI)"]


def stopped(status: Json) -> Json | None:
    return status if "end_time" in status else None


def test_refresh_answers_and_changes_nothing(gateway: Gateway) -> None:
    gateway.deploy(pod("one")).ok()
    before = gateway.get("/get/one")
    for query in ("", "?force=true"):
        answer = gateway.request("POST", f"/refresh/one{query}")
        assert answer.status == 200 and set(answer.json()) == {"message"} and "one" in answer.json()["message"]
    assert gateway.get("/get/one").ok()[0]["spec"] == before.ok()[0]["spec"]


def test_an_endpoint_belongs_to_one_api(gateway: Gateway) -> None:
    gateway.deploy(pod("one", networking={"endpoint": "x"})).ok()
    answer = gateway.deploy(pod("two", networking={"endpoint": "x"}))
    assert answer.status == 400 and 'endpoint "/x" is used by another deployed api' in answer.json()["message"]
    assert [api["metadata"]["name"] for api in gateway.get("/get").ok()] == ["one"]


def test_an_endpoint_goes_with_its_api_whoever_deploys_it(gateway: Gateway) -> None:
    def served(path: str) -> bool:
        return gateway.post(f"{path}?dryRun=true", item_list()).status == 200

    gateway.deploy(pod("one", networking={"endpoint": "first"})).ok()
    assert served("/first")
    gateway.deploy(pod("one", networking={"endpoint": "second"})).ok()
    assert served("/second") and not served("/first")
    gateway.deploy(pod("two", networking={"endpoint": "first"})).ok()
    assert served("/first")
    gateway.delete("/delete/two").ok()
    assert not served("/first")
    # The command line works on the same store, and the gateway hears of it within a moment.
    file = gateway.shell.folder / "cortex.yaml"
    file.write_text(json.dumps([pod("three", networking={"endpoint": "third"})]))
    gateway.shell.run("deploy", file)
    until(lambda: served("/third"), "the command line's api to be served")
    assert served("/batch/three")
    gateway.shell.run("delete", "three")
    until(lambda: not served("/third"), "the deleted api to be gone")


# Paths of the gateway's own. An api may be called so, or have such an endpoint; it then has no path but /batch/<api>.
OWN_NAMES = ["get", "deploy", "delete", "refresh", "batch", "healthz", "metrics", "docs"]
OWN_ENDPOINTS = ["get/plain", "openapi.json", "batch/plain", "healthz", "delete/plain", "refresh/plain", "docs/oauth2-redirect"]


def test_no_api_hides_the_gateways_own_paths(gateway: Gateway) -> None:
    gateway.deploy(pod("plain")).ok()
    entries = [pod(name) for name in OWN_NAMES] + [pod("one", networking={"endpoint": endpoint}) for endpoint in OWN_ENDPOINTS]
    for entry in entries:
        answer = gateway.deploy(entry)
        assert answer.status in (200, 400), answer
        for path in ("/healthz", "/get", "/metrics", "/openapi.json"):
            assert gateway.get(path).status == 200, (entry, path)
        assert gateway.get("/get/plain").ok()[0]["metadata"]["name"] == "plain"
        assert gateway.post("/batch/plain?dryRun=true", item_list()).text == "validations passed"
        if answer.status == 200:
            assert gateway.post(f"/batch/{entry['name']}?dryRun=true", item_list()).text == "validations passed"
            assert gateway.delete(f"/delete/{entry['name']}").status == 200


def test_two_deployments_at_once_leave_each_api_whole(tmp_path: Path) -> None:
    with terminal(tmp_path) as shell, serving(shell) as gateway:
        versions = [pod("one", networking={"endpoint": f"e{number}"}) for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            answers: list[Any] = list(pool.map(gateway.deploy, versions, timeout=HANG_S))
        assert [answer.status for answer in answers] == [200] * 8
        [api] = gateway.get("/get/one").ok()
        assert {**api["spec"], "id": None} in [{**version, "id": None} for version in versions]
        assert gateway.post(f"{api['endpoint'].removeprefix(f'http://127.0.0.1:{gateway.port}')}?dryRun=true", item_list()).status == 200
