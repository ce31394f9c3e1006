"""What is posted to /deploy and can't be deployed: bad files, bad archives, bad forms. Nothing of it is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import Terminal
from tests.acceptance.gateway.bad_archives import BAD_ZIPS, GOOD_ZIP
from tests.acceptance.gateway.kit import EMPTY_HANDLER, Answer, Gateway, files_of, handler, pod, serving


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


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", BAD_ZIPS)
def test_a_bad_project_is_refused(shared: Gateway, name: str) -> None:
    before = shared.memory_peak_bytes()
    parts = {"config": ("cortex.yaml", json.dumps([handler("one")]).encode()), "project.zip": ("project.zip", BAD_ZIPS[name]())}
    answer = shared.send_form("/deploy", parts)
    refused(shared, answer)
    assert "root:" not in answer.text
    assert shared.memory_peak_bytes() < max(before, 150 * 2**20) + 200 * 2**20, "it unpacks in memory what it refuses"


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
