"""What a client may send, and what of it the replica sees (spec/verda.md section 3.2)."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from verda.inference_client import InferenceClientError

from tests.acceptance.command import Terminal, until
from tests.acceptance.verda.kit import Deployed, Verda, completed, serving_verda

LIMIT = 64 * 2**20


@pytest.fixture(scope="module")
def deployed(verda: Verda) -> Iterator[Deployed]:
    with verda.deployed("taker", replicas=4) as opened:
        yield opened


def seen(deployed: Deployed, id: str) -> tuple[str, str, dict[str, str], str]:
    """Method, target, headers and the body's digest, as the replica had them."""
    completed(deployed.execution(id))
    [[_, _, method, target, headers, digest]] = [note for note in deployed.notes("began") if note[1] == id]
    return method, target, dict(headers), digest


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "REPORT"])
def test_any_method(deployed: Deployed, method: str) -> None:
    assert deployed.request(method, "/echo", X_Inference_Id=f"method-{method}").status == 202
    assert seen(deployed, f"method-{method}")[0] == method


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("?a=b", "/?a=b"),
        ("/?a=b", "/?a=b"),
        ("/deeply/nested/echo", "/deeply/nested/echo"),
        ("/with%2Fescapes/%C3%A4?q=%20&q=+&r", "/with%2Fescapes/%C3%A4?q=%20&q=+&r"),
        ("//double//slashes/", "//double//slashes/"),
        ("/health/deeper", "/health/deeper"),
        ("/line%0Aend%0A", "/line%0Aend%0A"),
        ("/status/taker", "/status/taker"),
    ],
)
def test_any_path_and_query_as_they_were_sent(deployed: Deployed, path: str, target: str) -> None:
    id = "path-" + hashlib.sha256(path.encode()).hexdigest()
    assert deployed.request("POST", path, b"x", X_Inference_Id=id).status == 202
    assert seen(deployed, id)[1] == target


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"a": 1}', "application/json"),
        (bytes(range(256)) * 4096, "application/octet-stream"),
        (b"", "text/plain"),
        (b"a=b", "multipart/x"),
    ],
)
def test_any_body_and_type(deployed: Deployed, body: bytes, content_type: str) -> None:
    id = "body-" + content_type.replace("/", "-")
    assert deployed.request("POST", "/echo", body, X_Inference_Id=id, Content_Type=content_type).status == 202
    _, _, headers, digest = seen(deployed, id)
    assert (headers["content-type"], digest) == (content_type, hashlib.sha256(body).hexdigest())
    answer = deployed.fetch("result", id)
    assert (answer.type, answer.body) == (content_type, body)


def test_a_body_in_chunks(deployed: Deployed) -> None:
    assert deployed.request("POST", "/echo", iter([b"one", b"two"]), X_Inference_Id="chunks").status == 202
    _, _, headers, digest = seen(deployed, "chunks")
    assert (headers["content-length"], digest) == ("6", hashlib.sha256(b"onetwo").hexdigest())
    assert "transfer-encoding" not in headers


def test_headers_that_are_the_replicas_and_those_that_are_not(deployed: Deployed) -> None:
    sent = {
        "X-Inference-Id": "headers",
        "X-My-Own": "kept",
        "Accept": "text/csv",
        "User-Agent": "mine",
        "Cookie": "a=b",
        "Connection": "X-Hop",
        "X-Hop": "dropped",
        "Keep-Alive": "timeout=5",
        "TE": "trailers",
        "Proxy-Authorization": "Basic Zm9v",
        "Prefer": "respond-async",
        "X-Cortex-Authorization": "a-secret-of-the-gateway",
    }
    answer = deployed.verda.gateway.request("POST", "/taker/echo", b"{}", headers=sent)
    assert answer.status == 202
    headers = seen(deployed, "headers")[2]
    assert {name: headers.get(name) for name in ("x-my-own", "accept", "user-agent", "cookie", "x-inference-id")} == {
        "x-my-own": "kept",
        "accept": "text/csv",
        "user-agent": "mine",
        "cookie": "a=b",
        "x-inference-id": "headers",
    }
    gone = {"authorization", "x-cortex-authorization", "prefer", "x-hop", "keep-alive", "te", "proxy-authorization"}
    assert gone.isdisjoint(headers)
    assert deployed.verda.key not in str(headers)


