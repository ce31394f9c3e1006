"""The OpenAPI document tells the truth, and no request makes an error of the gateway's own: fuzzing by schemathesis and hypothesis.

For a longer run: `GATEWAY_FUZZ_EXAMPLES=1000 GATEWAY_FUZZ_SEED=2 python -m pytest tests/acceptance/gateway/test_openapi.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.acceptance.command import Json, Terminal
from tests.acceptance.gateway.kit import Answer, Gateway, item_list, pod, serving
from tests.acceptance.gateway.s3 import serving_with_s3

EXAMPLES = int(os.environ.get("GATEWAY_FUZZ_EXAMPLES", "25"))  # of each operation
SEED = int(os.environ.get("GATEWAY_FUZZ_SEED", "1"))
LIMIT_S = 60 + 20 * EXAMPLES  # bounds a run that hangs
TOKEN = "ours-0123456789abcdef"
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "negative_data_rejection", "allow_header_conformance"),
)


def fuzz(gateway: Gateway, folder: Path, *arguments: str, parameters: Json | None = None, checks: tuple[str, ...] = CHECKS) -> None:
    """Run schemathesis over the document that the gateway serves; `parameters` are the same in every request."""
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in (parameters or {}).items()]
    (folder / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{gateway.port}/openapi.json"]
    options = ["--checks", ",".join(checks), "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", str(SEED)]
    bounds = ["--request-timeout", "30", "--no-color", "--warnings", "off"]
    done = subprocess.run(
        [*command, *options, *bounds, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]


def test_a_gateway_without_apis_answers_as_documented(shell: Terminal, tmp_path: Path) -> None:
    with serving(shell) as gateway:
        fuzz(gateway, tmp_path)


def test_an_api_answers_dry_runs_and_questions_as_documented(shell: Terminal, moto: str, tmp_path: Path) -> None:
    with serving_with_s3(shell, moto) as gateway:
        gateway.deploy(pod("fuzzed")).ok()
        gateway.ended("fuzzed", gateway.submit("fuzzed"))
        same = {"path.api": "fuzzed", "path.endpoint": "fuzzed", "query.dryRun": "true"}
        fuzz(gateway, tmp_path, "--exclude-path", "/delete/{api}", "--exclude-path", "/deploy", parameters=same)
        assert len(gateway.job_ids("fuzzed")) == 1


def test_without_a_token_it_answers_as_documented(shell: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "credentials.yaml"
    file.write_text(f"tokens: [{{token: {TOKEN}, namespace: ours}}]")
    with serving(shell, token=TOKEN, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        document = gateway.get("/openapi.json").ok()
        (tmp_path / "openapi.json").write_text(json.dumps(document))
        assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} >= {"http"}
        for path, operations in document["paths"].items():
            for method in operations:
                answer = gateway.request(method.upper(), path.replace("{", "").replace("}", ""), b"{}", token="")
                assert answer.status == (200 if path == "/healthz" else 401), (method, path)
                assert str(answer.status) in operations[method]["responses"], (method, path)


@pytest.fixture(scope="module")
def shared(shared_shell: Terminal, moto: str) -> Iterator[Gateway]:
    with serving_with_s3(shared_shell, moto) as opened:
        opened.deploy(pod("fuzzed")).ok()
        yield opened
        assert opened.job_ids("fuzzed") == []


def conforms(document: Json, method: str, path: str, answer: Answer) -> None:
    pointer = f"#/paths/{path.replace('~', '~0').replace('/', '~1')}/{method}/responses/{answer.status}/content/application~1json/schema"
    Draft202012Validator({**document, "$ref": pointer.replace("{", "%7B").replace("}", "%7D")}).validate(answer.json())


def test_every_document_of_success_is_as_documented(shell: Terminal) -> None:
    with serving(shell) as gateway:
        document = gateway.get("/openapi.json").ok()
        conforms(document, "post", "/deploy", gateway.deploy(pod("one")))
        submitted = gateway.post("/batch/one", item_list(config={"a": 1}, timeout=3600))
        conforms(document, "post", "/batch/{api}", submitted)
        job_id = submitted.ok()["job_id"]
        conforms(document, "get", "/batch/{api}", gateway.get(f"/batch/one?jobID={job_id}"))
        gateway.ended("one", job_id)
        conforms(document, "get", "/{endpoint}", gateway.get(f"/one?jobID={job_id}"))
        conforms(document, "get", "/get", gateway.get("/get"))
        conforms(document, "get", "/get/{api}", gateway.get("/get/one"))
        conforms(document, "delete", "/batch/{api}", gateway.delete(f"/batch/one?jobID={job_id}"))
        conforms(document, "post", "/refresh/{api}", gateway.request("POST", "/refresh/one"))
        conforms(document, "delete", "/delete/{api}", gateway.delete("/delete/one"))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("s3://bucket/a"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
COUNT = st.integers(-2, 5) | ANY
FILES = st.fixed_dictionaries(
    {}, optional={"s3_paths": st.lists(ANY) | ANY, "includes": ANY, "excludes": st.lists(ANY) | ANY, "batch_size": COUNT}
)
SUBMISSION = st.fixed_dictionaries(
    {},
    optional={
        "workers": COUNT,
        "timeout": COUNT,
        "config": ANY,
        "sqs_dead_letter_queue": ANY | st.fixed_dictionaries({}, optional={"arn": ANY, "max_receive_count": COUNT}),
        "item_list": ANY | st.fixed_dictionaries({}, optional={"items": st.lists(ANY) | ANY, "batch_size": COUNT}),
        "file_path_lister": ANY | FILES,
        "delimited_files": ANY | FILES,
        "unknown": ANY,
    },
)


def bounded(test: Any) -> Any:
    """The same examples in every run, unless a longer one is asked for."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return seed(SEED)(settings(max_examples=10 * EXAMPLES, database=None, deadline=None, suppress_health_check=slow)(test))


