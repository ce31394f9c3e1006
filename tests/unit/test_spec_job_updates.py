"""What a PATCH makes of a job deployment; and the SDK's own objects, there and back."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from verda import containers as sdk
from verda.containers._containers import MemoryMount  # not exported
from verda.helpers import strip_none_values
from verda.job_deployments import JobDeployment as SdkDeployment
from verda.job_deployments import JobScalingOptions

from batchflow.errors import InvalidInput
from batchflow.spec.jobdeployment import JobDeployment, Mount, Scaling, Variable, to_document
from batchflow.spec.jobpatch import merged
from tests.unit.job_documents import CONTAINER, SMALLEST, Json, changed, full_document, parsed, refused


def patched(patch: Json, of: Json | None = None) -> JobDeployment:
    current = to_document(parsed(of or full_document()))
    before = copy.deepcopy(current)
    result = merged(current, patch)
    assert current == before
    return parsed(result)


@pytest.mark.parametrize(
    ("patch", "path", "value"),
    [
        ({}, "name", "digits"),
        ({"name": "other", "created_at": "x", "endpoint_base_url": "y", "is_spot": True}, "name", "digits"),
        ({"name": None, "containers": None, "compute": None, "scaling": None, "container_registry_settings": None}, "name", "digits"),
        ({"scaling": {"deadline_seconds": 700}}, "scaling.deadline_seconds", 700),
        ({"scaling": {"deadline_seconds": 700, "max_replica_count": None}}, "scaling.deadline_seconds", 700),
        ({"compute": {"size": 2}}, "compute.size", 2),
        ({"compute": {"name": "H100", "size": 8, "is_available": None}}, "compute", {"name": "H100", "size": 8}),
        ({"containers": [{"image": "app:2"}]}, f"{CONTAINER}.image", "app:2"),
        ({"containers": [{"name": "app-0", "image": {"image": "app:2"}}]}, f"{CONTAINER}.image", "app:2"),
        ({"containers": [{"name": None, "env": []}]}, f"{CONTAINER}.env", []),
        ({"containers": [{"volume_mounts": []}]}, f"{CONTAINER}.volume_mounts", []),
        ({"containers": [{"healthcheck": {"enabled": False}}]}, f"{CONTAINER}.healthcheck.enabled", False),
        ({"containers": [{"healthcheck": {"path": "/up", "port": None}}]}, f"{CONTAINER}.healthcheck.path", "/up"),
        ({"containers": [{"healthcheck": {}, "entrypoint_overrides": {}}]}, "name", "digits"),
        ({"containers": [{"entrypoint_overrides": {"cmd": ["b.py"]}}]}, f"{CONTAINER}.entrypoint_overrides.cmd", ["b.py"]),
        ({"containers": [{"entrypoint_overrides": {"enabled": False}}]}, f"{CONTAINER}.entrypoint_overrides.enabled", False),
        ({"container_registry_settings": {"is_private": False}}, "container_registry_settings", {"is_private": False}),
        ({"container_registry_settings": {"credentials": {"name": "new"}}}, "container_registry_settings.credentials", {"name": "new"}),
    ],
)
def test_a_patch_changes_what_it_names(patch: Json, path: str, value: Any) -> None:
    assert patched(patch) == parsed(changed(path, value, of=full_document()))


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"scaling": 5}, "scaling must be a map (got 5)"),
        ({"scaling": {"deadline_seconds": 1}}, "scaling.deadline_seconds must be greater than or equal to 600 (got 1)"),
        ({"compute": []}, "compute must be a map (got a list)"),
        ({"containers": {}}, "containers must be a list (got a map)"),
        ({"containers": []}, "containers should contain exactly 1 element (got 0)"),
        ({"containers": ["app"]}, 'containers.0 must be a map (got "app")'),
        ({"containers": [{}, {}]}, "containers should contain exactly 1 element (got 2)"),
        ({"containers": [{"healthcheck": []}]}, "containers.0.healthcheck must be a map (got a list)"),
        ({"containers": [{"healthcheck": {"port": 0}}]}, "containers.0.healthcheck.port must be greater than or equal to 1 (got 0)"),
        ({"containers": [{"exposed_port": 0}]}, "containers.0.exposed_port must be greater than or equal to 1 (got 0)"),
    ],
)
def test_a_patch_that_makes_no_deployment_is_refused(patch: Json, message: str) -> None:
    assert refused(merged(to_document(parsed(SMALLEST)), patch)) == message


@pytest.mark.parametrize("name", ["another-0", "app", "", 5, ["app-0"]])
def test_a_container_that_there_is_not_is_no_other_one(name: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        merged(to_document(parsed(SMALLEST)), {"containers": [{"name": name, "image": "b:1", "exposed_port": 9}]})
    assert caught.value.where == "containers: index 0: name"
    assert (caught.value.what, caught.value.hint) == (f'is "{name}", and there is no such container', "use app-0, or leave it out")


@pytest.mark.parametrize(
    ("health", "container", "port"),
    [
        ({"port": 8000}, {"exposed_port": 9000}, 9000),
        ({"port": 8000}, {"exposed_port": 9000, "healthcheck": {"path": "/up"}}, 9000),
        ({"port": 8000}, {"exposed_port": 9000, "healthcheck": {"port": None}}, 9000),
        ({"port": 8000, "enabled": False}, {"exposed_port": 9000}, 9000),
        ({"port": 8000}, {"exposed_port": 9000, "healthcheck": {"port": 8000}}, 8000),
        ({"port": 8000}, {"exposed_port": 9000, "healthcheck": {"port": 8001}}, 8001),
        ({"port": 8001}, {"exposed_port": 9000}, 8001),
        ({"port": 8000}, {"image": "app:2"}, 8000),
    ],
)
def test_the_health_checks_port_follows_the_containers(health: Json, container: Json, port: int) -> None:
    current = changed(f"{CONTAINER}.healthcheck", health)
    updated = patched({"containers": [container]}, of=current)
    assert (updated.port, updated.healthcheck.port) == (container.get("exposed_port", 8000), port)


def sdk_deployment() -> SdkDeployment:
    return SdkDeployment(
        name="digits",
        containers=[
            sdk.Container(
                image="registry.example/team/app:1.0",
                exposed_port=8000,
                healthcheck=sdk.HealthcheckSettings(enabled=True),
                entrypoint_overrides=sdk.EntrypointOverridesSettings(enabled=True, cmd=["app.py"]),
                env=[sdk.EnvVar("MODE", "fast", sdk.EnvVarType.PLAIN), sdk.EnvVar("KEY", "api-key", sdk.EnvVarType.SECRET)],
                volume_mounts=[
                    sdk.GeneralStorageMount("/data"),
                    MemoryMount(512),
                    sdk.SecretMount("/tls", "tls", ["cert.pem"]),
                    sdk.SharedFileSystemMount("/sfs", "volume-1"),
                ],
            )
        ],
        compute=sdk.ComputeResource("General Compute", 1),
        scaling=JobScalingOptions(2, 300, 600),
    )


def sent(deployment: SdkDeployment) -> Json:
    """What the SDK's `create` and `update` send."""
    body: Json = json.loads(json.dumps(strip_none_values(deployment.to_dict())))
    return body


