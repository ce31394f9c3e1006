"""deploy: which apis a file's job may then name from anywhere, and what keeps a file from being deployed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.command import EXAMPLES, Job, Json, Terminal, terminal

HANDLER = "class Handler:\n    def __init__(self, config): pass\n    def handle_batch(self, payload): print('handles', payload)\n"
Entry = dict[str, Any]


def handler(name: str, **fields: Any) -> Entry:
    return {"name": name, "kind": "BatchAPI", "handler": {"type": "python", "path": "handler.py"}, **fields}


def pod(name: str, *command: str, **fields: Any) -> Entry:
    containers = [{"name": "server", "image": "registry.example/server:1", "command": list(command)}]
    return {"name": name, "kind": "BatchAPI", "pod": {"containers": containers}, **fields}


def endpoint(path: str) -> Json:
    return {"networking": {"endpoint": path}}


def project(folder: Path, *entries: Entry) -> Path:
    """A folder with a cortex.yaml of these apis, and a handler.py."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handler.py").write_text(HANDLER)
    file = folder / "cortex.yaml"
    file.write_text(json.dumps(entries))
    return file


def job_of(folder: Path, api: str) -> Path:
    """A job file that names a deployed api, in a folder of its own."""
    folder.mkdir(parents=True)
    file = folder / "job.yaml"
    file.write_text(json.dumps({"api": api, "workers": 1, "item_list": {"items": [1, 2], "batch_size": 1}}))
    return file


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_deploy_says_in_cortex_words_what_became_of_each_api(shell: Terminal) -> None:
    file = project(shell.folder / "p", handler("one"), pod("two", "serve"))
    assert shell.run("deploy", file).lines() == ["created one (BatchAPI)", "created two (BatchAPI)"]
    stored = files_of(shell.store)
    assert shell.run("deploy", file).lines() == ["one (BatchAPI) is up to date", "two (BatchAPI) is up to date"]
    assert files_of(shell.store) == stored
    (shell.folder / "p" / "handler.py").write_text(HANDLER + "# changed\n")
    assert shell.run("deploy", file).lines() == ["updated one (BatchAPI)", "two (BatchAPI) is up to date"]


def test_files_that_are_no_part_of_the_project_change_nothing(shell: Terminal) -> None:
    file = project(shell.folder / "p", handler("one"))
    (file.parent / ".cortexignore").write_text("*.bin\n")
    shell.run("deploy", file)
    for name in ("left.bin", ".hidden", "a.pyc", "cortex-debug-1"):
        (file.parent / name).write_text("new")
    assert shell.run("deploy", file).lines() == ["one (BatchAPI) is up to date"]
    (file.parent / ".env").write_text("A=1\n")
    assert shell.run("deploy", file).lines() == ["updated one (BatchAPI)"]


def test_deploy_as_json_is_the_answer_of_cortex_operator(shell: Terminal) -> None:
    entry = handler("one", **endpoint("here/"))
    [result] = shell.run("deploy", project(shell.folder / "p", entry), "-o", "json").json()
    updated, api_id = (result["api"]["metadata"].pop(key) for key in ("last_updated", "id"))
    metadata = {"name": "one", "kind": "BatchAPI"}
    spec = {**entry, "id": api_id}
    assert result == {"api": {"spec": spec, "metadata": metadata, "endpoint": "/here"}, "message": "created one (BatchAPI)", "error": ""}
    assert isinstance(updated, int)
    whole = {
        "spec": spec,
        "metadata": {**metadata, "id": api_id, "last_updated": updated},
        "endpoint": "/here",
        "dashboard_url": "",
        "batch_job_statuses": [],
        "api_versions": [{"api_id": api_id, "last_updated": updated}],
    }
    assert shell.run("get", "-o", "json").json() == shell.run("get", "one", "-o", "json").json() == [whole]
    assert yaml.safe_load(shell.run("get", "-o", "yaml").out) == [whole]


