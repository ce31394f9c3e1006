"""What the compiled workflow must be, beyond the golden manifests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from batchflow import contract
from batchflow.engines.local.manifest import parse
from batchflow.errors import InvalidInput
from batchflow.records import JobRef
from batchflow.spec.model import DelimitedFiles, ItemList
from tests.unit.compiled import HANDLER_API, SKIPPED, SUBMISSION, compiled, pod_api, pods_of, template


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
    with pytest.raises(InvalidInput, match=r"words \(BatchAPI\): pod: containers: index 0: \w+.*Argo would expand"):
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


def test_a_step_beside_finalize_has_argo_look_again() -> None:
    """Without it a finalize that begins within a second of the deadline is never looked at again; on this machine nothing runs for it."""
    workflow = compiled(pod_api())
    last = template(workflow, "job")["steps"][-1]
    assert [step["name"] for step in last] == ["finalize", "wake"]
    assert template(workflow, "wake") == {"name": "wake", "suspend": {"duration": "2"}}
    assert [[step.name for step in group] for group in parse(workflow).groups] == [["enqueue"], ["work"], ["finalize"]]


def test_only_cleanup_asks_kubernetes_so_only_its_pod_has_a_token() -> None:
    workflow = compiled(pod_api())
    tokens = {t["name"]: t.get("automountServiceAccountToken") for t in pods_of(workflow)}
    assert tokens == {"enqueue": None, "work": None, "finalize": None, "cleanup": True}


def test_aws_roles_of_our_service_account_stay_out_of_users_containers() -> None:
    entry = pod_api()
    entry["pod"]["containers"].append({"name": "loader", "image": "loader:1", "command": ["load"]})
    for name in ("work", "finalize"):
        assert template(compiled(entry), name)["metadata"]["annotations"][SKIPPED] == "server,loader"


def test_aws_roles_of_the_apis_own_service_account_reach_its_containers() -> None:
    entry = {**pod_api(), "batchflow": {"service_account": "reader"}}
    work = template(compiled(entry), "work")
    assert work["serviceAccountName"] == "reader"
    assert "metadata" not in work


def our_containers(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    templates = pods_of(workflow)
    return [t["container"] for t in templates] + [t["initContainers"][0] for t in templates if "initContainers" in t]


def test_our_containers_pass_pod_security_restricted() -> None:
    workflow = compiled(pod_api())
    assert workflow["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert len(our_containers(workflow)) == 6
    for container in our_containers(workflow):
        assert container["securityContext"] == {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_our_containers_can_write_where_their_outputs_go() -> None:
    workflow = compiled(pod_api())
    for container in our_containers(workflow):
        assert {"name": "scratch", "mountPath": "/tmp"} in container["volumeMounts"]
    for pod in pods_of(workflow):
        assert {"name": "scratch", "emptyDir": {}} in pod["volumes"]
    path = template(workflow, "enqueue")["outputs"]["parameters"][0]["valueFrom"]["path"]
    assert path.startswith("/tmp/")


def test_users_containers_gain_no_privileges_and_run_as_who_their_image_says() -> None:
    users = template(compiled(pod_api()), "work")["initContainers"][1]
    assert users["securityContext"] == {"allowPrivilegeEscalation": False}


def test_every_container_of_ours_knows_by_which_version_it_was_compiled() -> None:
    for container in our_containers(compiled(pod_api())):
        assert {"name": "BATCHFLOW_VERSION", "value": contract.VERSION} in container["env"]


def test_our_requests_and_images_are_settings() -> None:
    workflow = compiled(HANDLER_API, image="ours:1", handler_image="mirror/python:3.11", step_cpu="5m", step_memory="64Mi")
    for container in our_containers(workflow):
        assert (container["image"], container["resources"]) == ("ours:1", {"requests": {"cpu": "5m", "memory": "64Mi"}})
    assert template(workflow, "work")["initContainers"][1]["image"] == "mirror/python:3.11"


@pytest.mark.parametrize(("field", "name"), [("step_cpu", "BATCHFLOW_STEP_CPU"), ("step_memory", "BATCHFLOW_STEP_MEMORY")])
def test_a_setting_that_is_no_quantity_is_refused_by_name(field: str, name: str) -> None:
    with pytest.raises(InvalidInput, match=f'^{name}: "much" is not a Kubernetes quantity'):
        compiled(pod_api(), **{field: "much"})


def test_the_label_of_a_controllers_instance_is_there_only_if_it_has_one() -> None:
    label = "workflows.argoproj.io/controller-instanceid"
    assert label not in compiled(pod_api())["metadata"]["labels"]
    assert compiled(pod_api(), instance_id="ml")["metadata"]["labels"][label] == "ml"


def test_pull_secrets_are_the_clusters_and_the_apis() -> None:
    entry = {**pod_api(), "batchflow": {"image_pull_secrets": ["theirs", "mirror"]}}
    workflow = compiled(entry, image_pull_secrets=("mirror",))
    assert workflow["spec"]["imagePullSecrets"] == [{"name": "mirror"}, {"name": "theirs"}]
    assert "imagePullSecrets" not in compiled(pod_api())["spec"]


def test_node_groups_are_alternatives() -> None:
    entry = {**pod_api(), "node_groups": ["spot", "gpu"]}
    for name in ("work", "finalize"):
        affinity = template(compiled(entry, node_group_label="example.com/pool"), name)["affinity"]["nodeAffinity"]
        [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert term == {"matchExpressions": [{"key": "example.com/pool", "operator": "In", "values": ["spot", "gpu"]}]}


def test_pods_and_workflow_stay_as_long_as_the_settings_say() -> None:
    spec = compiled(pod_api(), keep_pods_s=5, keep_workflow_s=60)["spec"]
    assert spec["podGC"] == {"strategy": "OnWorkflowCompletion", "deleteDelayDuration": "5s"}
    assert spec["ttlStrategy"] == {"secondsAfterCompletion": 60}


def test_bad_input_that_prepare_found_is_not_tried_again() -> None:
    for pod in pods_of(compiled(pod_api())):
        assert pod["retryStrategy"]["expression"] == (
            'lastRetry.exitCode not in ["64", "69", "70"] and !(lastRetry.message startsWith "prepare: Error (exit code 64)")'
        )


def test_the_description_says_what_it_is_and_how_to_look_at_it() -> None:
    text = compiled(pod_api(), namespace="ml")["metadata"]["annotations"]["workflows.argoproj.io/description"]
    assert text.startswith("`item_list` in batches of 2, up to 3 workers\n")
    assert "`batchflow get words 69a1b2c3d4e5f607 -n ml`" in text
    assert "`batchflow logs words 69a1b2c3d4e5f607 -n ml`" in text


def test_without_a_hook_finalize_has_no_users_containers() -> None:
    additions = {"on_job_complete": False, "service_account": "reader", "tolerations": [{"operator": "Exists"}]}
    workflow = compiled({**pod_api(), "node_groups": ["gpu"], "batchflow": additions})
    of_the_api = {"initContainers", "tolerations", "affinity"}
    assert not of_the_api & template(workflow, "finalize").keys()
    assert template(workflow, "finalize")["serviceAccountName"] == "batchflow-step"
    assert of_the_api <= template(workflow, "work").keys()


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
