"""Steps, fan-out, retries and onExit of the local engine, as processes, in Argo's status shape."""

from __future__ import annotations

from typing import Any

import pytest

WORKERS = "{{steps.enqueue.outputs.parameters.workers}}"
OUTPUTS = {"parameters": [{"name": "workers", "valueFrom": {"path": "/tmp/batchflow/workers"}}]}
RETRY = {
    "limit": "2",
    "retryPolicy": "Always",
    "expression": 'lastRetry.exitCode not in ["64", "69", "70"]',
    "backoff": {"duration": "100ms", "factor": "2"},
}


def enqueue(runs: Any, workers: object) -> Any:
    code = f"import os; open(os.environ['BATCHFLOW_OUTPUT_DIR'] + '/workers', 'w').write('{workers}\\n')"
    container = runs.container(code, env=[{"name": "BATCHFLOW_OUTPUT_DIR", "value": "/tmp/batchflow"}])
    return {"name": "enqueue", "container": container, "outputs": OUTPUTS}


def fan_out(step: str, **fields: Any) -> list[Any]:
    return [{"name": step, "template": step, "withSequence": {"count": WORKERS}, **fields}]


def noting(word: str) -> str:
    return f"open(SHARED + '/order', 'a').write('{word}\\n')"


def test_steps_run_in_order_and_the_nodes_are_argos(runs: Any, nodes: Any) -> None:
    work = runs.pod("work", noting("work"), retryStrategy=RETRY)
    groups = [[{"name": "enqueue", "template": "enqueue"}], fan_out("work"), [{"name": "finalize", "template": "finalize"}]]
    seen = runs.run(enqueue(runs, 2), work, runs.pod("finalize", noting("finalize")), runs.pod("cleanup", noting("cleanup")), groups=groups)
    assert runs.lines("order") == ["work", "work", "finalize", "cleanup"]
    found = nodes(seen)
    assert {name: (node["type"], node["phase"], node["displayName"]) for name, node in found.items()} == {
        "": ("Steps", "Succeeded", "job-1"),
        "[0]": ("StepGroup", "Succeeded", "[0]"),
        "[0].enqueue": ("Pod", "Succeeded", "enqueue"),
        "[1]": ("StepGroup", "Succeeded", "[1]"),
        "[1].work(0:0)": ("Retry", "Succeeded", "work(0:0)"),
        "[1].work(1:1)": ("Retry", "Succeeded", "work(1:1)"),
        "[1].work(0:0)(0)": ("Pod", "Succeeded", "work(0:0)(0)"),
        "[1].work(1:1)(0)": ("Pod", "Succeeded", "work(1:1)(0)"),
        "[2]": ("StepGroup", "Succeeded", "[2]"),
        "[2].finalize": ("Pod", "Succeeded", "finalize"),
        ".onExit": ("Pod", "Succeeded", "job-1.onExit"),
    }
    names = {node["id"]: name for name, node in found.items()}
    assert {name: [names[child] for child in node["children"]] for name, node in found.items() if "children" in node} == {
        "": ["[0]"],
        "[0]": ["[0].enqueue"],
        "[0].enqueue": ["[1]"],
        "[1]": ["[1].work(0:0)", "[1].work(1:1)"],
        "[1].work(0:0)": ["[1].work(0:0)(0)"],
        "[1].work(1:1)": ["[1].work(1:1)(0)"],
        "[1].work(0:0)(0)": ["[2]"],
        "[1].work(1:1)(0)": ["[2]"],
        "[2]": ["[2].finalize"],
    }
    assert found["[0].enqueue"]["outputs"] == {"parameters": [{"name": "workers", "value": "2"}], "exitCode": "0"}
    assert found["[1].work(0:0)(0)"]["nodeFlag"] == {"retried": True}
    assert found[".onExit"]["nodeFlag"] == {"hooked": True}
    assert found["[1].work(0:0)(0)"]["boundaryID"] == "job-1"
    status = seen.workflow["status"]
    assert (status["phase"], status["progress"], status.get("message")) == ("Succeeded", "5/5", None)