def test_deploy_names_every_key_that_it_can_not_honour_a_line_each(shell: Terminal) -> None:
    refused = shell.run("deploy", project(shell.folder / "p", {**pod("one", "serve"), "autoscaling": {}, "compute": {}}), code=2)
    assert refused.out == ""
    assert refused.err == (
        'batchflow: p/cortex.yaml:1: one (BatchAPI): key "autoscaling" is not supported; a job says in `workers` how many it wants\n'
        'batchflow: p/cortex.yaml:1: one (BatchAPI): key "compute" is not supported beside `pod`; put it into each container\n'
    )
    assert not shell.store.exists()


def test_deploy_warns_of_what_has_no_effect(shell: Terminal) -> None:
    file = project(shell.folder / "p", handler("one", networking={"api_gateway": "none"}), handler("two"))
    said = shell.run("deploy", file)
    warning = "p/cortex.yaml:1: one (BatchAPI): networking: api_gateway: has no effect here; `batchflow serve` answers at the endpoint"
    assert said.lines() == ["created one (BatchAPI)", "created two (BatchAPI)"]
    assert said.err == f"warning: {warning}\n"
    again = shell.run("deploy", file, "-o", "json")
    assert [result.get("warnings") for result in again.json()] == [[warning], None]
    assert again.err == ""


def test_get_tells_what_is_deployed(shell: Terminal) -> None:
    shell.run("deploy", project(shell.folder / "p", handler("one", **endpoint("here"))))
    head, line = shell.run("get").lines()
    assert re.fullmatch(r"batch api +running jobs +latest job id +last update", head)
    assert re.fullmatch(r"one +0 +- +\d+s", line)
    [api_id] = [listed["metadata"]["id"] for listed in shell.run("get", "-o", "json").json()]
    told = shell.run("get", "one").lines()
    assert told[:4] == ["no submitted batch jobs", "", "endpoint: /here", ""]
    assert re.fullmatch(rf"api id +last deployed\n{api_id}   \d+s", "\n".join(told[4:]))


BAD = {
    "an unknown key": ([{**handler("bad"), "color": "red"}], 'bad (BatchAPI): key "color" is not supported'),
    "text that Argo would expand": ([pod("bad", "{{item}}")], "bad"),
    "no such handler": (
        [handler("bad", handler={"type": "python", "path": "h.py"})],
        'bad (BatchAPI): handler: path: "h.py" is not in the',
    ),
    "the same name": ([handler("good", **endpoint("other"))], 'name "good" is taken by another api of this file'),
    "the same endpoint": ([handler("bad", **endpoint("good"))], 'endpoint "/good" is taken by another api of this file'),
}


@pytest.mark.parametrize("name", BAD)
def test_nothing_is_deployed_when_one_api_of_the_file_is_bad(shell: Terminal, name: str) -> None:
    entries, text = BAD[name]
    refused = shell.run("deploy", project(shell.folder / "p", handler("good"), *entries), code=2)
    assert refused.out == ""
    assert re.fullmatch(rf"batchflow: [^\n]*{re.escape(text)}[^\n]*\n", refused.err), refused.err
    assert not shell.store.exists()


def at_home(shell: Terminal) -> dict[str, str]:
    return {"HOME": str(shell.folder / "p")}


def too_large(shell: Terminal) -> dict[str, str]:
    with (shell.folder / "p" / "model.bin").open("wb") as file:
        file.truncate(32 * 2**20 + 1)
    return {}


@pytest.mark.parametrize(
    ("prepare", "text"),
    [(at_home, "can't be a project: it is your home"), (too_large, "model.bin: file size cannot be greater than 33554432 bytes")],
)
def test_a_project_that_can_not_be_packed_is_not_deployed(
    shell: Terminal, prepare: Callable[[Terminal], dict[str, str]], text: str
) -> None:
    file = project(shell.folder / "p", handler("one"))
    refused = shell.run("deploy", file, code=2, **prepare(shell))
    assert re.fullmatch(rf"batchflow: [^\n]*{re.escape(text)}[^\n]*\n", refused.err), refused.err
    assert not shell.store.exists()


def test_a_file_that_is_not_there_exits_3(shell: Terminal) -> None:
    assert shell.run("deploy", "nowhere.yaml", code=3).err == "batchflow: nowhere.yaml: no such file\n"