def is_an_answer(gateway: Gateway, answer: Answer) -> None:
    """A refusal in the documented form, with nothing of this machine in it."""
    assert answer.status in (400, 404, 405), answer
    assert {"kind", "message"} <= set(answer.json())
    assert gateway.store not in answer.text and "Traceback" not in answer.text


@bounded
@given(SUBMISSION | ANY)
def test_any_json_is_answered(shared: Gateway, document: Any) -> None:
    answer = shared.post("/batch/fuzzed?dryRun=true", document)
    if answer.status != 200 and answer.type.startswith("text/plain"):
        assert answer.status == 400 and answer.text.startswith("\n") and answer.text.endswith("\n") and len(answer.text) > 2
    elif answer.status != 200:
        is_an_answer(shared, answer)
    else:
        assert answer.text.endswith("validations passed")


@bounded
@given(st.binary(max_size=300), st.sampled_from(["/batch/fuzzed?dryRun=true", "/batch/nobody", "/fuzzed?dryRun=true", "/deploy"]))
def test_any_bytes_are_answered(shared: Gateway, body: bytes, path: str) -> None:
    is_an_answer(shared, shared.post(path, body, headers={"Content-Type": "application/yaml"}))


@bounded
@given(st.text(max_size=60) | st.binary(max_size=60), st.text(max_size=60) | st.binary(max_size=60), st.sampled_from(["GET", "DELETE"]))
def test_any_name_is_answered(shared: Gateway, api: str | bytes, job_id: str | bytes, method: str) -> None:
    names = [quote(name if isinstance(name, bytes) else name.encode("utf-8", "surrogatepass"), safe="") for name in (api, job_id)]
    for path in (f"/batch/{names[0]}?jobID={names[1]}", f"/batch/fuzzed?jobID={names[1]}", f"/{names[0]}/{names[1]}", f"/get/{names[1]}"):
        if path not in ("/get/", "/get/fuzzed", "/get"):
            is_an_answer(shared, shared.request(method, path))
