"""get, logs and submit, asked while a job runs and after it ended."""

from __future__ import annotations

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.command import REPOSITORY, Job, Json, Result, Terminal, until

HANDLER = """\
    def handle(self, payload):
        print("handles", payload)
        if payload == [4, 5]:
            self.gate("gate")

    def on_job_complete(self):
        print("complete")
"""
MOMENTS = ("running", "ended")


class Seen:
    """What the commands said of one job at two moments: with its second batch in hand, and after its end."""

    def __init__(self, shell: Terminal) -> None:
        self.shell = shell
        # One worker and a second one that gets nothing; batches [1, 2, 3] and [4, 5], of which the second waits for the gate.
        self.job = Job(shell.folder, "seen", HANDLER, items=[1, 2, 3, 4, 5], batch_size=3, workers=1, timeout=3600)
        sets = ["--workers", "2", "--set", "config.threshold=0.5", "--set", "config.nested.name=hello"]
        self.submitted = shell.run("submit", self.job.file, *sets)
        self.id = self.submitted.lines()[0].split()[-1]
        self.job.wait_for("began", [4, 5])
        until(self._is_seen_running, "two workers, of which one is done with the first batch")
        follow = shell.start("logs", "seen", self.id, "--follow")
        self.said = {"running": self._ask()}
        self.same_again = shell.run("submit", self.job.file, *sets, "--job-id", self.id)
        self.job.open("gate")
        self.followed = shell.wait(follow)
        shell.ended("seen", self.id)
        self.said["ended"] = self._ask()

    def _is_seen_running(self) -> bool:
        status = self.shell.status("seen", self.id)
        counts = status.get("worker_counts") or {"running": 0, "succeeded": 0}
        return bool(status["batch_metrics"]["succeeded"] == 1 and counts["running"] + counts["succeeded"] == 2)

    def _ask(self) -> dict[str, Result]:
        get, logs = ("get", "seen", self.id), ("logs", "seen", self.id)
        commands: dict[str, tuple[str, ...]] = {
            "apis": ("get",),
            "apis json": ("get", "-o", "json"),
            "jobs": ("get", "seen"),
            "jobs json": ("get", "seen", "-o", "json"),
            "job": get,
            "job json": (*get, "-o", "json"),
            "job yaml": (*get, "-o", "yaml"),
            "failed": (*get, "--failed"),
            "logs": logs,
            "logs of worker 1": (*logs, "--worker", "1"),
            "logs of handlers": (*logs, "--container", "handler", "-o", "json"),
        }
        with ThreadPoolExecutor(2) as pool:
            return dict(zip(commands, pool.map(lambda command: self.shell.run(*command), commands.values()), strict=True))


@pytest.fixture(scope="module")
def seen(shared_shell: Terminal) -> Seen:
    return Seen(shared_shell)


def test_submit_says_how_to_ask_for_the_status(seen: Seen) -> None:
    assert seen.submitted.lines() == [f"submitted seen {seen.id}", f"status: batchflow get seen {seen.id} --local"]


def test_flags_win_over_the_file(seen: Seen) -> None:
    status = seen.said["ended"]["job json"].json()["job_status"]
    assert status["workers"] == 2
    assert status["config"] == {"folder": str(seen.job.notebook), "threshold": 0.5, "nested": {"name": "hello"}}
    assert status["timeout"] == 3600


@pytest.mark.parametrize(("moment", "running"), [("running", 1), ("ended", 0)])
def test_get_lists_the_apis(seen: Seen, moment: str, running: int) -> None:
    said = seen.said[moment]
    [view] = said["apis json"].json()
    [status] = view["batch_job_statuses"]
    assert (status["job_id"], status["status"] == "running") == (seen.id, bool(running))
    assert view["metadata"] == {"name": "seen", "kind": "BatchAPI", "id": status["api_id"], "last_updated": None}  # it is not deployed
    assert (view["spec"]["name"], view["endpoint"]) == ("seen", "/seen")
    assert re.fullmatch(r"batch api +running jobs +latest job id +last update", said["apis"].lines()[0])
    assert re.fullmatch(rf"seen +{running} +{seen.id} \(submitted \d+.* ago\) +-", said["apis"].lines()[1])


