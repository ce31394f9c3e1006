"""What the compiled workflow must be, beyond the golden manifests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from batchflow.compiler import compile_job
from batchflow.errors import InvalidInput
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.api import parse_api
from batchflow.spec.model import DelimitedFiles, ItemList, Submission

JOB = JobRef("words", "69a1b2c3d4e5f607")
SUBMISSION = Submission(api="words", workers=3, source=ItemList(items=[1, 2, 3], batch_size=2))


def pod_api(**container: Any) -> dict[str, Any]:
    first = {"name": "server", "image": "server:1", "command": ["serve"], **container}
    return {"name": "words", "kind": "BatchAPI", "pod": {"containers": [first]}}


def compiled(entry: dict[str, Any], submission: Submission = SUBMISSION, **settings: Any) -> dict[str, Any]:
    api = parse_api(entry, where="cortex.yaml")
    return compile_job(submission, api, JOB, Settings(**settings)).to_dict()  # type: ignore[no-any-return]


def template(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    return next(t for t in workflow["spec"]["templates"] if t["name"] == name)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert compiled(pod_api()) == compiled(pod_api())


def test_the_size_does_not_depend_on_the_data() -> None:
    few = compiled(pod_api(), replace(SUBMISSION, source=DelimitedFiles(("s3://b/",), 1)))
    many = compiled(pod_api(), replace(SUBMISSION, source=DelimitedFiles(("s3://b/",) * 1000, 1, includes=("**",) * 1000)))
    assert few == many
    assert compiled(pod_api()) == compiled(pod_api(), replace(SUBMISSION, source=ItemList(items=[1] * 1000, batch_size=2)))


@pytest.mark.parametrize(
    "change",
    [
        {"args": ["--prompt", "{{inputs.x}}"]},
        {"command": ["serve", "{{=1+1}}"]},
        {"image": "server:{{workflow.name}}"},
        {"env": {"PROMPT": "hello {{name}}"}},
    ],
)
def test_a_template_tag_in_users_text_is_refused_with_its_place(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"words \(BatchAPI\): pod: containers: 0: \w+.*Argo would expand"):
        compiled(pod_api(**change))


def test_a_template_tag_in_config_passes_through_the_store() -> None:
    entry = {"name": "words", "kind": "BatchAPI", "handler": {"type": "python", "path": "h.py", "config": {"prompt": "{{x}}"}}}
    assert "{{x}}" not in str(compiled(entry))


def test_users_containers_are_native_sidecars_after_prepare_and_the_dequeuer_is_main() -> None:
    work = template(compiled(pod_api()), "work")
    assert [(c["name"], c.get("restartPolicy")) for c in work["initContainers"]] == [("prepare", None), ("server", "Always")]
    assert work["container"]["command"][-2:] == ["step", "work"]


def test_users_containers_get_neither_token_nor_our_credentials() -> None:
    workflow = compiled(pod_api())
    assert workflow["spec"]["automountServiceAccountToken"] is False
    for name in ("work", "finalize"):
        users = template(workflow, name)["initContainers"][1]
        assert "envFrom" not in users
        assert "batchflow" not in str(users.get("env")).replace("BATCHFLOW_", "").lower()


def test_without_a_hook_finalize_has_no_users_containers() -> None:
    entry = {**pod_api(), "batchflow": {"on_job_complete": False}}
    assert "initContainers" not in template(compiled(entry), "finalize")
    assert "initContainers" in template(compiled(entry), "work")


def test_the_deadline_is_the_timeout_or_13_days() -> None:
    assert compiled(pod_api())["spec"]["activeDeadlineSeconds"] == 13 * 86_400
    assert compiled(pod_api(), replace(SUBMISSION, timeout_s=90))["spec"]["activeDeadlineSeconds"] == 90


def test_compute_becomes_requests_and_gpus_limits_too() -> None:
    compute = {"cpu": "1", "mem": "2Gi", "gpu": 1, "shm": "1Gi"}
    entry = {**pod_api(compute=compute), "batchflow": {"memory_limit": "4Gi"}}
    work = template(compiled(entry), "work")
    users = work["initContainers"][1]
    assert users["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"},
        "limits": {"nvidia.com/gpu": "1", "memory": "4Gi"},
    }
    assert {"name": "shm-server", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in work["volumes"]
    assert {"name": "shm-server", "mountPath": "/dev/shm"} in users["volumeMounts"]


def test_the_longest_names_fit_kubernetes() -> None:
    ref = JobRef("a" * 42, "f" * 16, 99)
    assert len(ref.workflow) <= 63
