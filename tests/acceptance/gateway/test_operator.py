"""The operator's endpoints: deploy, get, delete, refresh (spec/cortex.md section 6, "API view")."""

from __future__ import annotations

import io
import json
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import HANG_S, Json, Terminal, terminal, until
from tests.acceptance.gateway.kit import Answer, Gateway, archive, files_of, handler, item_list, pod, serving

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
EMPTY_HANDLER = "class Handler:\n    def __init__(self, config): pass\n    def handle_batch(self, payload): pass\n"


@pytest.fixture
def gateway(shell: Terminal) -> Iterator[Gateway]:
    with serving(shell) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(shared_shell: Terminal) -> Iterator[Gateway]:
    """For what is refused, and so leaves it as it was: without any api."""
    with serving(shared_shell) as opened:
        yield opened
        assert opened.get("/get").ok() == []
        assert not list(shared_shell.folder.rglob("evil*"))


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


@pytest.mark.parametrize("name", ["../../etc/passwd", "%2Fetc%2Fpasswd", "..%2F..%2Fa", "%00", "a%00b", "..", ".", "%2F", "a" * 300, "%ff"])
def test_odd_file_names_are_only_names(gateway: Gateway, name: str) -> None:
    answer = gateway.deploy(handler("one"), files={"handler.py": EMPTY_HANDLER}, query=f"?configFileName={name}")
    assert answer.status in (200, 400), answer
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


def is_error(answer: Answer, kind: str, message: str) -> None:
    assert (answer.status, answer.type) == (400, "application/json"), answer
    assert answer.json() == {"kind": kind, "message": message}


@pytest.mark.parametrize(("method", "path"), [("GET", "/get/nobody"), ("DELETE", "/delete/nobody"), ("POST", "/refresh/nobody")])
def test_an_api_that_is_not_deployed(shared: Gateway, method: str, path: str) -> None:
    is_error(shared.request(method, path), "resources.api_not_deployed", "nobody is not deployed")


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
        while not (self.folder / "open").exists():
            time.sleep(0.02)
"""


@pytest.mark.parametrize("keep", [True, False])
def test_delete_stops_the_jobs_and_keeps_what_it_is_told_to(gateway: Gateway, tmp_path: Path, keep: bool) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    gateway.deploy(handler("one"), files={"handler.py": SLOW}).ok()
    job_id = gateway.submit("one", item_list([1, 2, 3], config={"folder": str(notes)}))
    until(lambda: (notes / "began").exists(), "the job's first batch", gateway.log)
    (notes / "open").touch() if not keep else None
    answer = gateway.delete(f"/delete/one?keepCache={'true' if keep else 'false'}")
    assert (answer.status, answer.body) == (200, b'{"message":"deleting one"}')
    (notes / "open").touch()
    is_error(gateway.get("/get/one"), "resources.api_not_deployed", "one is not deployed")
    assert gateway.get("/get").ok() == [] and gateway.get("/one").status == 404
    if keep:
        status = until(lambda: stopped(gateway.shell.status("one", job_id)), "the job to end")
        assert status["status"] in ("stopped", "succeeded")
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


def refused(gateway: Gateway, answer: Answer, *words: str) -> None:
    """400 with one line about it, and nothing stored."""
    assert answer.status == 400, answer
    document = answer.json()
    assert list(document) == ["kind", "message"] and "\n" not in document["message"], document
    for word in words:
        assert word in document["message"], document
    assert gateway.store not in document["message"] and "/tmp" not in document["message"], "it tells where this machine has its files"
    assert not {name for name in files_of(Path(gateway.store)) if not name.startswith("local/")}


BAD_CONFIGS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", ""),
    "no YAML": (b"- name: [", "cortex.yaml"),
    "no list": (b"name: one", "cortex.yaml"),
    "a tag that makes an object": (b"- !!python/object/apply:os.system [id]", "cortex.yaml"),
    "anchors that grow": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)),
        "",
    ),
    "not UTF-8": (b"\xff\xfe\x00", ""),
    "NUL": (b"- name: a\0b", ""),
    "deep": (b"[" * 100_000, ""),
    "an unknown key": (json.dumps([{**pod("one"), "color": "red"}]).encode(), 'one (BatchAPI): key "color" is not supported'),
    "an unknown kind": (json.dumps([{**pod("one"), "kind": "RealtimeAPI"}]).encode(), "RealtimeAPI"),
    "the same name twice": (json.dumps([pod("one"), pod("one", networking={"endpoint": "b"})]).encode(), 'name "one"'),
    "the same endpoint twice": (json.dumps([pod("one"), pod("two", networking={"endpoint": "one"})]).encode(), '"/one"'),
    "text that Argo would expand": (
        json.dumps([pod("one", pod={"containers": [{"name": "a", "image": "{{b}}", "command": ["a"]}]})]).encode(),
        "one",
    ),
    "a good one and a bad one": (json.dumps([pod("one"), {"name": "two", "kind": "BatchAPI"}]).encode(), "two"),
    "a Handler without its project": (json.dumps([handler("one")]).encode(), "handler.py"),
    "a Handler's path out of it": (
        json.dumps([handler("one", handler={"type": "python", "path": "../handler.py"})]).encode(),
        "handler.py",
    ),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
@pytest.mark.parametrize("form", [True, False], ids=["form", "body"])
def test_a_bad_file_is_refused_whole(shared: Gateway, name: str, form: bool) -> None:
    content, words = BAD_CONFIGS[name]
    if form:
        answer = shared.send_form("/deploy", {"config": ("cortex.yaml", content)})
    else:
        answer = shared.request("POST", "/deploy", content, headers={"Content-Type": "application/yaml"})
    refused(shared, answer, words)


def link(target: str, name: str = "handler.py") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, target)
        packed.writestr("other.py", EMPTY_HANDLER)
    return buffer.getvalue()


def special(mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        info = zipfile.ZipInfo("special")
        info.create_system = 3
        info.external_attr = (mode | 0o666) << 16
        packed.writestr(info, "")
    return buffer.getvalue()


def named(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        for name in names:
            packed.writestr(name, "evil")
    return buffer.getvalue()


def bomb(megabytes: int, files: int = 1) -> bytes:
    """Zeros, of which a thousand become one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        for number in range(files):
            with packed.open(f"zeros-{number}", "w") as file:
                for _ in range(megabytes):
                    file.write(bytes(2**20))
    return buffer.getvalue()


