"""The user's containers: their environment, what they share, TensorFlow Serving beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.compiled import HANDLER_API, SKIPPED, compiled, pod_api, template


def users_containers(workflow: dict[str, Any], step: str = "work") -> dict[str, dict[str, Any]]:
    return {container["name"]: container for container in template(workflow, step)["initContainers"][1:]}


def plain_env(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def env_from_elsewhere(container: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable["valueFrom"] for variable in container["env"] if "valueFrom" in variable}


REGION = {"configMapKeyRef": {"name": "batchflow", "key": "AWS_REGION", "optional": True}}


def test_a_handlers_environment_is_cortexs() -> None:
    entry = {
        "name": "words",
        "kind": "BatchAPI",
        "predictor": {"type": "python", "path": "h.py", "python_path": "src/", "log_level": "warning"},
    }
    handler = users_containers(compiled(entry))["handler"]
    cortexs = {name: value for name, value in plain_env(handler).items() if name.startswith("CORTEX_")}
    assert cortexs == {
        "CORTEX_VERSION": "0.35.0",
        "CORTEX_KIND": "BatchAPI",
        "CORTEX_LOG_LEVEL": "WARNING",
        "CORTEX_PORT": "8080",
        "CORTEX_PROJECT_DIR": "/mnt/project",
        "CORTEX_PYTHON_PATH": "/mnt/project/src",
        "CORTEX_CLI_CONFIG_DIR": "/mnt/client",
        "CORTEX_MODEL_DIR": "/mnt/model",
        "CORTEX_API_SPEC": "/mnt/spec/spec.json",
        "CORTEX_JOB_SPEC": "/mnt/spec/batch.json",
    }
    assert env_from_elsewhere(handler) == {
        "CORTEX_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "HOST_IP": {"fieldRef": {"fieldPath": "status.hostIP"}},
    }
    assert plain_env(users_containers(compiled(HANDLER_API))["handler"])["CORTEX_PYTHON_PATH"] == "/mnt/project"


def test_a_containers_environment_is_cortexs_then_the_users_in_its_order() -> None:
    server = users_containers(compiled(pod_api(env={"Z": "$(CORTEX_PORT)", "A": "$(Z)", "BATCHFLOW_MNT_DIR": "/other"})))["server"]
    assert [(variable["name"], variable["value"]) for variable in server["env"]] == [
        ("CORTEX_PORT", "8080"),
        ("CORTEX_VERSION", "0.42.1"),
        ("CORTEX_LOG_LEVEL", "INFO"),
        ("CORTEX_CLI_CONFIG_DIR", "/cortex/client"),
        ("BATCHFLOW_JOB_JSON", "/cortex/spec/job.json"),
        ("Z", "$(CORTEX_PORT)"),
        ("A", "$(Z)"),
        ("BATCHFLOW_MNT_DIR", "/other"),
    ]


def test_a_handlers_own_variables_win_and_the_runtime_is_found_all_the_same() -> None:
    env = {"AWS_DEFAULT_REGION": "eu-west-1", "LIB": "/lib", "PYTHONPATH": "$(LIB)"}
    handler = users_containers(compiled({**HANDLER_API, "handler": {**HANDLER_API["handler"], "env": env}}))["handler"]
    assert [*plain_env(handler).items()][-3:] == [
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("LIB", "/lib"),
        ("PYTHONPATH", "$(BATCHFLOW_RUNTIME_DIR):$(LIB)"),
    ]
    names = [variable["name"] for variable in handler["env"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("entry", [HANDLER_API, pod_api()])
def test_only_an_api_that_asks_gets_the_gateways_address_and_a_token(entry: dict[str, Any]) -> None:
    names = {"BATCHFLOW_GATEWAY_URL", "BATCHFLOW_TOKEN"}
    for container in users_containers(compiled(entry)).values():
        assert not names & {variable["name"] for variable in container["env"]}
    workflow = compiled({**entry, "batchflow": {"cortex_client": True}})
    for step in ("work", "finalize"):
        for container in users_containers(workflow, step).values():
            found = env_from_elsewhere(container)
            assert found["BATCHFLOW_GATEWAY_URL"] == {"configMapKeyRef": {"name": "batchflow", "key": "BATCHFLOW_GATEWAY_URL"}}
            assert found["BATCHFLOW_TOKEN"] == {"secretKeyRef": {"name": "batchflow-client", "key": "token"}}


def tensorflow_api(**handler: Any) -> dict[str, Any]:
    return {**HANDLER_API, "handler": {"type": "tensorflow", "path": "h.py", "models": {"path": "s3://b/m"}, **handler}}


def test_tensorflow_serving_starts_after_the_models_are_there_and_before_the_handler() -> None:
    workflow = compiled({**tensorflow_api(), "batchflow": {"batch_timeout_s": 60}})
    for step in ("work", "finalize"):
        containers = template(workflow, step)["initContainers"]
        assert [(c["name"], c.get("restartPolicy")) for c in containers] == [
            ("prepare", None),
            ("serving", "Always"),
            ("handler", "Always"),
        ]
        assert template(workflow, step)["metadata"]["annotations"][SKIPPED] == "serving,handler"
    serving, handler = users_containers(workflow)["serving"], users_containers(workflow)["handler"]
    assert serving["image"] == "tensorflow/serving:2.18.0"
    assert [*serving["command"], *serving["args"]] == [
        "tensorflow_model_server",
        "--port=$(BATCHFLOW_SERVING_GRPC_PORT)",
        "--rest_api_port=$(BATCHFLOW_SERVING_PORT)",
        "--rest_api_timeout_in_ms=60000",
        "--model_config_file=$(CORTEX_MODEL_DIR)/models.config",
        "--max_num_load_retries=0",
    ]
    assert plain_env(serving)["BATCHFLOW_SERVING_PORT"] == plain_env(handler)["BATCHFLOW_SERVING_PORT"] == "8501"
    assert plain_env(serving)["CORTEX_MODEL_DIR"] == plain_env(handler)["CORTEX_MODEL_DIR"] == "/mnt/model"
    assert "serving" not in users_containers(compiled(HANDLER_API))


def test_the_page_on_tensorflow_names_the_image_and_the_flags() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tensorflow.md").read_text(encoding="utf-8")
    [entry] = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    serving = users_containers(compiled(entry))["serving"]
    assert f"`{serving['image'].removesuffix('-gpu')}`" in text
    for argument in serving["args"]:
        assert f" {argument.partition('=')[0]}=" in text


def test_with_tensorflow_serving_the_devices_are_its_own_and_the_rest_is_the_handlers() -> None:
    entry = {**tensorflow_api(env={"TF_CPP_MIN_LOG_LEVEL": "1"}), "compute": {"cpu": 2, "mem": "1Gi", "gpu": 1}}
    additions = {"batchflow": {"env_from_secrets": ["database"], "cortex_client": True}}
    containers = users_containers(compiled({**entry, **additions}))
    serving, handler = containers["serving"], containers["handler"]
    assert serving["resources"] == {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
    assert handler["resources"] == {"requests": {"cpu": "2", "memory": "1Gi"}}
    assert serving["image"] == "tensorflow/serving:2.18.0-gpu"
    assert plain_env(serving)["TF_CPP_MIN_LOG_LEVEL"] == "1"
    assert "envFrom" not in serving and env_from_elsewhere(serving) == {}  # it needs no secret of the handler's
    assert users_containers(compiled(tensorflow_api(tensorflow_serving_image="mirror/serving:1")))["serving"]["image"] == "mirror/serving:1"


def test_all_containers_of_a_pod_share_mnt_and_the_job_document() -> None:
    entry = pod_api(compute={"shm": "1Gi"})
    entry["pod"]["containers"].append({"name": "loader", "image": "loader:1", "command": ["load"]})
    work = template(compiled(entry), "work")
    shared = [{"name": "mnt", "mountPath": "/mnt"}, {"name": "cortex", "mountPath": "/cortex"}]
    for container in work["initContainers"]:
        assert [mount for mount in container["volumeMounts"] if mount in shared] == shared
    assert {"name": "mnt", "mountPath": "/mnt"} in work["container"]["volumeMounts"]
    assert {"name": "shm-server", "mountPath": "/dev/shm"} not in users_containers(compiled(entry))["loader"]["volumeMounts"]
    env = plain_env(work["initContainers"][0])
    assert (env["BATCHFLOW_JOB_JSON"], env["CORTEX_CLI_CONFIG_DIR"]) == ("/cortex/spec/job.json", "/cortex/client")


def test_liveness_is_kubernetes_business_and_readiness_is_not() -> None:
    probe = {"exec": {"command": ["check"]}, "initial_delay_seconds": 1, "timeout_seconds": 2, "period_seconds": 3, "failure_threshold": 4}
    server = users_containers(compiled(pod_api(liveness_probe=probe, readiness_probe={"tcp_socket": {"port": 8080}})))["server"]
    times = {"initialDelaySeconds": 1, "timeoutSeconds": 2, "periodSeconds": 3, "successThreshold": 1, "failureThreshold": 4}
    assert server["livenessProbe"] == {"exec": {"command": ["check"]}, **times}
    assert "readinessProbe" not in server and "startupProbe" not in server
