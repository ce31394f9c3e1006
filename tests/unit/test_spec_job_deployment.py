"""A job deployment's document: every row of the tables of spec/verda.md section 2.4."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchflow.spec.computeresource import ComputeResource, Rules
from batchflow.spec.jobdeployment import (
    RESERVED_NAMES,
    Healthcheck,
    JobDeployment,
    Mount,
    Scaling,
    Variable,
    from_document,
    to_document,
)
from tests.unit.job_documents import ABSENT, CONTAINER, ENV, MISSING, SMALLEST, Json, changed, full_document, parsed, refused


def test_what_is_not_said_has_verdas_defaults() -> None:
    assert parsed(SMALLEST) == JobDeployment(
        name="digits",
        image="registry.example/team/app:1.0",
        port=8000,
        healthcheck=Healthcheck(enabled=True, port=8000, path="/health"),
        entrypoint=(),
        cmd=(),
        overrides=False,
        env=(),
        mounts=(),
        cached_image=True,
        compute="General Compute",
        size=1,
        scaling=Scaling(max_replica_count=2, ttl_s=300, deadline_s=600),
        registry="",
    )


@pytest.mark.parametrize(
    ("path", "value", "attribute", "read"),
    [
        ("name", "a", "name", "a"),
        ("name", "a" * 63, "name", "a" * 63),
        ("name", "0-9", "name", "0-9"),
        (f"{CONTAINER}.image", {"image": "app:2", "last_updated_at": "2026-01-01"}, "image", "app:2"),
        (f"{CONTAINER}.image", "host:5000/app:2", "image", "host:5000/app:2"),
        (f"{CONTAINER}.image", "app@sha256:" + "0" * 64, "image", "app@sha256:" + "0" * 64),
        (f"{CONTAINER}.exposed_port", 1, "port", 1),
        (f"{CONTAINER}.exposed_port", 65535, "port", 65535),
        (f"{CONTAINER}.healthcheck", {"enabled": True}, "healthcheck", Healthcheck(True, 8000, "/health")),
        (f"{CONTAINER}.healthcheck", {}, "healthcheck", Healthcheck(True, 8000, "/health")),
        (f"{CONTAINER}.healthcheck", {"enabled": False}, "healthcheck", Healthcheck(False, 8000, "/health")),
        (f"{CONTAINER}.healthcheck", {"port": 9, "path": "/r?a=1"}, "healthcheck", Healthcheck(True, 9, "/r?a=1")),
        (f"{CONTAINER}.entrypoint_overrides", {"enabled": True, "cmd": None, "entrypoint": ["run"]}, "entrypoint", ("run",)),
        (f"{CONTAINER}.entrypoint_overrides", {"enabled": True, "cmd": ["a", ""]}, "cmd", ("a", "")),
        (f"{CONTAINER}.entrypoint_overrides", {"cmd": ["a"]}, "overrides", True),
        (f"{CONTAINER}.entrypoint_overrides", {"enabled": False, "cmd": ["a"]}, "overrides", False),
        (f"{CONTAINER}.env", [ENV], "env", (Variable("MODE", "fast", False),)),
        (f"{CONTAINER}.env", [{**ENV, "value_or_reference_to_secret": ""}], "env", (Variable("MODE", "", False),)),
        (f"{CONTAINER}.env", [{**ENV, "type": "secret"}], "env", (Variable("MODE", "fast", True),)),
        (f"{CONTAINER}.volume_mounts", [{"type": "scratch", "mount_path": "/data"}], "mounts", (Mount("scratch", "/data"),)),
        (
            f"{CONTAINER}.volume_mounts",
            [{"type": "memory", "mount_path": "/elsewhere", "size_in_mb": 64}, {"type": "scratch", "mount_path": "/data"}],
            "mounts",
            (Mount("memory", "/dev/shm", size_mb=64), Mount("scratch", "/data")),
        ),
        (f"{CONTAINER}.volume_mounts", [{"type": "memory", "size_in_mb": 32768}], "mounts", (Mount("memory", "/dev/shm", size_mb=32768),)),
        (
            f"{CONTAINER}.volume_mounts",
            [{"type": "secret", "mount_path": "/keys", "secret_name": "tls"}],
            "mounts",
            (Mount("secret", "/keys", "tls"),),
        ),
        (
            f"{CONTAINER}.volume_mounts",
            [{"type": "secret", "mount_path": "/keys", "secret_name": "tls", "file_names": ["a.pem", ".b", "a.pem"]}],
            "mounts",
            (Mount("secret", "/keys", "tls", ("a.pem", ".b")),),
        ),
        (
            f"{CONTAINER}.volume_mounts",
            [{"type": "shared", "mount_path": "/sfs", "volume_id": "1a-2b"}],
            "mounts",
            (Mount("shared", "/sfs", "1a-2b"),),
        ),
        (
            f"{CONTAINER}.volume_mounts",
            [{"type": "shared", "mount_path": "/sfs", "volumeId": "1a-2b"}],
            "mounts",
            (Mount("shared", "/sfs", "1a-2b"),),
        ),
        (f"{CONTAINER}.should_use_cached_image", False, "cached_image", False),
        (f"{CONTAINER}.name", "whatever-1", "container", "app-0"),
        ("compute", {"name": "H100", "size": 8, "is_available": True}, "size", 8),
        ("scaling.deadline_seconds", 604800, "scaling", Scaling(2, 300, 604800)),
        ("scaling.max_replica_count", 1, "scaling", Scaling(1, 300, 600)),
        ("scaling.queue_message_ttl_seconds", 1, "scaling", Scaling(2, 1, 600)),
        ("container_registry_settings", {"is_private": False}, "registry", ""),
        ("container_registry_settings", {"is_private": True, "credentials": {"name": "hub"}}, "registry", "hub"),
        ("container_registry_settings", {"credentials": {"name": "hub"}}, "registry", "hub"),
        ("container_registry_settings", {"is_private": False, "credentials": None}, "registry", ""),
        ("is_spot", True, "name", "digits"),
        ("created_at", "not a time", "name", "digits"),
        ("endpoint_base_url", 5, "name", "digits"),
    ],
)
def test_what_is_said_is_read_and_stored(path: str, value: Any, attribute: str, read: Any) -> None:
    deployment = parsed(changed(path, value))
    assert getattr(deployment, attribute) == read
    assert from_document(json.loads(json.dumps(to_document(deployment)))) == deployment


@pytest.mark.parametrize(
    "path",
    [
        "name",
        "containers",
        "compute",
        "scaling",
        "compute.name",
        "compute.size",
        "scaling.max_replica_count",
        "scaling.queue_message_ttl_seconds",
        "scaling.deadline_seconds",
        f"{CONTAINER}.image",
        f"{CONTAINER}.exposed_port",
    ],
)
@pytest.mark.parametrize("value", [ABSENT, None], ids=["absent", "null"])
def test_what_must_be_there_is_named_as_verda_names_it(path: str, value: Any) -> None:
    assert refused(changed(path, value)) == f"{path} {MISSING}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", "", "name cannot be empty"),
        ("name", "Digits", "name should have lower-case letters, digits and dashes only, and neither begin nor end with a dash"),
        ("name", "digits\n", "name should have lower-case letters, digits and dashes only, and neither begin nor end with a dash"),
        ("name", "-a", "name should have lower-case letters, digits and dashes only, and neither begin nor end with a dash"),
        ("name", "a-", "name should have lower-case letters, digits and dashes only, and neither begin nor end with a dash"),
        ("name", "a.b", "name should have lower-case letters, digits and dashes only, and neither begin nor end with a dash"),
        ("name", "a" * 64, "name should have at most 63 characters (got 64)"),
        ("name", "status", 'name "status" is reserved'),
        ("name", "result", 'name "result" is reserved'),
        ("name", 5, "name must be a string (got 5)"),
        ("containers", [], "containers should contain exactly 1 element (got 0)"),
        ("containers", SMALLEST["containers"] * 2, "containers should contain exactly 1 element (got 2)"),
        ("containers", {}, "containers must be a list (got a map)"),
        (CONTAINER, "app", 'containers.0 must be a map (got "app")'),
        (f"{CONTAINER}.image", {"last_updated_at": "2026"}, f"containers.0.image.image {MISSING}"),
        (f"{CONTAINER}.image", 1, "containers.0.image must be a string (got 1)"),
        (f"{CONTAINER}.image", "", "containers.0.image cannot be empty"),
        (f"{CONTAINER}.image", "an image:1", 'containers.0.image "an image:1" is not the name of an image'),
        (f"{CONTAINER}.image", ":1", 'containers.0.image ":1" is not the name of an image'),
        (f"{CONTAINER}.image", "app", 'containers.0.image should name a tag other than "latest", or a digest'),
        (f"{CONTAINER}.image", "host:5000/app", 'containers.0.image should name a tag other than "latest", or a digest'),
        (f"{CONTAINER}.image", {"image": "app:latest"}, 'containers.0.image.image should name a tag other than "latest", or a digest'),
        (f"{CONTAINER}.exposed_port", 0, "containers.0.exposed_port must be greater than or equal to 1 (got 0)"),
        (f"{CONTAINER}.exposed_port", 65536, "containers.0.exposed_port must be less than or equal to 65535 (got 65536)"),
        (f"{CONTAINER}.exposed_port", "80", 'containers.0.exposed_port must be an integer (got "80")'),
        (f"{CONTAINER}.exposed_port", True, "containers.0.exposed_port must be an integer (got true)"),
        (f"{CONTAINER}.exposed_port", 80.0, "containers.0.exposed_port must be an integer (got 80.0)"),
        (f"{CONTAINER}.healthcheck", True, "containers.0.healthcheck must be a map (got true)"),
        (f"{CONTAINER}.healthcheck", {"enabled": 1}, "containers.0.healthcheck.enabled must be true or false (got 1)"),
        (f"{CONTAINER}.healthcheck", {"port": 0}, "containers.0.healthcheck.port must be greater than or equal to 1 (got 0)"),
        (f"{CONTAINER}.healthcheck", {"path": "h"}, "containers.0.healthcheck.path should be a path that begins with a slash"),
        (f"{CONTAINER}.healthcheck", {"path": "/a b"}, "containers.0.healthcheck.path should be a path that begins with a slash"),
        (f"{CONTAINER}.healthcheck", {"path": "/a\r\nX: 1"}, "containers.0.healthcheck.path should be a path that begins with a slash"),
        (f"{CONTAINER}.entrypoint_overrides", {"cmd": "run"}, 'containers.0.entrypoint_overrides.cmd must be a list (got "run")'),
        (f"{CONTAINER}.entrypoint_overrides", {"cmd": [1]}, "containers.0.entrypoint_overrides.cmd.0 must be a string (got 1)"),
        (f"{CONTAINER}.env", {}, "containers.0.env must be a list (got a map)"),
        (f"{CONTAINER}.env", [{}], f"containers.0.env.0.name {MISSING}"),
        (f"{CONTAINER}.env", [{"name": "A", "type": "plain"}], f"containers.0.env.0.value_or_reference_to_secret {MISSING}"),
        (f"{CONTAINER}.env", [{"name": "A", "value_or_reference_to_secret": "1"}], f"containers.0.env.0.type {MISSING}"),
        (f"{CONTAINER}.env", [ENV, {**ENV, "name": "1A"}], 'containers.0.env.1.name "1A" is not the name of an environment variable'),
        (f"{CONTAINER}.env", [ENV, ENV], 'containers.0.env.1.name "MODE" is there twice'),
        (f"{CONTAINER}.env", [{**ENV, "type": "file"}], 'containers.0.env.0.type must be plain or secret (got "file")'),
        (
            f"{CONTAINER}.env",
            [{**ENV, "value_or_reference_to_secret": 5}],
            "containers.0.env.0.value_or_reference_to_secret must be a string (got 5)",
        ),
        (
            f"{CONTAINER}.env",
            [{**ENV, "value_or_reference_to_secret": "No_Secret", "type": "secret"}],
            'containers.0.env.0.value_or_reference_to_secret "No_Secret" is not the name of a secret',
        ),
        (f"{CONTAINER}.should_use_cached_image", "no", 'containers.0.should_use_cached_image must be true or false (got "no")'),
        ("compute", "H100", 'compute must be a map (got "H100")'),
        ("compute", {"name": "h100", "size": 1}, 'compute.name "h100" is not offered'),
        ("compute", {"name": "H100", "size": 16}, 'compute.size "H100" has the sizes 1, 2, 4, 8 (got 16)'),
        ("compute", {"name": "H100", "size": 0}, "compute.size must be greater than or equal to 1 (got 0)"),
        ("scaling.max_replica_count", 0, "scaling.max_replica_count must be greater than or equal to 1 (got 0)"),
        ("scaling.queue_message_ttl_seconds", 0, "scaling.queue_message_ttl_seconds must be greater than or equal to 1 (got 0)"),
        ("scaling.deadline_seconds", 599, "scaling.deadline_seconds must be greater than or equal to 600 (got 599)"),
        ("scaling.deadline_seconds", 604801, "scaling.deadline_seconds must be less than or equal to 604800 (got 604801)"),
        ("container_registry_settings", {"is_private": True}, f"container_registry_settings.credentials {MISSING}"),
        ("container_registry_settings", {"is_private": "no"}, 'container_registry_settings.is_private must be true or false (got "no")'),
        ("container_registry_settings", {"credentials": {}}, f"container_registry_settings.credentials.name {MISSING}"),
        (
            "container_registry_settings",
            {"credentials": {"name": "My Hub"}},
            'container_registry_settings.credentials.name "My Hub" is not the name of registry credentials',
        ),
    ],
)
def test_what_can_not_be_used_is_refused_with_its_place(path: str, value: Any, message: str) -> None:
    assert refused(changed(path, value)) == message


SIZES = "64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768"


@pytest.mark.parametrize(
    ("mounts", "message"),
    [
        ([{}], f"0.type {MISSING}"),
        ([{"type": "disk", "mount_path": "/a"}], '0.type must be scratch or memory or secret or shared (got "disk")'),
        ([{"type": "scratch"}], f"0.mount_path {MISSING}"),
        ([{"type": "scratch", "mount_path": "data"}], "0.mount_path should be an absolute path, and not the root"),
        ([{"type": "scratch", "mount_path": "/"}], "0.mount_path should be an absolute path, and not the root"),
        ([{"type": "scratch", "mount_path": "/a:b"}], "0.mount_path should be an absolute path, and not the root"),
        ([{"type": "scratch", "mount_path": "/a/../etc"}], "0.mount_path should be an absolute path, and not the root"),
        ([{"type": "scratch", "mount_path": "/a"}, {"type": "scratch", "mount_path": "/a"}], '1.mount_path "/a" is there twice'),
        ([{"type": "memory", "size_in_mb": 64}, {"type": "scratch", "mount_path": "/dev/shm"}], '1.mount_path "/dev/shm" is there twice'),
        ([{"type": "memory"}], f"0.size_in_mb {MISSING}"),
        ([{"type": "memory", "size_in_mb": 32}], f"0.size_in_mb should be one of {SIZES} (got 32)"),
        ([{"type": "memory", "size_in_mb": 100}], f"0.size_in_mb should be one of {SIZES} (got 100)"),
        ([{"type": "memory", "size_in_mb": 65536}], f"0.size_in_mb should be one of {SIZES} (got 65536)"),
        ([{"type": "memory", "size_in_mb": "64"}], '0.size_in_mb must be an integer (got "64")'),
        ([{"type": "secret", "mount_path": "/a"}], f"0.secret_name {MISSING}"),
        ([{"type": "secret", "mount_path": "/a", "secret_name": "A B"}], '0.secret_name "A B" is not the name of a secret'),
        (
            [{"type": "secret", "mount_path": "/a", "secret_name": "s", "file_names": ["x", "../y"]}],
            '0.file_names.1 "../y" is not the name of a file in a secret',
        ),
        (
            [{"type": "secret", "mount_path": "/a", "secret_name": "s", "file_names": [".."]}],
            '0.file_names.0 ".." is not the name of a file in a secret',
        ),
        ([{"type": "shared", "mount_path": "/a"}], f"0.volume_id {MISSING}"),
        ([{"type": "shared", "mount_path": "/a", "volumeId": "A/B"}], '0.volumeId "A/B" is not the name of a volume'),
    ],
)
def test_a_mount_that_can_not_be_made_is_refused(mounts: list[Json], message: str) -> None:
    assert refused(changed(f"{CONTAINER}.volume_mounts", mounts)) == f"containers.0.volume_mounts.{message}"


@pytest.mark.parametrize("name", RESERVED_NAMES)
def test_the_gateways_own_paths_are_no_names(name: str) -> None:
    assert refused(changed("name", name)).startswith("name ")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("random-logger:1", "random-logger-0"),
        ("host:5000/Team/My_App.x:1@sha256:0", "my-app-x-0"),
        ("_:1", "container-0"),
        ("a" * 100 + ":1", "a" * 60 + "-0"),
    ],
)
def test_a_container_is_named_after_its_image(image: str, name: str) -> None:
    deployment = parsed(SMALLEST)
    assert JobDeployment(**{**{f: getattr(deployment, f) for f in deployment.__slots__}, "image": image}).container == name


def test_the_rules_of_an_installation_are_its_own() -> None:
    rules = Rules(deadline_minimum_s=5, allow_latest_tag=True, compute=(ComputeResource("Rack", sizes=(3,)),))
    document = changed("compute", {"name": "Rack", "size": 3}, of=changed("scaling.deadline_seconds", 5))
    assert parsed(changed(f"{CONTAINER}.image", "app", of=document), rules).image == "app"
    assert parsed(changed(f"{CONTAINER}.image", "app:latest", of=document), rules).compute == "Rack"
    assert refused(changed("scaling.deadline_seconds", 4, of=document), rules).endswith("must be greater than or equal to 5 (got 4)")
    assert refused(SMALLEST, rules) == 'compute.name "General Compute" is not offered'


def test_what_was_taken_before_is_read_whatever_the_rules_are_now() -> None:
    rules = Rules(deadline_minimum_s=1, allow_latest_tag=True, compute=(ComputeResource("Gone", sizes=(3,)),))
    document = changed("compute", {"name": "Gone", "size": 3}, of=changed("scaling.deadline_seconds", 1))
    deployment = parsed(changed(f"{CONTAINER}.image", "app", of=document), rules)
    assert from_document(to_document(deployment)) == deployment


# In a file an unknown key is a misspelling; from a client it may be something that Verda has added since.


@pytest.mark.parametrize(
    "path",
    [
        "key",
        f"{CONTAINER}.key",
        f"{CONTAINER}.image.key",
        f"{CONTAINER}.healthcheck.key",
        f"{CONTAINER}.entrypoint_overrides.key",
        f"{CONTAINER}.env.0.key",
        f"{CONTAINER}.volume_mounts.0.key",
        "compute.key",
        "scaling.key",
        "container_registry_settings.key",
        "container_registry_settings.credentials.key",
    ],
)
def test_an_unknown_key_is_ignored_unless_it_is_strict(path: str) -> None:
    """In a file it is a misspelling; from a client it may be something that Verda has added since."""
    document = full_document()
    assert parsed(document, strict=True) == parsed(document)
    assert parsed(changed(path, 1, of=document)) == parsed(document)
    where = path.removesuffix("key").removesuffix(".")
    assert refused(changed(path, 1, of=document), strict=True) == f'{where} key "key" is not supported'.strip()
