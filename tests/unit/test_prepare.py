"""What `prepare` puts where, and which zips it refuses."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchflow import contract
from batchflow.errors import InvalidInput, NotFound
from batchflow.prepare import prepare, unpack
from batchflow.records import JobRef, SubmissionRecord, job_document
from batchflow.settings import Settings
from batchflow.spec.project import MAX_PROJECT_BYTES
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import ApiRecords, JobRecords
from batchflow.store.open import open_sources

JOB = JobRef("an-api", "7" * 16)
POD = {"pod": {"containers": [{"name": "c", "image": "i", "command": ["x"]}]}}
SOURCES = open_sources(Settings())
HANDLER = {"handler": {"type": "python", "path": "handler.py", "config": {"n": 1}}}


def zipped(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def stored_job(folder: Path, api: dict[str, Any], project: bytes | None, *, total: int = 3) -> tuple[JobRecords, ApiRecords]:
    store = DirectoryStore(folder)
    records, apis = JobRecords(store, JOB), ApiRecords(store)
    sha256 = None
    if project is not None:
        sha256 = hashlib.sha256(project).hexdigest()
        apis.save_project(sha256, project)
    apis.save(JOB.api, "id", {"api": {"name": JOB.api, "kind": "BatchAPI", **api}, "project": sha256, "has_hook": True})
    submission = SubmissionRecord(JOB.api, "id", JOB.job_id, "2026-01-01T00:00:00Z", {"workers": 1})
    records.create_submission(submission)
    records.create_document(job_document(submission, total_batch_count=total))
    return records, apis


def pod_paths(root: Path) -> dict[str, str]:
    return {
        contract.ENV_JOB_DOCUMENT: f"{root}/cortex/spec/job.json",
        contract.ENV_JOB_SPEC: f"{root}/mnt/spec/batch.json",
        contract.ENV_API_SPEC: f"{root}/mnt/spec/spec.json",
        contract.ENV_PROJECT: f"{root}/mnt/project",
        contract.ENV_RUNTIME: f"{root}/mnt/runtime",
        contract.ENV_VENVS: f"{root}/mnt/venvs",
        contract.ENV_MNT: f"{root}/mnt",
        contract.ENV_CLIENT_CONFIG: f"{root}/client",
    }


def test_a_container_gets_the_job_document_alone(tmp_path: Path) -> None:
    records, apis = stored_job(tmp_path / "store", POD, None)
    prepare(records, apis, SOURCES, pod_paths(tmp_path / "pod"))
    files = [path for path in (tmp_path / "pod").rglob("*") if path.is_file()]
    assert files == [tmp_path / "pod/cortex/spec/job.json"]
    assert files[0].read_bytes() == records.document()


JOB_JSON = """\
{
  "job_id": "7777777777777777",
  "api_name": "an-api",
  "kind": "BatchAPI",
  "workers": 1,
  "sqs_dead_letter_queue": {
    "arn": "arn:aws:sqs:eu-west-1:123456789012:failed.fifo",
    "max_receive_count": 3
  },
  "config": {
    "é": []
  },
  "timeout": null,
  "api_id": "id",
  "sqs_url": "https://sqs/q",
  "start_time": "2026-01-01T00:00:00Z"
}"""


def test_the_job_document_is_cortexs_byte_for_byte(tmp_path: Path) -> None:
    """Without a total if there is no batch; the store's own copy says 0."""
    records, apis = stored_job(tmp_path / "store", POD, None)
    queue = {"arn": "arn:aws:sqs:eu-west-1:123456789012:failed.fifo", "max_receive_count": 3}
    body = {"workers": 1, "sqs_dead_letter_queue": queue, "config": {"é": []}}
    submission = SubmissionRecord(JOB.api, "id", JOB.job_id, "2026-01-01T00:00:00Z", body)
    records.store.delete([f"{records.prefix}job.json"])
    records.create_document(job_document(submission, sqs_url="https://sqs/q", total_batch_count=0))
    prepare(records, apis, SOURCES, pod_paths(tmp_path))
    assert (tmp_path / "cortex/spec/job.json").read_text() == JOB_JSON
    assert records.request_and_total()[1] == 0


@pytest.mark.parametrize("key", ["handler", "predictor"])
def test_a_handlers_job_document_has_the_ids_of_its_generation(tmp_path: Path, key: str) -> None:
    records, apis = stored_job(tmp_path / "store", {key: HANDLER["handler"]}, zipped(("handler.py", b"x")), total=0)
    prepare(records, apis, SOURCES, pod_paths(tmp_path))
    document = json.loads((tmp_path / "mnt/spec/batch.json").read_bytes())
    assert [*document][7:] == ["api_id", "spec_id", f"{key}_id", "sqs_url", "total_batch_count", "start_time"]
    assert (document["spec_id"], document[f"{key}_id"], document["total_batch_count"]) == ("id", "id", 0)


CLIENT = {"batchflow": {"cortex_client": True}}