def lying_bomb() -> bytes:
    """Says that it unpacks to ten bytes, and unpacks to 40 MiB."""
    data = bytearray(bomb(40))
    size = struct.pack("<I", 40 * 2**20)
    at = -1
    while (at := data.find(size, at + 1)) >= 0:
        data[at : at + 4] = struct.pack("<I", 10)
    return bytes(data)


def overlapping() -> bytes:
    """Many entries that share one compressed file, as quoted bombs do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        packed.writestr("zeros", bytes(2**20))
        zeros = packed.getinfo("zeros")
        for number in range(100):
            info = zipfile.ZipInfo(f"zeros-{number}")
            for name in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(info, name, getattr(zeros, name))
            packed.filelist.append(info)
            packed.NameToInfo[info.filename] = info
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(archive({"handler.py": EMPTY_HANDLER}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + offset] |= 1
    return bytes(data)


def bad_crc() -> bytes:
    data = bytearray(archive({"handler.py": EMPTY_HANDLER}))
    for signature, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = data.find(signature) + offset
        data[at] ^= 0xFF
    return bytes(data)


GOOD_ZIP = archive({"handler.py": EMPTY_HANDLER})
BAD_ZIPS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"hello" * 100,
    "a tar": lambda: b"handler.py" + bytes(502),
    "cut off": lambda: GOOD_ZIP[: len(GOOD_ZIP) // 2],
    "an empty archive": lambda: archive({}),
    "no handler in it": lambda: archive({"other.py": EMPTY_HANDLER}),
    "a link to a file of this machine": lambda: link("/etc/passwd"),
    "a link within": lambda: link("other.py"),
    "a link beside the handler": lambda: link("/etc", name="data"),
    "a device": lambda: special(stat.S_IFCHR),
    "a pipe": lambda: special(stat.S_IFIFO),
    "a way out": lambda: named("../evil.py"),
    "a way out further in": lambda: named("a/../../evil.py"),
    "an absolute path": lambda: named("/evil.py"),
    "a way out with backslashes": lambda: named("..\\evil.py"),
    "a drive": lambda: named("C:\\evil.py"),
    "a file below a file": lambda: named("handler.py/evil.py"),
    "too much": lambda: bomb(40),
    "too much in many files": lambda: bomb(4, files=10),
    "a bomb": lambda: bomb(300),
    "a bomb that lies": lying_bomb,
    "entries that overlap": overlapping,
    "encrypted": encrypted,
    "damaged": bad_crc,
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", BAD_ZIPS)
def test_a_bad_project_is_refused(shared: Gateway, name: str) -> None:
    before = shared.memory_peak_bytes()
    parts = {"config": ("cortex.yaml", json.dumps([handler("one")]).encode()), "project.zip": ("project.zip", BAD_ZIPS[name]())}
    answer = shared.send_form("/deploy", parts)
    refused(shared, answer)
    assert "root:" not in answer.text
    assert shared.memory_peak_bytes() < max(before, 150 * 2**20) + 200 * 2**20, "it unpacks in memory what it refuses"


def test_a_handler_twice_in_an_archive_is_refused_or_is_the_one_that_is_run(gateway: Gateway, tmp_path: Path) -> None:
    """What is checked is what runs."""
    buffer = io.BytesIO()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        packed.writestr("handler.py", HANDLER)
    parts = {"config": ("cortex.yaml", json.dumps([handler("one")]).encode()), "project.zip": ("project.zip", buffer.getvalue())}
    answer = gateway.send_form("/deploy", parts)
    assert answer.status in (200, 400)


FORMS: dict[str, dict[str, tuple[str, bytes]]] = {
    "nothing": {},
    "no config": {"project.zip": ("project.zip", GOOD_ZIP)},
    "another field": {"file": ("cortex.yaml", b"[]")},
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_without_a_file_is_refused(shared: Gateway, name: str) -> None:
    refused(shared, shared.send_form("/deploy", FORMS[name]), "config")


BODIES: dict[str, tuple[str, bytes]] = {
    "no content type": ("", b"- name: one"),
    "JSON": ("application/json", b"[]"),
    "a form of fields": ("application/x-www-form-urlencoded", b"config=a"),
    "no boundary": ("multipart/form-data", b"--x\r\n\r\n--x--\r\n"),
    "another boundary": ("multipart/form-data; boundary=y", b"--x\r\n\r\n--x--\r\n"),
    "a boundary of nothing": ("multipart/form-data; boundary=", b"----\r\n"),
    "no end": ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="config"; filename="a"\r\n\r\nabc'),
    "no disposition": ("multipart/form-data; boundary=x", b"--x\r\n\r\nabc\r\n--x--\r\n"),
    "a field, not a file": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="config"\r\n\r\n- a\r\n--x--\r\n',
    ),
    "very many parts": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 20_000 + b"--x--\r\n",
    ),
    "a very long header": ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: " + b"a" * 10**6 + b"\r\n\r\n\r\n--x--\r\n"),
}


@pytest.mark.parametrize("name", BODIES)
def test_an_odd_body_is_refused(shared: Gateway, name: str) -> None:
    content_type, body = BODIES[name]
    answer = shared.request("POST", "/deploy", body, headers={"Content-Type": content_type} if content_type else {})
    assert answer.status in (400, 415), answer
    assert {"kind", "message"} <= set(answer.json())


def test_what_is_refused_leaves_nothing_behind(gateway: Gateway) -> None:
    files = {"handler.py": EMPTY_HANDLER, "data": "x" * 1000}
    assert gateway.deploy(handler("one"), {"name": "two", "kind": "BatchAPI"}, files=files).status == 400
    assert gateway.deploy(handler("one", handler={"type": "python", "path": "nowhere.py"}), files=files).status == 400
    assert gateway.send_form("/deploy", {"config": ("cortex.yaml", b"- a"), "project.zip": ("project.zip", b"no zip")}).status == 400
    assert files_of(Path(gateway.store)) == {}


def test_an_archive_beyond_its_limit_is_not_taken_in(shared: Gateway) -> None:
    parts = {"config": ("cortex.yaml", b"[]"), "project.zip": ("project.zip", bytes(80 * 2**20))}
    refused(shared, shared.send_form("/deploy", parts))


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


# Paths of the gateway's own. An api may be called so; it then has no path but /batch/<api>.
OWN = ["get", "deploy", "delete", "refresh", "batch", "healthz", "metrics", "docs"]


@pytest.mark.parametrize("name", OWN)
def test_an_api_can_not_hide_the_gateways_own_paths(gateway: Gateway, name: str) -> None:
    answer = gateway.deploy(pod(name))
    assert answer.status in (200, 400), answer
    assert gateway.get("/healthz").status == 200 and gateway.get("/get").status == 200 and gateway.get("/metrics").status == 200
    if answer.status == 200:
        assert gateway.post(f"/batch/{name}?dryRun=true", item_list()).text == "validations passed"
        assert gateway.delete(f"/delete/{name}").status == 200


@pytest.mark.parametrize(
    "endpoint", ["get/one", "openapi.json", "batch/two", "healthz", "delete/one", "refresh/one", "docs/oauth2-redirect"]
)
def test_nor_can_an_endpoint(gateway: Gateway, endpoint: str) -> None:
    answer = gateway.deploy(pod("one", networking={"endpoint": endpoint}), pod("two"))
    assert answer.status in (200, 400), answer
    assert gateway.get("/healthz").status == 200 and gateway.get("/get").status == 200 and gateway.get("/openapi.json").status == 200
    if answer.status == 200:
        assert [api["metadata"]["name"] for api in gateway.get("/get/one").ok()] == ["one"]
        assert gateway.post("/batch/two?dryRun=true", item_list()).text == "validations passed"


def test_two_deployments_at_once_leave_each_api_whole(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with terminal(tmp_path) as shell, serving(shell) as gateway:
        versions = [pod("one", networking={"endpoint": f"e{number}"}) for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            answers: list[Any] = list(pool.map(gateway.deploy, versions, timeout=HANG_S))
        assert [answer.status for answer in answers] == [200] * 8
        [api] = gateway.get("/get/one").ok()
        assert {**api["spec"], "id": None} in [{**version, "id": None} for version in versions]
        assert gateway.post(f"{api['endpoint'].removeprefix(f'http://127.0.0.1:{gateway.port}')}?dryRun=true", item_list()).status == 200
