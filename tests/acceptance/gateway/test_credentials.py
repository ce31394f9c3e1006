"""Tokens: without a good one nobody gets in, and nobody learns what is in another namespace."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import Terminal, until
from tests.acceptance.gateway.credentials_files import BROKEN_FILES, OURS, SPARE, THEIRS, key, write_tokens
from tests.acceptance.gateway.kit import Answer, Gateway, archive, form, item_list, pod, serving

NOBODY = "7fffffffffffffff"


@pytest.fixture
def file(shell: Terminal) -> Path:
    file = shell.folder / "credentials.yaml"
    write_tokens(file, **{key(OURS): "batchflow", key(THEIRS): "theirs"})
    return file


@pytest.fixture
def guarded(shell: Terminal, file: Path) -> Iterator[Gateway]:
    with serving(shell, token=OURS, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        yield gateway
        for token in (OURS, THEIRS, SPARE):
            assert token not in gateway.log() and token not in gateway.out.read_text(), "a token is in the log"


BAD: list[dict[str, str]] = [
    {},
    {"Authorization": f"Bearer {OURS}x"},
    {"Authorization": f"Bearer {OURS[:-1]}"},
    {"Authorization": f"Bearer {OURS.upper()}"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": ""},
    {"Authorization": f"Basic {OURS}"},
    {"Authorization": f"Bearer {OURS}, Bearer {OURS}"},
    {"Authorization": "Bearer \xff\xfe" + "é" * 20},
    {"Authorization": f"Bearer {'a' * 10_000}"},
    {"X-Cortex-Authorization": SPARE},
    {"X-Cortex-Authorization": ""},
    {"Cookie": f"token={OURS}"},
    {"Proxy-Authorization": f"Bearer {OURS}"},
]
REQUESTS = [
    *(("GET", path) for path in ("/", "/get", "/get/plain", "/get/nobody", "/metrics", "/openapi.json", "/docs", "/plain", "/nobody")),
    *(("GET", path) for path in (f"/batch/plain?jobID={NOBODY}", f"/batch/nobody?jobID={NOBODY}", "/batch/plain?token=" + OURS)),
    *(("POST", path) for path in ("/batch/plain", "/batch/nobody", "/plain?dryRun=true", "/deploy", "/refresh/plain", "/healthz2")),
    *(("DELETE", path) for path in (f"/batch/plain?jobID={NOBODY}", "/delete/plain", "/delete/nobody")),
    *(("PUT", "/batch/plain"), ("OPTIONS", "/batch/plain"), ("HEAD", "/get")),
]


def test_without_a_good_token_every_request_gets_the_same_answer(guarded: Gateway) -> None:
    guarded.deploy(pod("plain")).ok()
    first = guarded.get("/get", token="")
    assert (first.status, first.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert first.json() == {"kind": "unauthorized", "message": "a valid token or key is needed", "code": "unauthorized_request"}
    for method, path in REQUESTS:
        for headers in BAD:
            answer = guarded.request(method, path, b"{}" if method == "POST" else None, token="", headers=headers)
            assert answer.status == 401, (method, path, headers)
            assert method == "HEAD" or answer.same_as(first), (method, path, headers)
    assert guarded.get("/healthz", token="").status == 200
    assert guarded.get("/get/plain").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {OURS}"},
        {"authorization": f"bearer {OURS}"},
        {"X-Cortex-Authorization": OURS},
        {"X-Cortex-Authorization": OURS, "CortexAPIVersion": "0.42.1"},
    ],
)
def test_a_token_comes_in_either_header(guarded: Gateway, headers: dict[str, str]) -> None:
    assert guarded.get("/get", token="", headers=headers).ok() == []


def rewrite(file: Path, **namespaces: str) -> None:
    write_tokens(file, **namespaces)


def replace(file: Path, **namespaces: str) -> None:
    other = file.with_suffix(".new")
    write_tokens(other, **namespaces)
    other.rename(file)


def swap_link(file: Path, **namespaces: str) -> None:
    """As Kubernetes does with a mounted Secret: the file stays a link through `..data`, which is swapped."""
    folder = file.parent / f"..2024_{len(list(file.parent.glob('..2024*')))}"
    folder.mkdir()
    write_tokens(folder / file.name, **namespaces)
    link = file.parent / "..data_tmp"
    link.symlink_to(folder.name)
    link.rename(file.parent / "..data")


def mount(file: Path, **namespaces: str) -> None:
    """A Secret's first mount."""
    file.unlink()
    swap_link(file, **namespaces)
    file.symlink_to(Path("..data", file.name))