@pytest.mark.parametrize(("moment", "status"), [("running", "running"), ("ended", "succeeded")])
def test_get_lists_the_jobs_of_an_api(seen: Seen, moment: str, status: str) -> None:
    said = seen.said[moment]
    [view] = said["jobs json"].json()
    assert [(listed["job_id"], listed["status"]) for listed in view["batch_job_statuses"]] == [(seen.id, status)]
    head, line = said["jobs"].lines()
    assert re.fullmatch(r"job id +status +total batches +start time +duration", head)
    assert re.fullmatch(rf"{seen.id} +{status} +2 +\d.* UTC +\d.*", line)


@pytest.mark.parametrize(("moment", "status", "succeeded"), [("running", "running", 1), ("ended", "succeeded", 2)])
def test_get_shows_a_job(seen: Seen, moment: str, status: str, succeeded: int) -> None:
    text = seen.said[moment]["job"].out
    assert re.search(rf"^status: {status}$", text, re.M)
    assert re.search(rf"^2 +{succeeded} +0 +\d\S*s$", text, re.M)
    assert bool(re.search("^worker stats$", text, re.M)) == (moment == "running")
    assert bool(re.search("^end time:   -$", text, re.M)) == (moment == "running")
    configuration = json.loads(text.partition("job configuration\n")[2])
    assert (configuration["job_id"], configuration["workers"], configuration["total_batch_count"]) == (seen.id, 2, 2)


def test_yaml_reads_as_json_does(seen: Seen) -> None:
    said = seen.said["ended"]
    assert yaml.safe_load(said["job yaml"].out) == said["job json"].json()


def test_a_stream_of_yaml(seen: Seen) -> None:
    logs = ("logs", "seen", seen.id, "--container", "handler", "-o")
    entries = [json.loads(line) for line in seen.shell.run(*logs, "json").lines()]
    assert list(yaml.safe_load_all(seen.shell.run(*logs, "yaml").out)) == entries


def documented_keys() -> dict[str, str]:
    """docs/status.md's table of `job_status`: key, and when it is absent."""
    table = (REPOSITORY / "docs" / "status.md").read_text().partition("## `job_status`")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {key: when for keys, _, when in rows for key in re.findall(r"`([\w.]+)`", keys)}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_status_has_the_keys_that_the_documentation_lists_and_no_others(seen: Seen, moment: str) -> None:
    response: Json = seen.said[moment]["job json"].json()
    assert set(response) == {"job_status", "api_spec", "metrics", "endpoint"}
    status = response["job_status"]
    expected = set(documented_keys()) - ({"end_time"} if moment == "running" else {"worker_counts"})
    nested = {f"batch_metrics.{key}" for key in status["batch_metrics"]}
    assert (set(status) - {"batch_metrics"}) | nested == expected
    assert response["metrics"] == status["metrics"]
    assert response["endpoint"] == f"/seen?jobID={seen.id}"
    assert response["api_spec"]["name"] == "seen"


def test_the_numbers_of_a_running_job(seen: Seen) -> None:
    status = seen.said["running"]["job json"].json()["job_status"]
    assert status["worker_counts"]["running"] + status["worker_counts"]["succeeded"] == 2
    assert (status["total_batch_count"], status["batches_in_queue"], status["batches_without_outcome"]) == (2, 1, 1)
    assert status["batch_metrics"]["failed"] == status["batches_failed"] == 0
    assert status["message"] == ""


