"""Job deployments by Verda's management API: the tables of spec/verda.md sections 2.3, 2.4 and 4."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Json, Terminal, until
from tests.acceptance.gateway.kit import Answer, Gateway, pod, serving
from tests.acceptance.gateway.verda_kit import (
    DEPLOYMENTS,
    OUR_TOKEN,
    access_token,
    container,
    deployment,
    is_problem,
    write,
)

GPU = {"name": "H100", "is_available": False, "resource": "nvidia.com/gpu", "sizes": [2]}
RESOURCES = [{"name": "General Compute", "sizes": [1, 4]}, GPU]


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    """Its token is one for the management API."""
    file = write(shared_shell.folder / "credentials.yaml", compute_resources=RESOURCES, deadline_minimum_s=600)
    with serving(shared_shell, BATCHFLOW_CREDENTIALS=str(file)) as opened:
        opened.token = access_token(opened)
        yield opened


def create(gateway: Gateway, name: str, **fields: Any) -> Json:
    answer = gateway.post(DEPLOYMENTS, deployment(name, **fields))
    assert answer.status == 201, answer.body
    return dict(answer.json())


def patch(gateway: Gateway, name: str, document: Any) -> Answer:
    return gateway.request("PATCH", f"{DEPLOYMENTS}/{name}", json.dumps(document).encode())


def test_a_deployment_is_answered_whole_with_its_defaults(gateway: Gateway) -> None:
    created = create(gateway, "whole")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created["created_at"])
    assert created == {
        "name": "whole",
        "container_registry_settings": {"is_private": False, "credentials": None},
        "containers": [
            {
                "name": "random-logger-0",
                "image": {"image": "registry.example/group/Random_Logger:1.0"},
                "exposed_port": 8000,
                "should_use_cached_image": True,
                "healthcheck": {"enabled": True, "port": 8000, "path": "/health"},
                "entrypoint_overrides": {**container()["entrypoint_overrides"], "cmd": []},
                "env": [],
                "volume_mounts": [],
            }
        ],
        "compute": {"name": "General Compute", "size": 1, "is_available": True},
        "scaling": {"max_replica_count": 2, "queue_message_ttl_seconds": 300, "deadline_seconds": 600},
        "endpoint_base_url": f"http://127.0.0.1:{gateway.port}/whole",
        "created_at": created["created_at"],
    }
    assert gateway.get(f"{DEPLOYMENTS}/whole").ok() == created
    assert gateway.get(f"{DEPLOYMENTS}/whole/scaling").ok() == created["scaling"]
    summary = {key: created[key] for key in ("name", "created_at", "compute")}
    assert [shown for shown in gateway.get(DEPLOYMENTS).ok() if shown["name"] == "whole"] == [summary]


def test_its_address_is_the_gateways_as_this_client_knows_it(gateway: Gateway) -> None:
    create(gateway, "addressed")
    found = gateway.get(f"{DEPLOYMENTS}/addressed", headers={"Host": "batch.example.org", "X-Forwarded-Proto": "https"}).ok()
    assert found["endpoint_base_url"] == "https://batch.example.org/addressed"


def test_a_deployment_that_is_sent_back_stays_as_it_was(gateway: Gateway) -> None:
    """As the SDK does it: `get_by_name`, then `update`, without nulls and empty lists."""
    created = create(gateway, "round", containers=[container(env=[{"name": "A", "value_or_reference_to_secret": "b", "type": "plain"}])])
    sent = {key: value for key, value in created.items() if key != "scaling"}
    sent["containers"] = [{key: value for key, value in created["containers"][0].items() if value not in ([], None)}]
    sent["container_registry_settings"] = {"is_private": False}
    assert patch(gateway, "round", sent).ok() == created
    assert gateway.get(f"{DEPLOYMENTS}/round").ok() == created


def test_a_change_is_of_what_is_named_and_of_nothing_else(gateway: Gateway) -> None:
    created = create(gateway, "changed")
    changed = patch(gateway, "changed", {"scaling": {"max_replica_count": 7}, "containers": [{"image": {"image": "other:2"}}]}).ok()
    [before], [after] = created.pop("containers"), changed.pop("containers")
    assert changed == {**created, "scaling": {**created["scaling"], "max_replica_count": 7}}
    assert after == {**before, "image": {"image": "other:2"}, "name": "other-0"}
    assert gateway.get(f"{DEPLOYMENTS}/changed").ok()["containers"] == [after]


def test_a_change_goes_into_a_container_key_by_key(gateway: Gateway) -> None:
    [before] = create(gateway, "inside")["containers"]
    change = {"exposed_port": 9000, "healthcheck": {"path": "/up"}, "entrypoint_overrides": {"cmd": ["a"]}}
    [after] = patch(gateway, "inside", {"containers": [change]}).ok()["containers"]
    overrides = {**before["entrypoint_overrides"], "cmd": ["a"]}
    health = {"enabled": True, "port": 9000, "path": "/up"}
    assert after == {**before, "exposed_port": 9000, "healthcheck": health, "entrypoint_overrides": overrides}


def test_a_name_can_not_be_changed(gateway: Gateway) -> None:
    create(gateway, "kept")
    assert patch(gateway, "kept", {"name": "other", "created_at": "1970-01-01T00:00:00.000Z"}).ok()["name"] == "kept"
    is_problem(gateway.get(f"{DEPLOYMENTS}/other"), 404)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scaling": {"deadline_seconds": 599}}, "scaling.deadline_seconds must be greater than or equal to 600 (got 599)"),
        ({"containers": []}, "containers should contain exactly 1 element (got 0)"),
        (
            {"containers": [{"name": "other-0", "image": "a:1"}]},
            'containers.0.name is "other-0", and there is no such container; use random-logger-0, or leave it out',
        ),
        ({"compute": {"name": "H200"}}, None),
        ({"compute": {"name": "H100", "size": 2}}, 'compute.name "H100" is not available now; use another'),
        ({"compute": None, "scaling": 5}, None),
    ],
)
def test_a_bad_change_is_refused_and_changes_nothing(gateway: Gateway, change: Json, message: str | None) -> None:
    if gateway.get(f"{DEPLOYMENTS}/refused").status == 404:
        create(gateway, "refused")
    before = gateway.get(f"{DEPLOYMENTS}/refused").ok()
    is_problem(patch(gateway, "refused", change), 400, message)
    assert gateway.get(f"{DEPLOYMENTS}/refused").ok() == before


def containers(**fields: Any) -> Json:
    return {"containers": [container(**fields)]}


MISSING = "should not be null or undefined"
ENV = "containers.0.env.0."
MOUNT = "containers.0.volume_mounts.0."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": None}, f"name {MISSING}"),
        ({"name": ""}, None),
        ({"name": "Upper"}, None),
        ({"name": "-a"}, None),
        ({"name": "a-"}, None),
        ({"name": "a_b"}, None),
        ({"name": "a\0"}, None),
        ({"name": "a" * 64}, None),
        ({"name": "status"}, 'name "status" is reserved'),
        ({"name": "result"}, 'name "result" is reserved'),
        ({"name": 5}, None),
        ({"containers": None}, f"containers {MISSING}"),
        ({"containers": []}, "containers should contain exactly 1 element (got 0)"),
        ({"containers": [container(), container()]}, "containers should contain exactly 1 element (got 2)"),
        ({"containers": ["a"]}, None),
        (containers(image=None), f"containers.0.image {MISSING}"),
        (containers(image="registry.example/app"), None),
        (containers(image="registry.example/app:latest"), None),
        (containers(image="a b:1"), None),
        (containers(exposed_port=None), f"containers.0.exposed_port {MISSING}"),
        (containers(exposed_port=0), None),
        (containers(exposed_port=65_536), None),
        (containers(exposed_port="8000"), None),
        (containers(healthcheck={"enabled": "yes"}), None),
        (containers(healthcheck={"path": "health"}), None),
        (containers(env=[{"name": "A B", "value_or_reference_to_secret": "", "type": "plain"}]), None),
        (containers(env=[{"name": "A", "type": "plain"}]), f"{ENV}value_or_reference_to_secret {MISSING}"),
        (containers(env=[{"name": "A", "value_or_reference_to_secret": "b", "type": "file"}]), None),
        (containers(env=[{"name": "A", "value_or_reference_to_secret": "{{workflow.name}}", "type": "plain"}]), None),
        (containers(volume_mounts=[{"type": "memory", "size_in_mb": 100}]), None),
        (containers(volume_mounts=[{"type": "shared", "mount_path": "/data"}]), f"{MOUNT}volume_id {MISSING}"),
        (containers(volume_mounts=[{"type": "scratch", "mount_path": "data"}]), None),
        (containers(volume_mounts=[{"type": "disk", "mount_path": "/data"}]), None),
        ({"compute": None}, f"compute {MISSING}"),
        ({"compute": {"name": "H200", "size": 1}}, 'compute.name "H200" is not offered; use General Compute, H100'),
        ({"compute": {"name": "General Compute", "size": 2}}, 'compute.size "General Compute" has the sizes 1, 4 (got 2)'),
        ({"compute": {"name": "General Compute"}}, f"compute.size {MISSING}"),
        ({"compute": {"name": "H100", "size": 2}}, 'compute.name "H100" is not available now; use another'),
        ({"scaling": None}, f"scaling {MISSING}"),
        ({"scaling": {"max_replica_count": 1, "deadline_seconds": 600}}, f"scaling.queue_message_ttl_seconds {MISSING}"),
        ({"container_registry_settings": {"is_private": True}}, None),
    ],
    ids=str,
)
def test_a_bad_deployment_is_refused_by_the_field(gateway: Gateway, fields: Json, message: str | None) -> None:
    before = gateway.get(DEPLOYMENTS).ok()
    is_problem(gateway.post(DEPLOYMENTS, {**deployment("bad"), **fields}), 400, message)
    assert gateway.get(DEPLOYMENTS).ok() == before


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"max_replica_count": 0}, 400),
        ({"queue_message_ttl_seconds": 0}, 400),
        ({"deadline_seconds": 599}, 400),
        ({"deadline_seconds": 604_801}, 400),
        ({"deadline_seconds": 600.5}, 400),
        ({"deadline_seconds": True}, 400),
        ({"deadline_seconds": 600, "max_replica_count": 1, "queue_message_ttl_seconds": 1}, 201),
        ({"deadline_seconds": 604_800}, 201),
    ],
)
def test_the_bounds_of_scaling(gateway: Gateway, changes: Json, status: int) -> None:
    scaling = {**deployment("bounds")["scaling"], **changes}
    answer = gateway.post(DEPLOYMENTS, deployment("bounds", scaling=scaling))
    assert answer.status == status, answer.body
    if status == 201:
        assert gateway.delete(f"{DEPLOYMENTS}/bounds").status == 200


def test_a_name_is_taken_once(gateway: Gateway) -> None:
    create(gateway, "taken")
    is_problem(gateway.post(DEPLOYMENTS, deployment("taken")), 409)


def test_a_name_of_a_deployed_api_is_taken(gateway: Gateway) -> None:
    gateway.deploy(pod("an-api"), token=OUR_TOKEN["token"]).ok()
    is_problem(gateway.post(DEPLOYMENTS, deployment("an-api")), 409)


def test_its_status_is_one_that_the_sdk_knows(gateway: Gateway) -> None:
    create(gateway, "states")

    def status() -> object:
        return gateway.get(f"{DEPLOYMENTS}/states/status").ok()

    assert status() == {"status": "running"}
    twice = [("pause", "paused")] * 2 + [("purge-queue", "paused")] * 2 + [("resume", "running")] * 2
    for change, after in twice:
        answer = gateway.request("POST", f"{DEPLOYMENTS}/states/{change}", headers={"Content-Type": "application/json"})
        assert (answer.status, answer.body) == (201, b"")
        assert status() == {"status": after}


def test_a_deleted_deployment_is_gone_and_its_name_is_free(gateway: Gateway) -> None:
    for _ in range(2):
        create(gateway, "gone")
        answer = gateway.delete(f"{DEPLOYMENTS}/gone", headers={"Content-Type": "application/json"})
        assert (answer.status, answer.body) == (200, b"")
        is_problem(gateway.get(f"{DEPLOYMENTS}/gone"), 404)
        is_problem(gateway.delete(f"{DEPLOYMENTS}/gone"), 404)


def test_a_deletion_without_patience_goes_on_in_the_background(gateway: Gateway) -> None:
    create(gateway, "going")
    assert gateway.delete(f"{DEPLOYMENTS}/going?timeout=0").status == 200
    until(lambda: gateway.get(f"{DEPLOYMENTS}/going").status == 404, "the deployment to go")


@pytest.mark.parametrize("timeout", ["0", "0.0", "1", "300000", "300000.0", "1500.5", "1e3", "1e-05", "60000."])
def test_a_deletion_may_wait_for_any_number_of_milliseconds_up_to_five_minutes(gateway: Gateway, timeout: str) -> None:
    create(gateway, "timed")
    assert gateway.delete(f"{DEPLOYMENTS}/timed?timeout={timeout}").status == 200
    until(lambda: gateway.get(f"{DEPLOYMENTS}/timed").status == 404, "the deployment to go")


BAD_TIMEOUTS = ["", "-1", "300001", "300000.1", "1e9", "1e400", "nan", "inf", "a", "1_000", "%20", "%D9%A1", "1" * 5000]


@pytest.mark.parametrize("timeout", BAD_TIMEOUTS)
def test_another_timeout_is_refused_and_deletes_nothing(gateway: Gateway, timeout: str) -> None:
    if gateway.get(f"{DEPLOYMENTS}/patient").status == 404:
        create(gateway, "patient")
    is_problem(gateway.delete(f"{DEPLOYMENTS}/patient?timeout={timeout}"), 400)
    assert gateway.get(f"{DEPLOYMENTS}/patient/status").ok() == {"status": "running"}


def test_compute_resources_are_those_of_the_credentials_file(gateway: Gateway) -> None:
    assert gateway.get("/v1/serverless-compute-resources").ok() == [
        {"name": "General Compute", "size": 1, "is_available": True},
        {"name": "General Compute", "size": 4, "is_available": True},
        {"name": "H100", "size": 2, "is_available": False},
    ]


def test_the_rules_of_the_file_count_from_the_next_request_on(shell: Terminal) -> None:
    file = write(shell.folder / "credentials.yaml")
    document = deployment("ruled", containers=[container(image="app")], compute={"name": "Mine", "size": 3})
    document["scaling"]["deadline_seconds"] = 5
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        token = access_token(gateway)
        is_problem(gateway.post(DEPLOYMENTS, document, token=token), 400)
        write(file, deadline_minimum_s=5, allow_latest_tag=True, compute_resources=[{"name": "Mine", "sizes": [3]}])
        assert gateway.post(DEPLOYMENTS, document, token=token).status == 201
        write(file)
        assert [found["name"] for found in gateway.get(DEPLOYMENTS, token=token).ok()] == ["ruled"]


def test_compute_that_is_no_longer_available_stays_with_those_that_have_it(shell: Terminal) -> None:
    def offer(**fields: Any) -> Path:
        return write(shell.folder / "credentials.yaml", compute_resources=[{"name": "Mine", "sizes": [1, 2], **fields}])

    def shown() -> list[bool]:
        [summary] = gateway.get(DEPLOYMENTS).ok()
        return [found["compute"]["is_available"] for found in (summary, gateway.get(f"{DEPLOYMENTS}/early").ok())]

    compute = {"name": "Mine", "size": 1}
    with serving(shell, BATCHFLOW_CREDENTIALS=str(offer())) as gateway:
        gateway.token = access_token(gateway)
        assert create(gateway, "early", compute=compute)["compute"] == {**compute, "is_available": True}
        assert shown() == [True, True]
        offer(is_available=False)
        assert shown() == [False, False]
        is_problem(
            gateway.post(DEPLOYMENTS, deployment("late", compute=compute)), 400, 'compute.name "Mine" is not available now; use another'
        )
        assert patch(gateway, "early", {"scaling": {"max_replica_count": 3}}).ok()["compute"]["is_available"] is False
        is_problem(patch(gateway, "early", {"compute": {"size": 2}}), 400)
        offer(sizes=[2])
        assert shown() == [False, False]
        offer()
        assert shown() == [True, True]