@pytest.mark.parametrize("code", [POD, HANDLER])
def test_an_api_that_asks_for_the_client_gets_its_configuration(tmp_path: Path, code: dict[str, Any]) -> None:
    records, apis = stored_job(tmp_path / "store", {**code, **CLIENT}, zipped(("handler.py", b"x")))
    environ = {**pod_paths(tmp_path), contract.ENV_GATEWAY_URL: "https://gateway:8888"}
    prepare(records, apis, SOURCES, environ)
    assert yaml.safe_load((tmp_path / "client/cli.yaml").read_text()) == {
        "default_environment": "default",
        "environments": [{"name": "default", "operator_endpoint": "https://gateway:8888"}],
    }


def test_who_asks_for_the_client_where_there_is_no_gateway_is_told(tmp_path: Path) -> None:
    records, apis = stored_job(tmp_path / "store", {**POD, **CLIENT}, None)
    with pytest.raises(InvalidInput, match=r"^BATCHFLOW_GATEWAY_URL: is not set, and the api has cortex_client: true; install the gateway"):
        prepare(records, apis, SOURCES, pod_paths(tmp_path))


def test_a_handler_gets_project_documents_and_runtime(tmp_path: Path) -> None:
    records, apis = stored_job(tmp_path / "store", HANDLER, zipped(("handler.py", b"x"), ("a/b.txt", b"y"), (entry("run", 0o100755), b"z")))
    for _ in range(2):  # Kubernetes may run init containers again
        prepare(records, apis, SOURCES, pod_paths(tmp_path))
    mnt = tmp_path / "mnt"
    assert {str(p.relative_to(mnt / "project")) for p in (mnt / "project").rglob("*")} == {"handler.py", "a", "a/b.txt", "run"}
    assert (mnt / "project/a/b.txt").read_text() == "y"
    assert (mnt / "project/run").stat().st_mode & 0o111 == 0o111
    assert json.loads((mnt / "spec/spec.json").read_bytes())["handler"] == HANDLER["handler"]
    assert (tmp_path / "cortex/spec/job.json").read_bytes() == records.document()
    assert (mnt / "runtime/batchflow_runtime/__main__.py").is_file()
    assert (mnt / "runtime/cortex_internal/lib/log.py").is_file()
    assert not (mnt / "runtime/batchflow_runtime/modules").exists()
    for folder in (mnt / "project", mnt / ".batchflow", mnt / "venvs"):  # the handler may run as any user
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777


def test_without_its_records_it_says_which_is_missing(tmp_path: Path) -> None:
    records, apis = stored_job(tmp_path / "store", HANDLER, None)
    with pytest.raises(InvalidInput, match="an-api: has a handler but no project files; deploy the api again"):
        prepare(records, apis, SOURCES, pod_paths(tmp_path))
    records.store.delete([f"{records.prefix}job.json"])
    with pytest.raises(NotFound, match=r"the job has no job\.json"):
        prepare(records, apis, SOURCES, pod_paths(tmp_path))


def damaged() -> bytes:
    data = bytearray(zipped((zipfile.ZipInfo("a"), b"content")))  # stored, not compressed
    data[data.index(b"content")] ^= 1
    return bytes(data)


def lying() -> bytes:
    """An entry that says it is 1 byte long and holds 64 MiB."""
    data = zipped(("a", bytes(2 * MAX_PROJECT_BYTES)))
    return data.replace((2 * MAX_PROJECT_BYTES).to_bytes(4, "little"), (1).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: zipped(("../a", b"")), r"holds the path '\.\./a'"),
        (lambda: zipped(("a/../../b", b"")), r"holds the path 'a/\.\./\.\./b'"),
        (lambda: zipped(("/etc/a", b"")), "holds the path '/etc/a'"),
        (lambda: zipped(("a\\..\\b", b"")), "holds the path"),
        (lambda: zipped(("C:/a", b"")), "holds the path 'C:/a'"),
        (lambda: zipped(("../", b"")), "holds the path"),
        (lambda: zipped((entry("link", stat.S_IFLNK | 0o777), b"/etc/passwd")), "link is a link or a device"),
        (lambda: zipped((entry("fifo", stat.S_IFIFO | 0o777), b"")), "fifo is a link or a device"),
        (lambda: zipped(("a", bytes(MAX_PROJECT_BYTES)), ("b", b"x")), "is larger than 32 MiB when unpacked"),
        (damaged, "is damaged"),
        (lying, "is damaged"),
        (lambda: b"no zip", "is not a zip file that can be read"),
    ],
)
def test_a_bad_zip_is_refused_whole(tmp_path: Path, make: Callable[[], bytes], error: str) -> None:
    data = make()
    with pytest.raises(InvalidInput, match=error):
        unpack(data, hashlib.sha256(data).hexdigest(), tmp_path / "project")
    assert list(tmp_path.iterdir()) == []


def test_a_zip_that_is_not_the_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not match its name"):
        unpack(zipped(("a", b"")), "0" * 64, tmp_path / "project")


def test_exactly_32_mib_are_unpacked(tmp_path: Path) -> None:
    data = zipped(("a", bytes(MAX_PROJECT_BYTES)))
    unpack(data, hashlib.sha256(data).hexdigest(), tmp_path)
    assert (tmp_path / "a").stat().st_size == MAX_PROJECT_BYTES
