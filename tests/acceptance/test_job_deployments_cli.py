"""Job deployments on the command line: deploy, get, logs, stop, delete, beside a gateway that runs their jobs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.command import Json, Terminal, until
from tests.acceptance.gateway.kit import Gateway, serving
from tests.acceptance.verda.kit import REPLICA


def document(name: str, **settings: Any) -> Json:
    """A job deployment of replica.py, whose notes are in its file's folder; `settings` replaces fields."""
    entrypoint = {"enabled": True, "entrypoint": [sys.executable, str(REPLICA)]}
    container = {
        "image": "registry.example/replica:1",
        "exposed_port": 8000,
        "entrypoint_overrides": entrypoint,
        "env": [{"name": "NOTES", "value_or_reference_to_secret": "notes", "type": "plain"}],
    }
    return {
        "kind": "JobDeployment",
        "name": name,
        "containers": [container],
        "compute": {"name": "CPUNode", "size": 1},
        "scaling": {"max_replica_count": 1, "queue_message_ttl_seconds": 3600, "deadline_seconds": 600},
        **settings,
    }


def written(folder: Path, *documents: Json, name: str = "deployment.yaml") -> Path:
    """A file with one job deployment, or a list of several; JSON is YAML too."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1))
    return file


def api(name: str, **fields: Any) -> Json:
    return {"name": name, "kind": "BatchAPI", "pod": {"containers": [{"name": "a", "image": "a:1", "command": ["a"]}]}, **fields}


class Served:
    """A deployment `one` with one slot, and a gateway that runs its jobs; `gates` are files in its folder."""

    def __init__(self, shell: Terminal, gateway: Gateway) -> None:
        self.shell = shell
        self.gateway = gateway
        self.folder = shell.folder / "served"
        self.deployed = shell.run("deploy", written(self.folder, document("one")))

    def send(self, id: str, path: str) -> None:
        answer = self.gateway.post(f"/one{path}", {}, headers={"X-Inference-Id": id})
        assert answer.status == 202, answer

    def job(self, id: str) -> Json:
        found: Json = self.shell.run("get", "one", id, "-o", "json").json()
        return found

    def open(self, gate: str) -> None:
        (self.folder / gate).touch()

    def wait_for(self, id: str, status: str) -> Json:
        def job() -> Json | None:
            found = self.job(id)
            return found if found["Status"] == status else None

        found: Json = until(job, f"{id} to be {status}", lambda: self.job(id))
        return found


@pytest.fixture(scope="module")
def served(shared_shell: Terminal) -> Iterator[Served]:
    with serving(shared_shell) as gateway:
        yield Served(shared_shell, gateway)
        shared_shell.run("delete", "one")


# Without a gateway


def test_deploy_says_what_became_of_each_and_how_to_send_jobs(shell: Terminal) -> None:
    file = written(shell.folder / "p", document("one"))
    how = "send it jobs: batchflow serve --engine local, then POST http://127.0.0.1:8888/one"
    assert shell.run("deploy", file).lines() == ["created one (JobDeployment)", how]
    assert shell.run("deploy", file).lines() == ["one (JobDeployment) is up to date"]
    longer = {**document("one")["scaling"], "deadline_seconds": 601}
    assert shell.run("deploy", written(file.parent, document("one", scaling=longer))).lines() == ["updated one (JobDeployment)", how]
    [shown] = shell.run("get", "one", "-o", "json").json()
    assert shown["scaling"] == longer


def test_what_a_file_no_longer_says_is_gone(shell: Terminal) -> None:
    file = written(shell.folder / "p", document("one"))
    shell.run("deploy", file)
    without = document("one")
    del without["containers"][0]["env"]
    shell.run("deploy", written(file.parent, without))
    [shown] = shell.run("get", "one", "-o", "json").json()
    assert shown["containers"][0]["env"] == []


def test_a_file_that_moved_is_an_update(shell: Terminal) -> None:
    """On this machine replicas start in its folder."""
    shell.run("deploy", written(shell.folder / "here", document("one")))
    assert shell.run("deploy", written(shell.folder / "there", document("one"))).lines()[0] == "updated one (JobDeployment)"


def test_several_in_a_file_and_as_json(shell: Terminal) -> None:
    file = written(shell.folder / "p", document("one"), document("two"), name="deployments.json")
    results = shell.run("deploy", file, "-o", "json").json()
    assert [(result["message"], result["error"]) for result in results] == [
        ("created one (JobDeployment)", ""),
        ("created two (JobDeployment)", ""),
    ]
    assert results[0]["job_deployment"]["name"] == "one"
    assert {"containers", "compute", "scaling", "container_registry_settings", "created_at"} < set(results[0]["job_deployment"])


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (document("one", colour=1), 'deployment.yaml:33: key "colour" is not supported; known keys: .*'),
        (document("one", compute={"name": "H1000", "size": 1}), 'deployment.yaml:25: compute: name: "H1000" is not offered; use .*'),
        ({**document("one"), "kind": None}, "deployment.yaml:1: has no kind; add kind: JobDeployment"),
        (
            document("one", containers=[{"image": "a:1", "exposed_port": 8000}]),
            "deployment.yaml:5: containers: index 0: a container needs a command here, .*",
        ),
    ],
)
def test_a_file_that_can_not_be_used(shell: Terminal, bad: Json, error: str) -> None:
    refused = shell.run("deploy", written(shell.folder, bad), code=2)
    assert re.fullmatch(rf"batchflow: {error}\n", refused.err), refused.err
    assert shell.run("get").lines() == [f"neither apis nor job deployments are deployed in {shell.store}"]


@pytest.mark.parametrize(
    "command", [("get", "on"), ("get", "on", "first"), ("logs", "on", "first"), ("stop", "on", "first"), ("delete", "on")]
)
def test_a_misspelt_name_is_told_the_right_one(shell: Terminal, command: tuple[str, ...]) -> None:
    shell.run("deploy", written(shell.folder / "p", document("one")))
    assert shell.run(*command, code=3).err == f'batchflow: {shell.store}: on is not deployed; did you mean "one"?\n'


def test_prune_is_for_apis(shell: Terminal) -> None:
    shell.run("deploy", written(shell.folder / "p", document("one")))
    refused = shell.run("prune", "one", "--older-than", "1d", code=2)
    assert refused.err == "batchflow: one: is a job deployment; 24 h after the end of a job its records go by themselves\n"


def test_every_unknown_key_is_named_and_nothing_is_stored(shell: Terminal) -> None:
    file = written(shell.folder, document("one"), document("two", a=1, b=2))
    refused = shell.run("deploy", file, code=2)
    assert [re.search('key "(.)" is not supported', line)[1] for line in refused.err.splitlines()] == ["a", "b"]
    assert shell.run("get").lines() == [f"neither apis nor job deployments are deployed in {shell.store}"]


def test_a_name_is_an_apis_or_a_job_deployments(shell: Terminal) -> None:
    apis = shell.folder / "apis" / "cortex.yaml"
    apis.parent.mkdir()
    apis.write_text(json.dumps([api("one")]))
    shell.run("deploy", apis)
    refused = shell.run("deploy", written(shell.folder, document("one")), code=2)
    assert '"one" is a deployed batch api' in refused.err
    shell.run("deploy", written(shell.folder, document("two")))
    apis.write_text(json.dumps([api("two")]))
    refused = shell.run("deploy", apis, code=2)
    assert "is used by a job deployment" in refused.err
    assert shell.run("get").lines()[0].startswith("batch api")


def test_the_gateways_file_says_what_may_be_deployed(shell: Terminal) -> None:
    rules = {"compute_resources": [{"name": "Ours", "sizes": [3]}], "deadline_minimum_s": 5, "allow_latest_tag": True}
    (shell.folder / "rules.yaml").write_text(json.dumps(rules))
    short = {**document("one")["scaling"], "deadline_seconds": 5}
    ours = document("one", compute={"name": "Ours", "size": 3}, scaling=short)
    ours["containers"][0]["image"] = "registry.example/replica"
    file = written(shell.folder, ours)
    shell.run("deploy", file, code=2)
    assert "created one" in shell.run("deploy", file, BATCHFLOW_CREDENTIALS="rules.yaml").out


def test_get_lists_job_deployments_behind_the_apis(shell: Terminal) -> None:
    apis = shell.folder / "apis" / "cortex.yaml"
    apis.parent.mkdir()
    apis.write_text(json.dumps([api("zebra")]))
    shell.run("deploy", apis)
    shell.run("deploy", written(shell.folder, document("one"), document("another")))
    first, _, empty, head, *rows = shell.run("get").lines()
    assert (first.split()[:2], empty) == (["batch", "api"], "")
    assert re.split(" {3,}", head) == ["job deployment", "status", "running", "waiting", "max replicas"]
    assert [row.split() for row in rows] == [["another", "running", "0", "0", "1"], ["one", "running", "0", "0", "1"]]
    views = shell.run("get", "-o", "json").json()
    assert [view["name"] if view.get("kind") == "JobDeployment" else view["spec"]["name"] for view in views] == ["zebra", "another", "one"]


def test_a_deployment_without_jobs(shell: Terminal) -> None:
    shell.run("deploy", written(shell.folder, document("one")))
    none, _, endpoint, _, _, row = shell.run("get", "one").lines()
    assert (none, endpoint) == ("no jobs", "endpoint: /one")
    assert row.split() == ["running", "0", "0", "1", "registry.example/replica:1"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["get", "one", "nobody"], 3, 'job deployment one has no job "nobody"; batchflow get one lists its jobs'),
        (["logs", "one", "nobody"], 3, 'job deployment one has no job "nobody"'),
        (["stop", "one", "nobody"], 3, 'job deployment one has no job "nobody"'),
        (["get", "one", "nobody", "--failed"], 2, "--failed: is for the job of an api"),
        (["logs", "one", "nobody", "--worker", "0"], 2, "--worker: is for the job of an api"),
        (["resume", "one", "nobody"], 2, "a job of a job deployment runs once; send its request again"),
        (["delete", "one", "nobody"], 2, "a single job of a job deployment can't be deleted"),
        (["delete", "one", "--keep-cache"], 2, "--keep-cache: is for an api"),
        (["get", "One!"], 3, '"One!" is not the name of an api'),
    ],
)
def test_what_a_job_deployment_has_not(shell: Terminal, arguments: list[str], code: int, error: str) -> None:
    shell.run("deploy", written(shell.folder, document("one")))
    assert error in shell.run(*arguments, code=code).err


# With a gateway


def test_a_job_from_its_arrival_to_its_end(served: Served) -> None:
    served.send("whole", "/gate?name=whole")
    watching = served.shell.start("get", "one", "whole", "--watch")
    following = served.shell.start("logs", "one", "whole", "--follow")
    running = served.wait_for("whole", "Inference")
    assert (running["Error"], running["end_time"], running["reply"]) == (None, None, None)
    assert running["request"] == {"method": "POST", "target": "/gate?name=whole", "body_bytes": 2}
    assert any("GET /health" in line for line in served.shell.logs("one", "whole", "--container", "main"))
    unknown = served.shell.run("logs", "one", "whole", "--container", "sidecar", code=3)
    assert unknown.err == 'batchflow: a replica has no container "sidecar"; it has main and courier\n'
    served.open("whole")

    watched = served.shell.wait(watching)
    lines = watched.lines()
    assert "Inference" in lines
    assert re.search("^status: +Completed$", watched.out, re.M)
    assert re.search(r"^reply: +200 application/json \(2 bytes\)$", watched.out, re.M)
    followed = served.shell.wait(following)
    said = followed.lines()
    assert any(line.startswith("replica/main | ") and "POST /gate" in line for line in said), said

    ended = served.job("whole")
    assert (ended["Id"], ended["Status"], ended["Error"], ended["message"]) == ("whole", "Completed", None, "")
    assert ended["reply"] == {"status": 200, "content_type": "application/json", "body_bytes": 2}
    saved = until(lambda: served.shell.logs("one", "whole", "--container", "main"), "the saved log")
    assert [line for line in said if line.startswith("replica/main")] == saved
    assert served.shell.run("get", "one", ended["workflow"].partition("one-")[2], "-o", "json").json() == ended


def test_a_failed_job(served: Served) -> None:
    served.send("failed", "/job?failed=true")
    watched = served.shell.run("get", "one", "failed", "--watch", "-o", "json", code=1)
    assert (watched.json()["Status"], watched.json()["Error"]) == ("Completed", "container replied with HTTP 500")
    [row] = [line for line in served.shell.run("get", "one").lines() if line.startswith("failed ")]
    assert re.fullmatch(r"failed +Completed +\d+\w +container replied with HTTP 500", row)


def test_stop_drops_what_waits_and_ends_what_runs(served: Served) -> None:
    served.send("runs", "/gate?name=never")
    served.wait_for("runs", "Inference")
    served.send("waits", "/echo")
    assert served.job("waits")["message"] == "waits for a free replica"
    [shown] = served.shell.run("get", "one", "-o", "json").json()
    assert (shown["running"], shown["waiting"]) == (1, 1)
    assert [job["Id"] for job in shown["jobs"]][:2] == ["waits", "runs"]

    assert served.shell.run("stop", "one", "waits").lines() == ["stopped job waits"]
    assert served.job("waits")["Error"] == "stopped"
    assert served.job("runs")["Status"] == "Inference"
    assert served.shell.run("stop", "one", "runs").lines() == ["stopped job runs"]
    assert served.wait_for("runs", "Completed")["Error"] == "stopped"
    refused = served.shell.run("stop", "one", "runs", code=2)
    assert "job runs of one has ended" in refused.err


def test_a_job_of_a_paused_deployment_says_so(served: Served) -> None:
    assert served.gateway.post("/v1/job-deployments/one/pause", {}).status == 201
    served.send("held", "/echo")
    assert served.job("held")["message"] == "the deployment is paused"
    [shown] = served.shell.run("get", "one", "-o", "json").json()
    assert (shown["status"], shown["jobs"][0]["message"]) == ("paused", "the deployment is paused")
    assert served.gateway.post("/v1/job-deployments/one/resume", {}).status == 201
    served.wait_for("held", "Completed")


def test_the_newest_jobs_are_listed(served: Served) -> None:
    for number in range(3):
        served.send(f"newest-{number}", "/echo")
    listed = served.shell.run("get", "one", "--limit", "2")
    assert [line.split()[0] for line in listed.lines()[1:3]] == ["newest-2", "newest-1"]
    assert re.fullmatch(r"\d+ more; to see all say --limit \d+", listed.lines()[-1])
    for number in range(3):
        served.wait_for(f"newest-{number}", "Completed")


def test_delete_ends_replicas_and_frees_the_name(served: Served) -> None:
    shell = served.shell
    file = written(shell.folder / "gone", document("gone"))
    shell.run("deploy", file)
    for id in ("runs", "waits"):
        assert served.gateway.post("/gone/gate?name=never", {}, headers={"X-Inference-Id": id}).status == 202
    until(lambda: shell.run("get", "gone", "runs", "-o", "json").json()["Status"] == "Inference", "the first job to run")
    assert shell.run("delete", "gone").lines() == ["deleted gone"]
    assert "gone is not deployed" in shell.run("get", "gone", code=3).err
    assert not list((shell.store / "deployments").glob("gone/*"))
    assert shell.run("deploy", file).lines()[0] == "created gone (JobDeployment)"
    shell.run("delete", "gone", "--yes")


def test_yaml_reads_as_json_does(served: Served) -> None:
    assert yaml.safe_load(served.shell.run("get", "one", "-o", "yaml").out) == served.shell.run("get", "one", "-o", "json").json()


def test_where_no_gateway_is_left(shell: Terminal) -> None:
    """What waits can be dropped, and the deployment be deleted with its replica."""
    shell.run("deploy", written(shell.folder / "p", document("left")))
    with serving(shell) as gateway:
        for id in ("runs", "waits"):
            assert gateway.post("/left/gate?name=never", {}, headers={"X-Inference-Id": id}).status == 202
        until(lambda: shell.run("get", "left", "runs", "-o", "json").json()["Status"] == "Inference", "the first job to run")
        gateway.kill()
    assert shell.run("stop", "left", "waits").lines() == ["stopped job waits"]
    assert shell.run("get", "left", "waits", "-o", "json").json()["Error"] == "stopped"
    assert shell.run("delete", "left").lines() == ["deleted left"]
    assert shell.run("get").lines() == [f"neither apis nor job deployments are deployed in {shell.store}"]