@pytest.mark.parametrize("change", [rewrite, replace, swap_link])
def test_a_change_of_the_file_counts_from_the_next_request_on(shell: Terminal, file: Path, change: Callable[..., None]) -> None:
    if change is swap_link:
        mount(file, **{key(OURS): "batchflow", key(THEIRS): "theirs"})
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        assert [gateway.get("/get", token=token).status for token in (OURS, THEIRS, SPARE)] == [200, 200, 401]
        change(file, **{key(THEIRS): "theirs"})
        assert [gateway.get("/get", token=token).status for token in (OURS, THEIRS, SPARE)] == [401, 200, 401]
        change(file, **{key(OURS): "theirs", key(THEIRS): "theirs", key(SPARE): "batchflow"})
        assert [gateway.get("/get", token=token).status for token in (OURS, THEIRS, SPARE)] == [200, 200, 200]


@pytest.fixture(scope="module")
def reading(shared_shell: Terminal) -> Iterator[tuple[Gateway, Path]]:
    """A gateway, and the file that it reads."""
    file = shared_shell.folder / "secret" / "credentials.yaml"
    file.parent.mkdir()
    write_tokens(file, **{key(OURS): "batchflow"})
    with serving(shared_shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        yield gateway, file


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_file_that_can_not_be_read_leaves_the_last_good_one_in_force(reading: tuple[Gateway, Path], name: str) -> None:
    gateway, file = reading
    lines = len(gateway.log().splitlines())
    BROKEN_FILES[name](file)
    assert [gateway.get("/get", token=token).status for token in (OURS, SPARE, OURS, SPARE)] == [200, 401, 200, 401]
    told = [line for line in gateway.log().splitlines()[lines:] if "credentials" in line and "can't be read" in line]
    assert len(told) == 1, gateway.log()
    assert SPARE[:8] not in gateway.log() and "12345678901234567" not in gateway.log()
    # Mended, it counts again.
    if file.parent.is_file():
        file.parent.unlink()
    file.parent.mkdir(exist_ok=True)
    if file.is_dir():
        file.rmdir()
    write_tokens(file, **{key(SPARE): "batchflow"})
    assert [gateway.get("/get", token=token).status for token in (OURS, SPARE)] == [401, 200]
    write_tokens(file, **{key(OURS): "batchflow"})
    assert [gateway.get("/get", token=token).status for token in (OURS, SPARE)] == [200, 401]


def as_seen(gateway: Gateway, job_id: str) -> list[tuple[str, Answer]]:
    """What the other namespace's token is answered about the api `hidden`, the endpoint /hidden/there and a job."""
    requests: list[tuple[str, str, bytes | None]] = [
        ("GET", "/get", None),
        ("GET", "/get/hidden", None),
        ("GET", "/hidden/there", None),
        ("GET", f"/hidden/there?jobID={job_id}", None),
        ("DELETE", f"/hidden/there?jobID={job_id}", None),
        ("POST", "/hidden/there", json.dumps(item_list()).encode()),
        ("POST", "/hidden/there?dryRun=true", b"bad json"),
        ("GET", "/hidden", None),
        ("GET", f"/batch/hidden?jobID={job_id}", None),
        ("DELETE", f"/batch/hidden?jobID={job_id}", None),
        ("POST", "/batch/hidden", json.dumps(item_list()).encode()),
        ("POST", "/batch/hidden?dryRun=true", b"bad json"),
        ("GET", f"/batch/own?jobID={job_id}", None),
        ("DELETE", f"/batch/own?jobID={job_id}", None),
        ("POST", "/refresh/hidden", None),
        ("DELETE", "/delete/hidden", None),
        ("DELETE", "/delete/hidden?keepCache=true", None),
        ("PUT", "/hidden/there", b"{}"),
        ("GET", "/openapi.json", None),
    ]
    return [(f"{method} {path}", gateway.request(method, path, body, token=THEIRS)) for method, path, body in requests]


def test_what_is_in_another_namespace_is_nowhere(guarded: Gateway) -> None:
    """Asked before and after it is there, each answer is the same to the byte."""
    guarded.deploy(pod("own"), token=THEIRS).ok()
    before = as_seen(guarded, NOBODY)
    guarded.deploy(pod("hidden", networking={"endpoint": "hidden/there"}), pod("own")).ok()
    job_id = guarded.submit("hidden")
    assert guarded.get(f"/hidden/there?jobID={job_id}").status == 200
    for (request, then), (_, now) in zip(before, as_seen(guarded, job_id), strict=True):
        renamed = Answer(now.status, now.headers, now.body.replace(job_id.encode(), NOBODY.encode()))
        assert renamed.same_as(then), f"{request}\n{then}\n{now}"
    assert "hidden" not in guarded.get("/metrics", token=THEIRS).text
    # Its own job is untouched, and the other may take the names that it doesn't know to be taken.
    assert guarded.ended("hidden", job_id)["status"] == "succeeded"
    guarded.deploy(pod("hidden", networking={"endpoint": "hidden/there"}), token=THEIRS).ok()
    assert [item["message"] for item in guarded.deploy(pod("hidden", networking={"endpoint": "hidden/there"})).ok()] == [
        "hidden (BatchAPI) is up to date"
    ]
    assert guarded.job_ids("hidden") == [job_id]


def test_the_same_key_in_two_namespaces_makes_two_jobs(guarded: Gateway) -> None:
    for token in (OURS, THEIRS):
        guarded.deploy(pod("plain"), token=token).ok()
    ids = [guarded.submit("plain", headers={"Idempotency-Key": "one"}, token=token) for token in (OURS, THEIRS)]
    assert [guarded.get(f"/batch/plain?jobID={job_id}", token=OURS).status for job_id in ids] == [200, 400]
    for job_id, token in zip(ids, (OURS, THEIRS), strict=True):
        assert guarded.ended("plain", job_id, token=token)["status"] == "succeeded"


def test_a_namespace_whose_last_token_was_replaced_keeps_its_jobs(guarded: Gateway, file: Path) -> None:
    guarded.deploy(pod("plain"), token=THEIRS).ok()
    job_id = guarded.submit("plain", token=THEIRS)
    write_tokens(file, **{key(SPARE): "theirs"})
    assert guarded.ended("plain", job_id, token=SPARE)["status"] == "succeeded"


def test_a_body_is_not_read_for_somebody_without_a_token(guarded: Gateway) -> None:
    """Else anybody could fill the disk."""
    connection = guarded.connect()
    connection.putrequest("POST", "/batch/plain")
    connection.putheader("Content-Length", str(10 * 2**20))
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_a_project_that_nobody_may_deploy_stores_nothing(guarded: Gateway) -> None:
    body, content_type = form({"config": ("cortex.yaml", b"[]"), "project.zip": ("project.zip", archive({"a": "b"}))})
    assert guarded.request("POST", "/deploy", body, headers={"Content-Type": content_type}, token=SPARE).status == 401
    assert not os.path.exists(guarded.store) or not os.listdir(guarded.store)


def test_the_log_tells_who_asked(guarded: Gateway) -> None:
    guarded.get("/get", token=THEIRS, headers={"X-Request-Id": "asked-by-them"})
    line = until(lambda: [line for line in guarded.log().splitlines() if "asked-by-them" in line], "the request's line", guarded.log)
    assert len(line) == 1 and "theirs" in line[0]