def test_a_fan_out_to_none_is_skipped_and_the_next_step_runs(runs: Any, nodes: Any) -> None:
    groups = [[{"name": "enqueue", "template": "enqueue"}], fan_out("work"), [{"name": "finalize", "template": "finalize"}]]
    seen = runs.run(enqueue(runs, 0), runs.pod("work", noting("work")), runs.pod("finalize", noting("finalize")), groups=groups)
    skipped = nodes(seen)["[1].work"]
    assert (skipped["type"], skipped["phase"], skipped["message"]) == ("Skipped", "Skipped", "Skipped, empty params")
    assert runs.lines("order") == ["finalize"]
    assert seen.workflow["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("workers", ["many", "-1", ""])
def test_a_count_that_is_no_number_ends_the_job(runs: Any, workers: str) -> None:
    groups = [[{"name": "enqueue", "template": "enqueue"}], fan_out("work")]
    seen = runs.run(enqueue(runs, workers), runs.pod("work", noting("work")), runs.pod("cleanup", noting("cleanup")), groups=groups)
    assert seen.workflow["status"]["phase"] == "Error"
    assert f'withSequence.count of step work is "{workers}"' in seen.workflow["status"]["message"]
    assert runs.lines("order") == ["cleanup"]


def test_workers_run_at_the_same_time(runs: Any) -> None:
    code = """
import os, time
open(SHARED + '/here-' + os.environ['ME'], 'w').close()
while len([f for f in os.listdir(SHARED) if f.startswith('here-')]) < 3: time.sleep(0.02)
"""
    env = [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    work = {"name": "work", "container": runs.container(code, env=env)}
    seen = runs.run(enqueue(runs, 3), work, groups=[[{"name": "enqueue", "template": "enqueue"}], fan_out("work")])
    assert seen.workflow["status"]["phase"] == "Succeeded"


def test_a_failed_try_is_followed_by_another_that_knows_its_number(runs: Any, nodes: Any) -> None:
    code = "import os, sys; print(os.environ['TRY']); sys.exit(0 if os.environ['TRY'] == '2' else 75)"
    work = {"name": "work", "container": runs.container(code, env=[{"name": "TRY", "value": "{{retries}}"}]), "retryStrategy": RETRY}
    seen = runs.run(work)
    found = nodes(seen)
    tries = [found[f"[0].work({n})"] for n in range(3)]
    assert [node["outputs"]["exitCode"] for node in tries] == ["75", "75", "0"]
    assert [node["phase"] for node in tries] == ["Failed", "Failed", "Succeeded"]
    assert tries[0]["message"] == "main: Error (exit code 75)"
    assert found["[0].work"]["phase"] == seen.workflow["status"]["phase"] == "Succeeded"
    assert len({pod["metadata"]["name"] for pod in seen.pods}) == 3
    assert runs.log(container="main") == ["0", "1", "2"]
    assert seen.workflow["status"]["progress"] == "1/3"


def test_a_pause_before_another_try_is_cut_to_what_people_wait_for(runs: Any) -> None:
    retry = {**RETRY, "limit": "1", "backoff": {"duration": "1h", "factor": "2"}}
    runs.run(runs.pod("work", f"{noting('work')}; raise SystemExit(1)", retryStrategy=retry))
    assert runs.lines("order") == ["work"] * 2


def test_tries_end_with_the_longest_duration(runs: Any, nodes: Any) -> None:
    retry = {**RETRY, "limit": "9999", "backoff": {"duration": "100ms", "maxDuration": "1s"}}
    seen = runs.run(runs.pod("work", "raise SystemExit(1)", retryStrategy=retry))
    assert nodes(seen)["[0].work"]["message"] == "Max duration limit exceeded"


@pytest.mark.parametrize(
    ("exit_code", "tries", "message"),
    [
        (64, 1, "retryStrategy.expression evaluated to false"),
        (70, 1, "retryStrategy.expression evaluated to false"),
        (1, 3, "No more retries left"),
        (143, 3, "No more retries left"),
    ],
)
def test_when_a_step_is_not_tried_again(runs: Any, nodes: Any, exit_code: int, tries: int, message: str) -> None:
    work = runs.pod("work", f"import sys; {noting('work')}; sys.exit({exit_code})", retryStrategy=RETRY)
    seen = runs.run(work, runs.pod("finalize", noting("finalize")), runs.pod("cleanup", noting("cleanup")))
    assert runs.lines("order") == ["work"] * tries + ["cleanup"]
    node = nodes(seen)["[0].work"]
    assert (node["phase"], node["message"]) == ("Failed", message)
    assert seen.workflow["status"]["phase"] == "Failed"
    assert seen.workflow["status"]["message"] == f"child '{node['id']}' failed"


def test_a_failed_step_that_may_fail_does_not_fail_the_job(runs: Any, nodes: Any) -> None:
    step = {"name": "work", "template": "work", "continueOn": {"failed": True, "error": True}}
    groups = [[step], [{"name": "finalize", "template": "finalize"}]]
    seen = runs.run(runs.pod("work", "raise SystemExit(1)"), runs.pod("finalize", noting("finalize")), groups=groups)
    assert nodes(seen)["[0].work"]["phase"] == "Failed"
    assert runs.lines("order") == ["finalize"]
    assert seen.workflow["status"]["phase"] == "Succeeded"


def test_a_missing_output_is_an_error_that_names_it(runs: Any, nodes: Any) -> None:
    seen = runs.run({**runs.pod("enqueue", "pass"), "outputs": OUTPUTS})
    node = nodes(seen)["[0].enqueue"]
    assert node["phase"] == "Error"
    assert node["message"].startswith("output parameter workers can't be read from /tmp/batchflow/workers")


def test_a_failed_on_exit_fails_a_good_workflow_after_its_retries(runs: Any, nodes: Any) -> None:
    cleanup = runs.pod("cleanup", f"{noting('cleanup')}; raise SystemExit(1)", retryStrategy=RETRY)
    seen = runs.run(runs.pod("work", "pass"), cleanup)
    assert runs.lines("order") == ["cleanup"] * 3
    assert nodes(seen)[""]["phase"] == "Succeeded"
    assert (seen.workflow["status"]["phase"], seen.workflow["status"]["message"]) == ("Failed", "No more retries left")
    assert nodes(seen)[".onExit(0)"]["nodeFlag"] == {"hooked": True, "retried": True}


def test_a_job_past_its_deadline_is_ended_and_cleaned_up_with_retries(runs: Any, nodes: Any) -> None:
    work = runs.pod("work", "import time; time.sleep(600)", retryStrategy=RETRY)
    cleanup = runs.pod("cleanup", f"{noting('cleanup')}; raise SystemExit(1)", retryStrategy=RETRY)
    seen = runs.run(work, runs.pod("finalize", noting("finalize")), cleanup, activeDeadlineSeconds=1)
    found = nodes(seen)
    assert found["[0].work(0)"]["message"] == "Step exceeded its deadline"
    assert found["[0].work"]["message"].startswith("retry exceeded workflow deadline")
    assert (seen.workflow["status"]["phase"], seen.workflow["status"]["message"]) == ("Failed", "Step exceeded its deadline")
    assert runs.lines("order") == ["cleanup"] * 3
    assert found[".onExit"]["message"] == "No more retries left"


def test_a_template_has_a_deadline_of_its_own(runs: Any, nodes: Any) -> None:
    seen = runs.run(runs.pod("work", "import time; time.sleep(600)", activeDeadlineSeconds=1), runs.pod("cleanup", noting("cleanup")))
    assert nodes(seen)["[0].work"]["message"] == "Pod was active on the node longer than the specified deadline"
    assert seen.pods[0]["status"]["reason"] == "DeadlineExceeded"
    assert runs.lines("order") == ["cleanup"]
