"""The workflow of a call, beyond the golden manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchflow.callrecords import CallRef, new_call
from batchflow.compiler import compile_call
from batchflow.compiler.call import START_ALLOWANCE_S
from batchflow.engines.local.engine import LocalEngine
from batchflow.errors import InvalidInput
from batchflow.settings import Settings
from batchflow.spec.computeresource import ComputeResource, Rules
from batchflow.spec.jobdeployment import parse_job_deployment
from batchflow.spec.reader import document_of
from tests.unit.compiled import SKIPPED, template

Json = dict[str, Any]

REF = CallRef("renderer", "0a1b2c3d4e5f", "1795000000000000000-89abcdef")
CPU = ComputeResource("General Compute")
COMMAND = {"enabled": True, "entrypoint": ["python3", "app.py"], "cmd": ["--fast"]}


def deployment(compute: Json | None = None, scaling: Json | None = None, registry: str = "", **container: Any) -> Json:
    first = {"image": "registry.example/renderer:1", "exposed_port": 8000, "entrypoint_overrides": COMMAND, **container}
    return {
        "name": "renderer",
        "containers": [first],
        "compute": compute or {"name": "General Compute", "size": 2},
        "scaling": {"max_replica_count": 1, "queue_message_ttl_seconds": 60, "deadline_seconds": 600, **(scaling or {})},
        "container_registry_settings": {"credentials": {"name": registry}} if registry else None,
    }


def compiled(document: Json | None = None, compute: ComputeResource = CPU, ref: CallRef = REF, **settings: Any) -> Json:
    parsed = parse_job_deployment(document_of(document or deployment()), Rules.none())
    workflow: Json = compile_call(parsed, ref, compute, Settings(max_call_bytes=1000, **settings), deadline_s=700).to_dict()
    return workflow


def main(workflow: Json) -> Json:
    container: Json = template(workflow, "replica")["container"]
    return container


def courier(workflow: Json) -> Json:
    [container] = template(workflow, "replica")["initContainers"]
    assert isinstance(container, dict)
    return container


def env(container: Json) -> Json:
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]}


def test_the_same_call_gives_the_same_bytes_and_another_differs_in_its_name_only() -> None:
    other = CallRef("renderer", REF.deployment_id, "1795000000000000000-00000000")
    assert compiled() == compiled()
    assert json.dumps(compiled(ref=other)).replace(other.call, REF.call) == json.dumps(compiled())


def test_it_is_one_step_which_is_never_tried_again() -> None:
    spec = compiled()["spec"]
    assert [t["name"] for t in spec["templates"]] == ["job", "replica"]
    assert spec["templates"][0]["steps"] == [[{"name": "replica", "template": "replica"}]]
    assert "onExit" not in spec
    assert "retryStrategy" not in json.dumps(spec)


def test_workflow_and_pod_carry_the_names_of_deployment_and_call() -> None:
    workflow = compiled(instance_id="ml")
    labels = {"app.kubernetes.io/managed-by": "batchflow", "batchflow/deployment": "renderer", "batchflow/call": REF.call}
    assert workflow["metadata"]["name"] == REF.workflow
    assert workflow["spec"]["podMetadata"]["labels"] == labels
    assert workflow["metadata"]["labels"] == labels | {"workflows.argoproj.io/controller-instanceid": "ml"}


def test_title_and_description_say_what_it_is() -> None:
    annotations = compiled(namespace="ml")["metadata"]["annotations"]
    assert annotations["workflows.argoproj.io/title"] == f"**renderer** call `{REF.call}`"
    text = annotations["workflows.argoproj.io/description"]
    assert "arrived at 2026-11-18 11:06:40 UTC, for at most 700 s" in text
    assert "`batchflow get renderer -n ml`" in text


def test_the_longest_names_fit_kubernetes() -> None:
    longest = CallRef("a" * 63, REF.deployment_id, new_call(10**19 - 1))
    workflow = compiled({**deployment(), "name": "a" * 63}, ref=longest)
    metadata = workflow["metadata"]
    assert max(len(text) for text in (metadata["name"], *metadata["labels"].values())) == 63


def test_the_users_container_is_main_and_the_courier_a_native_sidecar() -> None:
    workflow = compiled()
    assert main(workflow)["command"] == ["python3", "app.py"]
    assert main(workflow)["args"] == ["--fast"]
    assert (courier(workflow)["name"], courier(workflow)["restartPolicy"]) == ("courier", "Always")
    assert courier(workflow)["command"] == ["python3", "-m", "batchflow", "step", "courier"]
    assert template(workflow, "replica")["podSpecPatch"] == '{"terminationGracePeriodSeconds": 30}'


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (None, {}),
        ({**COMMAND, "enabled": False}, {}),
        ({"enabled": True, "entrypoint": ["a", "b"]}, {"command": ["a", "b"]}),
        ({"enabled": True, "entrypoint": None, "cmd": ["c"]}, {"args": ["c"]}),
    ],
)
def test_what_is_not_overridden_is_the_images_own(overrides: Json | None, words: Json) -> None:
    container = main(compiled(deployment(entrypoint_overrides=overrides)))
    assert {key: container[key] for key in ("command", "args") if key in container} == words


@pytest.mark.parametrize(
    ("place", "container"),
    [
        ("containers: index 0: entrypoint_overrides: entrypoint: index 1", {"entrypoint_overrides": {"entrypoint": ["a", "{{=1+1}}"]}}),
        ("containers: index 0: entrypoint_overrides: cmd: index 0", {"entrypoint_overrides": {"enabled": True, "cmd": ["x{{y"]}}),
        (
            "containers: index 0: env: index 0: value_or_reference_to_secret",
            {"env": [{"name": "A", "value_or_reference_to_secret": "{{pod.name}}", "type": "plain"}]},
        ),
        ("containers: index 0: healthcheck: path", {"healthcheck": {"path": "/{{item}}"}}),
        ("containers: index 0: volume_mounts: index 0: mount_path", {"volume_mounts": [{"type": "scratch", "mount_path": "/{{a}}"}]}),
    ],
)
def test_a_template_tag_is_refused_with_its_field(place: str, container: Json) -> None:
    with pytest.raises(InvalidInput, match="which Argo would expand") as refused:
        compiled(deployment(**container))
    assert refused.value.where == place


def test_the_courier_knows_its_call_and_where_the_replica_listens() -> None:
    found = env(courier(compiled(namespace="ml", grace_s=99, store="s3://b/p")))
    assert {name: found[name] for name in found if name.startswith("BATCHFLOW_") and name != "BATCHFLOW_POD"} == {
        "BATCHFLOW_DEPLOYMENT": "renderer",
        "BATCHFLOW_DEPLOYMENT_ID": REF.deployment_id,
        "BATCHFLOW_CALL": REF.call,
        "BATCHFLOW_REPLICA_PORT": "8000",
        "BATCHFLOW_HEALTH_PORT": "$(BATCHFLOW_REPLICA_PORT)",
        "BATCHFLOW_HEALTH_PATH": "/health",
        "BATCHFLOW_MAX_REPLY_BYTES": "1000",
        "BATCHFLOW_GRACE_S": "30",
        "BATCHFLOW_VERSION": "0.1",
        "BATCHFLOW_NAMESPACE": "ml",
        "BATCHFLOW_STORE": "s3://b/p",
    }
    names = [*found]
    assert names.index("BATCHFLOW_REPLICA_PORT") < names.index("BATCHFLOW_HEALTH_PORT")  # which refers to it


@pytest.mark.parametrize(
    ("healthcheck", "port", "path"),
    [
        ({"enabled": True, "port": 9000, "path": "/ready"}, "9000", "/ready"),
        (
            {"enabled": True, "port": 8000, "path": "/$(HOME)?a=$$b"},
            "$(BATCHFLOW_REPLICA_PORT)",
            "/$$(HOME)?a=$$$$b",
        ),  # Kubernetes halves it
        ({"enabled": False, "port": 9000, "path": "/ready"}, "$(BATCHFLOW_REPLICA_PORT)", ""),
    ],
)
def test_the_health_check_is_the_deployments(healthcheck: Json, port: str, path: str) -> None:
    found = env(courier(compiled(deployment(healthcheck=healthcheck))))
    assert (found["BATCHFLOW_HEALTH_PORT"], found["BATCHFLOW_HEALTH_PATH"]) == (port, path)


def test_users_variables_come_after_ours_and_win() -> None:
    plain = [{"name": n, "value_or_reference_to_secret": v, "type": "plain"} for n, v in (("URL", "http://x:$(PORT)"), ("EMPTY", ""))]
    secret = {"name": "TOKEN", "value_or_reference_to_secret": "hf-token", "type": "secret"}
    assert main(compiled(deployment(env=[*plain, secret])))["env"] == [
        {"name": "BATCHFLOW_REPLICA_PORT", "value": "8000"},
        {"name": "PORT", "value": "$(BATCHFLOW_REPLICA_PORT)"},
        {"name": "URL", "value": "http://x:$(PORT)"},
        {"name": "EMPTY", "value": ""},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "value"}}},
    ]
    own_port = {"name": "PORT", "value_or_reference_to_secret": "9", "type": "plain"}
    assert env(main(compiled(deployment(env=[own_port]))))["PORT"] == "9"


def test_mounts_become_volumes_of_main_only() -> None:
    mounts = [
        {"type": "scratch", "mount_path": "/data"},
        {"type": "memory", "mount_path": "/dev/shm", "size_in_mb": 512},
        {"type": "secret", "mount_path": "/keys", "secret_name": "keys", "file_names": ["a.pem"]},
        {"type": "secret", "mount_path": "/all", "secret_name": "keys"},
        {"type": "shared", "mount_path": "/models", "volume_id": "models"},
    ]
    workflow = compiled(deployment(volume_mounts=mounts))
    [ours, *users] = template(workflow, "replica")["volumes"]
    assert ours == {"name": "scratch", "emptyDir": {}}
    assert [{key: value for key, value in volume.items() if key != "name"} for volume in users] == [
        {"emptyDir": {}},
        {"emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
        {"secret": {"secretName": "keys", "items": [{"key": "a.pem", "path": "a.pem"}]}},
        {"secret": {"secretName": "keys"}},
        {"persistentVolumeClaim": {"claimName": "models"}},
    ]
    mounted = main(workflow)["volumeMounts"]
    assert [mount["name"] for mount in mounted] == [volume["name"] for volume in users]
    assert [(mount["mountPath"], mount.get("readOnly", False)) for mount in mounted] == [
        ("/data", False),
        ("/dev/shm", False),
        ("/keys", True),
        ("/all", True),
        ("/models", False),
    ]
    assert courier(workflow)["volumeMounts"] == [{"name": "scratch", "mountPath": "/tmp"}]


GPU = ComputeResource(
    "H100",
    resource="nvidia.com/gpu",
    requests={"memory": "64Gi", "example.com/nic": "1"},
    node_selector={"pool": "gpu"},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists"},),
)


def test_compute_is_requested_by_its_size_and_devices_are_limits_too() -> None:
    assert main(compiled())["resources"] == {"requests": {"cpu": "2"}}
    workflow = compiled(compute=GPU)
    assert main(workflow)["resources"] == {
        "requests": {"memory": "64Gi", "example.com/nic": "1", "nvidia.com/gpu": "2"},
        "limits": {"example.com/nic": "1", "nvidia.com/gpu": "2"},
    }
    assert template(workflow, "replica")["nodeSelector"] == {"pool": "gpu"}
    assert template(workflow, "replica")["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert "resources" not in main(compiled(compute=ComputeResource("anything", resource="")))


def test_pull_secrets_are_the_deployments_and_the_clusters() -> None:
    spec = compiled(deployment(registry="theirs"), image_pull_secrets=("mirror", "theirs"))["spec"]
    assert spec["imagePullSecrets"] == [{"name": "theirs"}, {"name": "mirror"}]
    assert "imagePullSecrets" not in compiled()["spec"]


def test_users_code_gets_neither_token_nor_our_credentials() -> None:
    workflow = compiled()
    assert workflow["spec"]["automountServiceAccountToken"] is False
    assert workflow["spec"]["executor"] == {"serviceAccountName": "batchflow-executor"}
    replica = template(workflow, "replica")
    assert "automountServiceAccountToken" not in replica
    assert replica["serviceAccountName"] == "batchflow-step"
    assert replica["metadata"]["annotations"] == {SKIPPED: "main"}
    assert "envFrom" not in main(workflow)
    assert main(workflow)["securityContext"] == {"allowPrivilegeEscalation": False}


def test_behind_the_deadline_stands_the_workflows_own() -> None:
    assert compiled()["spec"]["activeDeadlineSeconds"] == 700 + START_ALLOWANCE_S


def test_pods_and_workflow_stay_as_long_as_the_settings_say() -> None:
    spec = compiled(keep_pods_s=5, keep_workflow_s=60)["spec"]
    assert spec["podGC"] == {"strategy": "OnWorkflowCompletion", "deleteDelayDuration": "5s"}
    assert spec["ttlStrategy"] == {"secondsAfterCompletion": 60}


@pytest.mark.parametrize(
    ("container", "text"),
    [
        ({"entrypoint_overrides": None}, "entrypoint_overrides"),
        ({"volume_mounts": [{"type": "secret", "mount_path": "/k", "secret_name": "k"}]}, "a Secret can't be mounted on this machine"),
        ({"volume_mounts": [{"type": "shared", "mount_path": "/m", "volume_id": "v"}]}, "a volume of the cluster can't be mounted"),
        (
            {"env": [{"name": "TOKEN", "value_or_reference_to_secret": "hf-token", "type": "secret"}]},
            "TOKEN: is not set, and container main needs it; set it in the shell",
        ),
    ],
)
def test_what_can_not_run_on_this_machine_is_refused(tmp_path: Path, container: Json, text: str) -> None:
    engine = LocalEngine(Settings(engine="local", local_dir=str(tmp_path)), {})
    with pytest.raises(InvalidInput) as refused:
        engine.check(compiled(deployment(**container)))
    assert text in str(refused.value)
    engine.check(compiled())