def test_an_endpoint_belongs_to_one_deployed_api(shell: Terminal) -> None:
    shell.run("deploy", project(shell.folder / "a", handler("one", **endpoint("x")), handler("two", **endpoint("y"))))
    other = project(shell.folder / "b", handler("free"), handler("three", **endpoint("x")))
    refused = shell.run("deploy", other, code=2)
    assert refused.err == (
        'batchflow: b/cortex.yaml: three (BatchAPI): networking: endpoint "/x" is used by another deployed api; '
        "one has it: choose another, or delete that api\n"
    )
    assert [api["spec"]["name"] for api in shell.run("get", "-o", "json").json()] == ["one", "two"]
    # Within a file they may change hands, and an api that is gone has none.
    swapped = project(shell.folder / "a", handler("one", **endpoint("y")), handler("two", **endpoint("x")))
    assert shell.run("deploy", swapped).lines() == ["updated one (BatchAPI)", "updated two (BatchAPI)"]
    shell.run("delete", "two")
    assert shell.run("deploy", other).lines() == ["created free (BatchAPI)", "created three (BatchAPI)"]


def test_a_job_may_name_a_deployed_api_from_anywhere(shell: Terminal) -> None:
    shell.run("deploy", project(shell.folder / "p", handler("one")))
    file = job_of(shell.folder / "far" / "away", "one")
    done = shell.run("submit", file, "--watch", "-o", "json")
    assert (done.json()["job_status"]["status"], done.json()["job_status"]["batch_metrics"]["succeeded"]) == ("succeeded", 2)
    assert done.json()["api_spec"] == handler("one")
    [api_id] = [listed["metadata"]["id"] for listed in shell.run("get", "-o", "json").json()]
    assert done.json()["job_status"]["api_id"] == api_id


def test_a_deployed_api_of_containers_starts_them_in_its_own_folder(shell: Terminal) -> None:
    shell.run("deploy", EXAMPLES / "any-server" / "cortex.yaml")
    job = job_of(shell.folder / "elsewhere", "any-server")
    body = json.loads(job.read_text())
    body["item_list"] = {"items": [{"sensor": "s1", "value": 1.0}, {"sensor": "s2", "value": 2.0}], "batch_size": 2}
    job.write_text(json.dumps(body))
    done = shell.run("submit", job, "--watch")
    assert "| 2 items add up to 2.5" in done.out


def test_a_job_that_names_an_api_which_is_not_deployed_says_how_to_deploy_it(shell: Terminal) -> None:
    file = job_of(shell.folder / "j", "one")
    refused = shell.run("submit", file, code=3)
    assert refused.err == (
        f"batchflow: {shell.store}: one is not deployed; deploy it: batchflow deploy cortex.yaml; "
        "or name its file in job.yaml: api: {file: cortex.yaml}\n"
    )
    shell.run("deploy", project(shell.folder / "p", handler("ones")))
    refused = shell.run("submit", file, code=3)
    assert refused.err == f'batchflow: {shell.store}: one is not deployed; did you mean "ones"?\n'


VERSION = """\
    def handle(self, payload):
        self.note("version", 1)
        self.gate("gate")
"""


def test_a_job_keeps_the_version_it_was_submitted_with_also_when_it_is_resumed(tmp_path: Path) -> None:
    with terminal(tmp_path, BATCHFLOW_GRACE_S="1") as shell:
        job = Job(tmp_path, "versions", VERSION, items=[1, 2])
        deploy = ("deploy", job.file.parent / "cortex.yaml")
        shell.run(*deploy)
        by_name = job_of(tmp_path / "j", "versions")
        sets = ("--set", f"config.folder={job.notebook}")
        old = shell.submit(by_name, *sets)
        job.wait_for("version", 1)
        code = job.file.parent / "handler.py"
        code.write_text(code.read_text().replace('"version", 1', '"version", 2'))
        assert shell.run(*deploy).lines() == ["updated versions (BatchAPI)"]
        shell.run("stop", "versions", old)
        shell.ended("versions", old)
        job.open("gate")
        shell.run("resume", "versions", old, "--watch")
        assert set(job.noted("version")) == {1}
        new = shell.run("submit", by_name, *sets, "--watch", "-o", "json").json()["job_status"]
        assert set(job.noted("version")) == {1, 2}
        assert new["api_id"] != shell.status("versions", old)["api_id"]
