"""Whatever comes in makes a job deployment that can be stored, or InvalidInput."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow.errors import InvalidInput
from batchflow.spec.computeresource import COMPUTE_RESOURCES
from batchflow.spec.jobdeployment import from_document, to_document
from batchflow.spec.jobpatch import merged
from tests.unit.job_documents import SMALLEST, Json, full_document, parsed

EXAMPLES = 100

# fmt: off
WORDS = [
    "name", "containers", "compute", "scaling", "container_registry_settings", "is_private", "credentials", "image", "exposed_port", "env",
    "healthcheck", "entrypoint_overrides", "volume_mounts", "enabled", "port", "path", "type", "mount_path", "secret_name", "file_names",
    "size_in_mb", "volume_id", "size", "max_replica_count", "value_or_reference_to_secret", "plain", "secret", "/data", "app:1", "H100",
    "scratch", "memory", "shared", "deadline_seconds", "queue_message_ttl_seconds", "created_at", "app-0",
]
# fmt: on
words = st.sampled_from(WORDS)
scalars = (
    st.none() | st.booleans() | st.integers(-1, 70_000) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6) | words
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4), max_leaves=8)
mounts = st.fixed_dictionaries(
    {"type": st.sampled_from(["scratch", "memory", "secret", "shared"])},
    optional={"mount_path": words, "size_in_mb": st.sampled_from([64, 65]), "secret_name": words, "volume_id": words, "file_names": values},
)
variables = st.fixed_dictionaries(
    {"name": st.sampled_from(["A", "b_1", "1"]), "value_or_reference_to_secret": words, "type": st.sampled_from(["plain", "secret"])}
)
container_fields = {
    "image": st.sampled_from(["app:1", "app@sha256:0", "app"]),
    "exposed_port": st.sampled_from([1, 8000, 0]),
    "healthcheck": st.fixed_dictionaries({}, optional={"enabled": st.booleans(), "port": st.just(9), "path": words}) | values,
    "entrypoint_overrides": st.fixed_dictionaries({}, optional={"enabled": st.booleans(), "cmd": st.lists(words, max_size=2)}) | values,
    "env": st.lists(variables, max_size=2) | values,
    "volume_mounts": st.lists(mounts, max_size=2) | values,
    "name": words,
    "should_use_cached_image": st.booleans() | values,
}
containers = st.lists(st.fixed_dictionaries({}, optional=container_fields) | values, min_size=1, max_size=1) | values
patches = st.fixed_dictionaries(
    {},
    optional={
        "name": words,
        "containers": containers,
        "compute": st.fixed_dictionaries({}, optional={"name": st.sampled_from([r.name for r in COMPUTE_RESOURCES]), "size": values})
        | values,
        "scaling": st.fixed_dictionaries({}, optional={"max_replica_count": st.integers(0, 3), "deadline_seconds": values}) | values,
        "container_registry_settings": values,
    },
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(patches | values)
def test_whatever_comes_in_is_a_deployment_that_can_be_stored_or_refused(change: Any) -> None:
    document = {**SMALLEST, **change} if isinstance(change, dict) else change
    try:
        deployment = parsed(document)
    except InvalidInput:
        return
    assert from_document(json.loads(json.dumps(to_document(deployment)))) == deployment


@settings(max_examples=EXAMPLES, deadline=None)
@given(patches)
def test_whatever_a_patch_says_the_name_stays_and_a_repeat_changes_nothing(patch: Json) -> None:
    current = to_document(parsed(full_document()))
    try:
        updated = parsed(merged(current, patch))
    except InvalidInput:
        return
    assert updated.name == "digits"
    named = [container.get("name") for container in patch.get("containers") or []]
    if named in ([], [None], [updated.container]):  # else the name may no longer be that of the container
        assert parsed(merged(to_document(updated), patch)) == updated
