"""`import batchflow`: what it exports, how little it costs, and what it shows in a notebook."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import batchflow
from batchflow.client import Services
from batchflow.settings import Settings
from batchflow.status.model import BatchMetrics, WorkerCounts
from tests.unit.stored_jobs import ago, ended, version

STATUS = batchflow.JobStatus("0123456789abcdef", "digits", "v", 2, "running", "2026-11-22T10:58:55Z", total_batch_count=20)


class Shown(HTMLParser):
    """The cells of a table by their heads, its caption, and the attributes of its bar."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.bar: dict[str, str | None] = {}
        self.tags: list[str] = []
        self._tag = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._tag = tag
        if tag == "progress":
            self.bar = dict(attrs)

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._tag, []).append(data)


def test_every_public_name_is_there_and_the_list_is_sorted() -> None:
    assert sorted(batchflow.__all__) == batchflow.__all__
    for name in batchflow.__all__:
        assert getattr(batchflow, name).__module__.startswith("batchflow"), name
    assert set(batchflow.__all__) <= set(dir(batchflow))
    with pytest.raises(AttributeError, match="module 'batchflow' has no attribute 'sbmit'"):
        batchflow.sbmit  # type: ignore[attr-defined]  # noqa: B018


def test_every_public_error_is_one() -> None:
    errors = [getattr(batchflow, name) for name in batchflow.__all__ if isinstance(getattr(batchflow, name), type)]
    assert {error.__name__ for error in errors if issubclass(error, Exception)} == {
        *("BatchflowError", "Conflict", "HandlerDown", "InvalidInput", "NotFound", "SeveralErrors", "Unreachable")
    }


def test_importing_it_imports_none_of_what_is_slow() -> None:
    slow = {"hera", "boto3", "kubernetes", "fastapi", "yaml", "orjson", "batchflow.client"}
    code = f"import batchflow, sys; print(*({slow} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout == "\n"


def test_a_status_in_a_notebook() -> None:
    status = replace(
        STATUS,
        message="worker 1: <b>waits</b> & waits",
        batches_failed=3,
        batch_metrics=BatchMetrics(9, 3),
        worker_counts=WorkerCounts(pending=1, running=1),
    )
    shown = Shown(status._repr_html_())
    assert shown.bar == {"max": "20", "value": "12"}
    assert shown.texts["caption"] == ["digits 0123456789abcdef"]
    assert shown.texts["th"] == ["status", "message", "failed batches", "workers", "start time", "batches"]
    assert "".join(shown.texts["td"]) == "runningworker 1: <b>waits</b> & waits31 pending, 1 running2026-11-22T10:58:55Z"
    assert "12 of 20 batches" in status._repr_html_()
    assert "b" not in shown.tags


@pytest.mark.parametrize("status", [replace(STATUS, status="enqueuing"), replace(STATUS, total_batch_count=0)])
def test_without_a_total_there_is_no_bar(status: batchflow.JobStatus) -> None:
    assert "<progress" not in status._repr_html_()


def test_what_was_handled_twice_does_not_overflow_the_bar() -> None:
    shown = Shown(replace(STATUS, batch_metrics=BatchMetrics(25))._repr_html_())
    assert shown.bar == {"max": "20", "value": "20"}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(Settings.from_env({"BATCHFLOW_STORE": str(tmp_path / "store")}, local=True))


def test_a_job_in_a_notebook(services: Services) -> None:
    ref = ended(services, "api", version(services, "api"), ago(hours=1))
    job = batchflow.Job(services, "api", ref.job_id)
    assert job._repr_html_() == job.status()._repr_html_()
    assert Shown(job._repr_html_()).texts["td"][0] == "succeeded"


def test_a_job_that_can_not_be_read_shows_why_and_its_repr_asks_nobody(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    for store in (tmp_path / "empty", blocked):
        services = Services(Settings.from_env({"BATCHFLOW_STORE": str(store)}, local=True))
        job = batchflow.Job(services, "api", "0123456789abcdef")
        shown = Shown(job._repr_html_())
        assert (shown.texts["caption"], shown.texts["th"]) == (["api 0123456789abcdef"], ["error"])
        assert repr(batchflow.Job(services, "not <a> name", "x")) == "Job('not <a> name', 'x')"
    odd = Shown(batchflow.Job(services, "<b>", "x")._repr_html_())
    assert "b" not in odd.tags