def got(deployment: JobDeployment) -> SdkDeployment:
    """What the SDK's `get_by_name` makes of our answer."""
    answer = {**to_document(deployment), "created_at": "2026-01-01T00:00:00.000Z", "endpoint_base_url": "http://127.0.0.1:8888/digits"}
    return SdkDeployment.from_dict(json.loads(json.dumps(answer)), infer_missing=True)


def test_the_sdks_own_objects_are_read_and_come_back() -> None:
    deployment = parsed(sent(sdk_deployment()))
    assert deployment.mounts == (
        Mount("scratch", "/data"),
        Mount("memory", "/dev/shm", size_mb=512),
        Mount("secret", "/tls", "tls", ("cert.pem",)),
        Mount("shared", "/sfs", "volume-1"),
    )
    assert (deployment.env[1], deployment.cmd, deployment.overrides) == (Variable("KEY", "api-key", True), ("app.py",), True)
    back = got(deployment)
    assert back.containers[0].volume_mounts == sdk_deployment().containers[0].volume_mounts
    assert back.containers[0].env == sdk_deployment().containers[0].env
    assert back.scaling == sdk_deployment().scaling
    assert isinstance(back.containers[0].image, dict)


@pytest.mark.parametrize("document", [SMALLEST, "sdk", "full"], ids=["smallest", "sdk", "full"])
def test_get_then_update_without_a_change_changes_nothing(document: Json | str) -> None:
    body = {"sdk": lambda: sent(sdk_deployment()), "full": full_document}[document]() if isinstance(document, str) else document
    deployment = parsed(body)
    assert parsed(merged(to_document(deployment), sent(got(deployment)))) == deployment


def test_get_then_update_changes_what_was_changed() -> None:
    deployment = parsed(sent(sdk_deployment()))
    fetched = got(deployment)
    fetched.containers[0].image = "registry.example/team/renamed:2.0"
    fetched.containers[0].env = [sdk.EnvVar("MODE", "slow", sdk.EnvVarType.PLAIN)]
    assert fetched.scaling is not None
    fetched.scaling.max_replica_count = 7
    fetched.compute = sdk.ComputeResource("H100", 8)
    updated = parsed(merged(to_document(deployment), sent(fetched)))
    assert (updated.image, updated.container) == ("registry.example/team/renamed:2.0", "renamed-0")
    assert updated.env == (Variable("MODE", "slow", False),)
    assert (updated.scaling, updated.compute, updated.size) == (Scaling(7, 300, 600), "H100", 8)
    assert (updated.mounts, updated.healthcheck) == (deployment.mounts, deployment.healthcheck)


def test_an_update_of_a_response_without_scaling_keeps_it() -> None:
    deployment = parsed(SMALLEST)
    fetched = got(deployment)
    fetched.scaling = None
    assert "scaling" not in sent(fetched)
    assert parsed(merged(to_document(deployment), sent(fetched))).scaling == deployment.scaling