def test_the_numbers_of_a_job_that_ended(seen: Seen) -> None:
    status = seen.said["ended"]["job json"].json()["job_status"]
    assert (status["status"], status["run"], status["batches_in_queue"], status["batches_without_outcome"]) == ("succeeded", 1, 0, 0)
    assert status["batch_metrics"]["succeeded"] == status["metrics"]["succeeded"] == 2
    assert status["metrics"]["average_time_per_batch"] == status["batch_metrics"]["avg_time_per_batch"] > 0
    assert status["created_time"] == status["start_time"] <= status["end_time"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_no_failures_are_listed_where_there_are_none(seen: Seen, moment: str) -> None:
    assert seen.said[moment]["failed"].out == "no failed batches\n"


@pytest.mark.parametrize("moment", MOMENTS)
def test_logs_hold_every_container_so_far(seen: Seen, moment: str) -> None:
    lines = seen.said[moment]["logs"].lines()
    sources = {line.partition(" | ")[0] for line in lines}
    assert {"enqueue/main", "0/main", "1/main"} <= sources
    assert sum(line.endswith("| [batch 0] handles [1, 2, 3]") for line in lines) == 1
    assert sum(line.endswith("finalize/handler | complete") for line in lines) == (moment == "ended")


@pytest.mark.parametrize("moment", MOMENTS)
def test_logs_of_one_worker_or_container(seen: Seen, moment: str) -> None:
    said = seen.said[moment]
    lines = said["logs of worker 1"].lines()
    assert lines
    assert {line.partition("/")[0] for line in lines} == {"1"}
    objects = [json.loads(line) for line in said["logs of handlers"].lines()]
    assert {entry["container"] for entry in objects} == {"handler"}
    assert "[batch 1] handles [4, 5]" in [entry["text"] for entry in objects]


def test_logs_follow_to_the_end_of_the_job(seen: Seen) -> None:
    assert sorted(seen.followed.lines()) == sorted(seen.said["ended"]["logs"].lines())


def test_the_same_submission_under_the_same_id_is_the_same_job(seen: Seen) -> None:
    assert seen.same_again.lines()[0] == f"submitted seen {seen.id}"
    assert [job["job_id"] for job in seen.said["ended"]["jobs json"].json()[0]["batch_job_statuses"]] == [seen.id]
    assert len(seen.job.noted("began")) == 2


def test_another_submission_under_the_same_id_is_refused(seen: Seen) -> None:
    refused = seen.shell.run("submit", seen.job.file, "--job-id", seen.id, code=2)
    assert refused.out == ""
    assert refused.err == (
        f"batchflow: --job-id: job {seen.id} of seen is another submission "
        "(its input, its api or its project's files differ); choose another id\n"
    )
    assert [job["job_id"] for job in seen.shell.listed("seen")] == [seen.id]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["get", "nobody"], "nobody is not deployed"),
        (["get", "seen", "0123456789abcdef"], r"unable to find BatchAPI job 0123456789abcdef \(seen api\)"),
        (["logs", "seen", "0123456789abcdef"], r"unable to find BatchAPI job 0123456789abcdef \(seen api\)"),
        (["stop", "nobody", "0123456789abcdef"], r"unable to find BatchAPI job 0123456789abcdef \(nobody api\)"),
        (["resume", "seen", "0123456789abcdef"], r"unable to find BatchAPI job 0123456789abcdef \(seen api\)"),
        (["submit", "no-such-job.yaml"], "no-such-job.yaml: .*"),
    ],
)
def test_what_is_not_there_exits_3(shared_shell: Terminal, seen: Seen, arguments: list[str], text: str) -> None:
    refused = shared_shell.run(*arguments, code=3)
    assert refused.out == ""
    assert re.fullmatch(rf"batchflow: (.*: )?{text}(; [^\n]*)?\n", refused.err), refused.err


def test_a_misspelt_api_is_answered_with_the_one_that_may_be_meant(shared_shell: Terminal, seen: Seen) -> None:
    refused = shared_shell.run("get", "sean", code=3)
    assert refused.err == f'batchflow: {shared_shell.store}: sean is not deployed; did you mean "seen"?\n'


@pytest.mark.parametrize("arguments", [["get", "--limit", "3"], ["get", "seen", "0123456789abcdef", "--limit", "3"]])
def test_a_limit_is_for_a_list_of_jobs(shared_shell: Terminal, arguments: list[str]) -> None:
    refused = shared_shell.run(*arguments, code=2)
    assert refused.err == "batchflow: --limit: is for the jobs of an api; say batchflow get API, and the flag\n"


