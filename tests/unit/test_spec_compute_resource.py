"""What an installation offers, as its configuration writes it."""

from __future__ import annotations

from typing import Any

import pytest

from batchflow.errors import InvalidInput
from batchflow.spec.computeresource import COMPUTE_RESOURCES, ComputeResource, Rules, parse_rules
from batchflow.spec.fields import Field
from batchflow.spec.reader import document_of


def rules(**configuration: Any) -> Rules:
    return parse_rules(Field.of(document_of(configuration, "credentials.yaml")).fields())


def test_without_a_word_verdas_names_are_offered_with_verdas_bounds() -> None:
    assert rules() == Rules(deadline_minimum_s=600, allow_latest_tag=False, compute=COMPUTE_RESOURCES)
    assert {"H100", "A100", "B200", "RTX 4500 Ada", "RTX4500Ada", "CPUNode", "General Compute"} == {r.name for r in COMPUTE_RESOURCES}
    assert [r.resource for r in COMPUTE_RESOURCES if r.name in ("General Compute", "H100")] == ["cpu", "nvidia.com/gpu"]


def test_an_installation_lists_its_own() -> None:
    toleration = {"key": "gpu", "operator": "Exists"}
    given = {
        "name": "L4",
        "sizes": [1, 3],
        "is_available": False,
        "resource": "nvidia.com/gpu",
        "requests": {"memory": "16Gi", "cpu": "4"},
        "node_selector": {"pool": "l4"},
        "tolerations": [toleration],
    }
    read = rules(deadline_minimum_s=5, allow_latest_tag=True, compute_resources=[given, {"name": "Any", "resource": ""}])
    full = ComputeResource("L4", (1, 3), False, "nvidia.com/gpu", {"memory": "16Gi", "cpu": "4"}, {"pool": "l4"}, (toleration,))
    assert read == Rules(5, True, (full, ComputeResource("Any", resource="")))
    assert (read.find("L4"), read.find("l4")) == (full, None)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"deadline_minimum_s": 0}, "deadline_minimum_s: must be greater than or equal to 1"),
        ({"allow_latest_tag": "yes"}, "allow_latest_tag: must be true or false"),
        ({"compute_resources": []}, "compute_resources: must contain at least 1 elements"),
        ({"compute_resources": [{}]}, "compute_resources: index 0: name: must be defined"),
        ({"compute_resources": [{"name": ""}]}, "compute_resources: index 0: name: cannot be empty"),
        ({"compute_resources": [{"name": "A"}, {"name": "A"}]}, 'compute_resources: index 1: name: "A" is there twice'),
        ({"compute_resources": [{"name": "A", "sizes": []}]}, "sizes: must contain at least 1 elements"),
        ({"compute_resources": [{"name": "A", "sizes": [0]}]}, "sizes: index 0: must be greater than or equal to 1"),
        ({"compute_resources": [{"name": "A", "requests": {"cpu": "many"}}]}, "requests: cpu: "),
        ({"compute_resources": [{"name": "A", "node_selector": {"pool": 1}}]}, "node_selector: pool: must be a string"),
        ({"compute_resources": [{"name": "A", "tolerations": ["gpu"]}]}, "tolerations: index 0: must be a map"),
        ({"compute_resources": [{"name": "A", "size": 1}]}, 'key "size" is not supported'),
    ],
)
def test_what_an_installation_can_not_offer_is_refused(configuration: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rules(**configuration)
    assert message in str(caught.value) and "credentials.yaml" in str(caught.value)


def test_rules_that_check_nothing_take_any_compute() -> None:
    fields = Field.of(document_of({"name": "Gone", "size": 3})).fields()
    assert Rules.none().check_compute(fields.need("name"), fields.need("size")) == ("Gone", 3)
    assert Rules.none().find("Gone") is None