@pytest.mark.parametrize(
    ("prefer", "forwarded", "has_body"),
    [
        (None, None, True),
        ("respond-async", None, True),
        ("Respond-Async, wait=10", "wait=10", True),
        ("respond-async-container", None, True),
        ("respond-async-proxy", "respond-async", False),
        ("respond-async-proxy, handling=lenient", "handling=lenient, respond-async", False),
        ("return=minimal", "return=minimal", True),
    ],
)
def test_preferences(deployed: Deployed, prefer: str | None, forwarded: str | None, has_body: bool) -> None:
    id = "prefer-" + hashlib.sha256(str(prefer).encode()).hexdigest()
    answer = deployed.request("POST", "/echo", b"{}", X_Inference_Id=id, **({"Prefer": prefer} if prefer else {}))
    assert (answer.status, answer.headers["X-Inference-Id"], answer.headers["Location"]) == (202, id, "/result/taker")
    if has_body:
        assert answer.json() == {"Id": id, "StatusPath": "/status/taker", "ResultPath": "/result/taker"}
    else:
        assert answer.body == b""
    assert seen(deployed, id)[2].get("prefer") == forwarded


def test_the_sdk_without_a_response_and_in_one_go(deployed: Deployed) -> None:
    before = len(deployed.began())
    assert deployed.inference.run({"n": 1}, path="echo", no_response=True) is None
    answer = deployed.inference.run_sync({"n": 2}, path="echo")
    assert (answer.status_code, answer.output()["StatusPath"]) == (202, "/status/taker")
    completed(deployed.execution(answer.output()["Id"]))
    until(lambda: len(deployed.began()) == before + 2, "both calls to reach a replica", deployed.began)


def test_an_id_is_made_if_none_is_given(deployed: Deployed) -> None:
    ids = {deployed.run("echo").id for _ in range(3)}
    assert len(ids) == 3
    for id in ids:
        assert str(uuid.UUID(id)) == id
        assert seen(deployed, id)[2]["x-inference-id"] == id


@pytest.mark.parametrize("id", ["a", "A-Z_a.z:0~9", "x" * 128])
def test_a_good_id(deployed: Deployed, id: str) -> None:
    assert completed(deployed.run("echo", id=id)) is None


@pytest.mark.parametrize("id", ["", " ", "a b", "a/b", "ä", "x" * 129, "a,b", "{a}"])
def test_a_bad_id(deployed: Deployed, id: str) -> None:
    answer = deployed.request("POST", "/echo", b"{}", X_Inference_Id=id)
    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")


def test_an_id_that_is_kept_is_a_conflict_and_changes_nothing(deployed: Deployed) -> None:
    first = deployed.run("echo", {"n": 1}, id="twice")
    assert completed(first) is None
    answer = deployed.request("POST", "/echo", b'{"n": 2}', X_Inference_Id="twice")
    assert (answer.status, answer.json()["code"]) == (409, "conflict")
    with pytest.raises(InferenceClientError, match="409"):
        deployed.run("echo", {"n": 3}, id="twice")
    assert first.result() == {"n": 1}
    assert deployed.began().count("twice") == 1


def test_an_id_is_of_one_deployment(deployed: Deployed) -> None:
    with deployed.verda.deployed("other-taker") as other:
        for number, one in enumerate((deployed, other)):
            assert completed(one.run("echo", {"n": number}, id="of-both")) is None
        assert [one.execution("of-both").result() for one in (deployed, other)] == [{"n": 0}, {"n": 1}]
        alone = deployed.run("echo", id="of-one")
        assert completed(alone) is None
        assert [other.fetch(what, "of-one").status for what in ("status", "result")] == [404, 404]