def test_failed_needs_a_job(shared_shell: Terminal) -> None:
    refused = shared_shell.run("get", "seen", "--failed", code=2)
    assert (refused.out, refused.err) == ("", "batchflow: --failed: needs a job; say batchflow get API JOB, and the flag\n")


@pytest.mark.parametrize("arguments", [["get"], ["get", "seen"]])
def test_a_list_is_shown_again_until_ctrl_c(shared_shell: Terminal, seen: Seen, arguments: list[str]) -> None:
    watching = shared_shell.start(*arguments, "--watch")
    assert watching.stdout
    heads = 0
    while heads < 2:
        line = watching.stdout.readline()
        assert line, "it ended by itself"
        heads += "latest job id" in line or "job id   " in line
    os.killpg(watching.pid, signal.SIGINT)
    assert shared_shell.wait(watching, code=130).err.strip() == ""


def test_a_list_is_not_shown_again_as_a_document(shared_shell: Terminal) -> None:
    refused = shared_shell.run("get", "--watch", "-o", "yaml", code=2)
    assert (refused.out, refused.err) == ("", "batchflow: --watch: shows tables only; leave out -o, or name a job\n")


def test_two_jobs_at_once_in_one_store_keep_to_themselves(shell: Terminal) -> None:
    one = Job(shell.folder, "one", items=range(20), workers=2)
    other = Job(shell.folder, "other", items=range(100, 107), workers=2)
    running = [shell.start("submit", job.file, "--watch", "-o", "json") for job in (one, one, other)]
    statuses = [shell.wait(process).json()["job_status"] for process in running]
    assert [(status["status"], status["batch_metrics"]["succeeded"]) for status in statuses] == [("succeeded", n) for n in (20, 20, 7)]
    assert one.noted("ended") == sorted([[n] for n in range(20)] * 2, key=json.dumps)
    assert other.noted("ended") == [[n] for n in range(100, 107)]
    listed = [status["job_id"] for status in shell.listed("one")]
    assert listed == sorted(status["job_id"] for status in statuses[:2])  # newest first
    newest = shell.run("get", "one", "--limit", "1").lines()
    assert [line.split()[0] for line in newest if line] == ["job", listed[0], "1"]
    assert newest[-1] == "1 more; to see all say --limit 2"
    newest_json = shell.run("get", "one", "--limit", "1", "-o", "json")
    assert [status["job_id"] for status in newest_json.json()[0]["batch_job_statuses"]] == listed[:1]
    assert newest_json.err == "1 more; to see all say --limit 2\n"


def files(shell: Terminal) -> tuple[Job, list[Path]]:
    """A job of delimited files: three of two lines each, one of them left out."""
    data = shell.folder / "data"
    data.mkdir()
    paths = [data / f"{name}.jsonl" for name in "abc"]
    for path in paths:
        path.write_text("1\n2\n")
    source = {"s3_paths": ["../data/"], "excludes": ["**/b.jsonl"], "batch_size": 3}
    return Job(shell.folder, "files", item_list=None, delimited_files=source), [paths[0], paths[2]]


def test_a_dry_run_lists_files_counts_batches_and_creates_nothing(shell: Terminal) -> None:
    job, paths = files(shell)
    said = shell.run("submit", job.file, "--dry-run")
    assert said.lines() == [*map(str, paths), "validations passed; items: 4, batches: 2"]
    assert shell.run("submit", job.file, "--dry-run", "-o", "json").json() == {"files": [*map(str, paths)], "items": 4, "batches": 2}
    assert not shell.store.exists()


def test_compile_prints_the_workflow_that_would_run(shell: Terminal) -> None:
    job, _ = files(shell)
    workflow: dict[str, Any] = shell.run("compile", job.file, "--job-id", "0123456789abcdef", "-o", "json").json()
    assert (workflow["kind"], workflow["metadata"]["name"]) == ("Workflow", "files-0123456789abcdef")
    assert not shell.store.exists()