def test_the_health_path_starts_nothing(verda: Verda) -> None:
    with verda.deployed("well") as deployed:
        assert deployed.inference.health().json() == {"status": "ok"}
        assert deployed.request("GET", "/health?deep=true").json() == {"status": "ok"}
        found = verda.jobs.get_by_name(deployed.name)
        found.containers[0].healthcheck.enabled = False
        verda.jobs.update(deployed.name, found)
        assert deployed.request("GET", "/health").json() == {"status": "ok"}
        head = deployed.request("HEAD", "/health")
        assert (head.status, head.body) == (200, b"")
        assert deployed.notes("up") == []
        assert deployed.request("POST", "/health", b"", X_Inference_Id="a-call").status == 202  # whatever the app makes of it
        completed(deployed.execution("a-call"))


def test_an_unknown_deployment(verda: Verda) -> None:
    for path in ("/nobody", "/nobody/job", "/nobody/health"):
        answer = verda.gateway.request("POST", path)
        assert (answer.status, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "//taker/echo",
        "/%74aker/echo",
        "/taker%2Fecho",
        "/../taker",
        "/%00",
        "/TAKER",
        "/status",
        "/status/",
        "/status/..",
        "/result/%FF",
    ],
)
def test_what_only_looks_like_a_deployment(deployed: Deployed, target: str) -> None:
    before = len(deployed.began())
    answer = deployed.verda.gateway.request("GET", target, headers={"X-Inference-Id": "nobody"})
    assert (answer.status, answer.json()["code"], set(answer.json())) == (404, "not_found", {"code", "message"})
    assert len(deployed.began()) == before


def test_a_body_up_to_the_limit_and_no_larger(shell: Terminal) -> None:
    with serving_verda(shell, BATCHFLOW_MAX_CALL_BYTES="1000") as verda, verda.deployed("bounded") as deployed:
        assert deployed.request("POST", "/echo", b"x" * 1000, X_Inference_Id="whole").status == 202
        assert completed(deployed.execution("whole")) is None
        for body in (b"x" * 1001, iter([b"x" * 1001])):
            answer = deployed.request("POST", "/echo", body, X_Inference_Id="too-large")
            assert (answer.status, set(answer.json())) == (413, {"code", "message"})
        assert deployed.fetch("status", "too-large").status == 404
        assert deployed.request("POST", "/echo", b"x", X_Inference_Id="too-large").status == 202  # nothing of it stayed
        assert completed(deployed.run("typeless?bytes=1000")) is None
        assert completed(deployed.run("typeless?bytes=1001")) == "container replied with more than 1000 bytes"


def test_large_bodies_stay_out_of_memory(verda: Verda) -> None:
    def content() -> Iterator[bytes]:
        for _ in range(LIMIT // 2**16):
            yield bytes(2**16)

    with verda.deployed("heavy", replicas=1) as deployed:
        before = verda.gateway.memory_peak_bytes()
        for number in range(3):
            assert deployed.request("POST", "/echo", content(), X_Inference_Id=f"heavy-{number}").status == 202
        digest = hashlib.sha256(bytes(LIMIT)).hexdigest()
        for number in range(3):
            assert seen(deployed, f"heavy-{number}")[3] == digest
            assert len(deployed.fetch("result", f"heavy-{number}").body) == LIMIT
        assert verda.gateway.memory_peak_bytes() - before < LIMIT


def test_a_client_that_goes_away_leaves_nothing(deployed: Deployed) -> None:
    connection = deployed.verda.gateway.connect()
    connection.putrequest("POST", "/taker/echo")
    for name, value in {"Authorization": f"Bearer {deployed.verda.key}", "X-Inference-Id": "gone", "Content-Length": "100000"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"x" * 10)
    connection.close()
    answer: Any = deployed.request("POST", "/echo", b"{}", X_Inference_Id="gone")
    assert answer.status == 202
    assert completed(deployed.execution("gone")) is None
