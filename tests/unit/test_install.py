"""`batchflow install`: what it refuses, what its manifests hold, and that they fit the workflows that the compiler makes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from batchflow import contract
from batchflow.cli.main import cli
from batchflow.cluster.install import Installation, manifests, plan_installation
from batchflow.cluster.permissions import CLEANUP, EXECUTOR, LOOKUP, ROLES, USER
from batchflow.errors import InvalidInput
from batchflow.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
TEMPLATES = ROOT / "templates" / "install"
SHELL = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "hush"}
FLAGS = {"--store": "s3://bucket/jobs"}
ROLE_ARN = "arn:aws:iam::123456789012:role/batchflow"

Json = dict[str, Any]


def documents(installation: Installation) -> list[Json]:
    return list(yaml.safe_load_all(manifests(installation, TEMPLATES)))


def planned(**changes: Any) -> Installation:
    return plan_installation(**{"namespace": "here", "flags": FLAGS, "environ": SHELL, **changes})


def by_kind(installation: Installation, kind: str) -> dict[str, Json]:
    return {one["metadata"]["name"]: one for one in documents(installation) if one["kind"] == kind}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"flags": {}}, r"--store: is not set.*BATCHFLOW_STORE"),
        ({"flags": {"--store": "/tmp/jobs"}}, "--store: .*s3://bucket/prefix"),
        ({"flags": {"--store": "s3://"}}, "--store: "),
        ({"environ": {}}, "--region: is not set.*AWS_REGION"),
        ({"namespace": "Here!"}, '-n: "Here!"'),
        ({"namespace": "a" * 64}, "-n: "),
        ({"role_arn": "batchflow"}, "--role-arn: .*arn:aws:iam"),
        ({"flags": {**FLAGS, "--endpoint-url": "10.0.0.1:9324"}}, "--endpoint-url"),
        ({"flags": {**FLAGS, "--endpoint-url": "http://[::1"}}, "--endpoint-url"),
        ({"flags": {**FLAGS, "--sqs-endpoint-url": "http://127.0.0.1:9324"}}, "--sqs-endpoint-url.*pod"),
        ({"environ": {**SHELL, "AWS_ENDPOINT_URL_S3": "http://localhost:9000"}}, "AWS_ENDPOINT_URL_S3.*pod"),
        ({"flags": {**FLAGS, "--gateway-url": "gateway:8888"}}, "--gateway-url"),
        ({"environ": {**SHELL, "BATCHFLOW_GATEWAY_URL": "http://127.0.0.1:8888"}, "gateway": True}, "BATCHFLOW_GATEWAY_URL.*pod"),
        ({"flags": {**FLAGS, "--log-level": "loud"}}, "BATCHFLOW_LOG_LEVEL: "),
        ({"environ": {**SHELL, "BATCHFLOW_RETRY_S": "long"}}, "BATCHFLOW_RETRY_S: "),
    ],
)
def test_what_can_not_work_is_refused_by_the_flag_or_variable(changes: Json, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        planned(**changes)


def test_a_flag_wins_over_the_shell_and_the_shell_fills_in() -> None:
    shell = {**SHELL, "BATCHFLOW_STORE": "s3://shell/jobs", "BATCHFLOW_STEP_CPU": "50m", "BATCHFLOW_LOCAL_DIR": "/home/ada/runs"}
    config = planned(environ=shell).config
    assert config["BATCHFLOW_STORE"] == "s3://bucket/jobs"
    assert config["AWS_REGION"] == "eu-west-1"
    assert config["BATCHFLOW_STEP_CPU"] == "50m"
    assert "BATCHFLOW_LOCAL_DIR" not in config


def test_every_setting_but_those_of_one_machine_can_be_installed() -> None:
    names = set(re.findall(r"\bBATCHFLOW_[A-Z_]*[A-Z]\b", (ROOT / "batchflow" / "settings.py").read_text(encoding="utf-8")))
    numbers = {name: "7" for name in names if name.endswith(("_S", "_BYTES"))}
    installed = planned(environ={**SHELL, **dict.fromkeys(names, "info"), **numbers}).config
    assert names - set(installed) == {"BATCHFLOW_LOCAL_DIR", "BATCHFLOW_CACHE_DIR", "BATCHFLOW_KUBE_CONTEXT", "BATCHFLOW_SOURCES"}


def test_the_older_region_variable_will_do() -> None:
    assert planned(environ={"AWS_DEFAULT_REGION": "us-west-2"}).config["AWS_REGION"] == "us-west-2"


def test_a_shell_that_works_on_its_machine_installs_for_a_cluster_all_the_same() -> None:
    config = planned(environ={**SHELL, "BATCHFLOW_ENGINE": "local", "BATCHFLOW_QUEUES": "sqlite:/tmp/q"}).config
    assert (config["BATCHFLOW_ENGINE"], config["BATCHFLOW_QUEUES"]) == ("argo", "sqs")


def test_pods_read_from_the_config_map_what_was_asked_for() -> None:
    data = by_kind(planned(), "ConfigMap")[contract.CONFIG_MAP]["data"]
    settings = Settings.from_env(data)
    assert (settings.store, settings.namespace, settings.engine) == ("s3://bucket/jobs", "here", "argo")
    assert data[contract.ENV_VERSION] == contract.VERSION


def test_credentials_are_never_printed() -> None:
    printed = manifests(planned(), TEMPLATES)
    assert "hush" not in printed and "AKIA" not in printed
    assert f"create secret generic {contract.AWS_SECRET}" in printed


@pytest.mark.parametrize(
    "text", ["true", "1.10", "a: b", 'quote " # {{ x }}', "{% raw %}", "line\nline", "- x", "日本 \u2028\x7f", "x" * 300, "'"]
)
def test_a_value_stays_the_text_that_it_is(text: str) -> None:
    import hera.workflows  # noqa: F401 - it changes how yaml.safe_dump writes texts

    installed = Installation("here", {"BATCHFLOW_IMAGE": text}, role_arn=text)
    assert by_kind(installed, "ConfigMap")[contract.CONFIG_MAP]["data"] == {"BATCHFLOW_IMAGE": text}
    assert by_kind(installed, "ServiceAccount")[contract.STEP_ACCOUNT]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == text


def test_everything_is_in_the_namespace() -> None:
    assert {one["metadata"]["namespace"] for one in documents(planned())} == {"here"}
    kinds = {one["kind"] for one in documents(planned())}
    assert kinds == {"ServiceAccount", "Secret", "Role", "RoleBinding", "ConfigMap"}


def test_the_namespace_itself_is_printed_first_if_asked_for() -> None:
    first, *others = documents(planned(create_namespace=True))
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "here")
    assert others == documents(planned())


def test_our_pods_take_on_the_role_and_argo_does_not() -> None:
    accounts = by_kind(planned(role_arn=ROLE_ARN), "ServiceAccount")
    annotated = {name for name, one in accounts.items() if one["metadata"].get("annotations") == {"eks.amazonaws.com/role-arn": ROLE_ARN}}
    assert annotated == {contract.STEP_ACCOUNT, CLEANUP.account}


def test_only_the_pod_that_asks_kubernetes_gets_a_token() -> None:
    accounts = by_kind(planned(), "ServiceAccount")
    assert {name for name, one in accounts.items() if one["automountServiceAccountToken"]} == {CLEANUP.account}


def test_every_rule_is_explained_and_granted_as_the_table_says() -> None:
    printed = manifests(planned(), TEMPLATES)
    roles = by_kind(planned(), "Role")
    assert set(roles) == {role.name for role in ROLES}
    for role in ROLES:
        granted = [
            (rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [])) for rule in roles[role.name]["rules"]
        ]
        assert granted == [([rule.group], [rule.resource], list(rule.verbs), list(rule.names)) for rule in role.rules]
        for rule in role.rules:
            assert f"  # {rule.why}\n  - apiGroups" in printed


def test_each_role_is_bound_to_its_account_and_people_bind_theirs() -> None:
    bindings = by_kind(planned(), "RoleBinding")
    bound = {one["roleRef"]["name"]: [subject["name"] for subject in one["subjects"]] for one in bindings.values()}
    assert bound == {EXECUTOR.name: [EXECUTOR.account], CLEANUP.name: [CLEANUP.account]}
    assert USER.account == ""


def test_no_rule_is_wider_than_a_resource_and_its_verbs() -> None:
    for rule in (rule for role in ROLES for rule in role.rules):
        assert "*" not in (rule.group, rule.resource, *rule.verbs)
        assert not {"secrets", "pods/exec", "roles"} & {rule.resource}


GOLDENS = sorted((ROOT / "workflows").glob("*.yaml"))


def accounts_of(golden: Path) -> set[str]:
    spec = yaml.safe_load(golden.read_text(encoding="utf-8"))["spec"]
    named = {template.get("serviceAccountName") for template in spec["templates"]} - {None}
    return named | {spec["executor"]["serviceAccountName"]}


def test_every_account_that_is_installed_is_named_by_a_workflow() -> None:
    assert set().union(*map(accounts_of, GOLDENS)) == set(by_kind(planned(), "ServiceAccount"))


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_what_a_workflow_names_is_installed(golden: Path) -> None:
    text = golden.read_text(encoding="utf-8")
    executor = yaml.safe_load(text)["spec"]["executor"]["serviceAccountName"]
    assert accounts_of(golden) <= set(by_kind(planned(), "ServiceAccount"))
    assert set(re.findall(r"configMapRef:\n\s+name: (\S+)", text)) == set(by_kind(planned(), "ConfigMap"))
    assert contract.AWS_SECRET in re.findall(r"secretRef:\n\s+name: (\S+)", text)
    [token] = by_kind(planned(), "Secret").values()
    assert token["metadata"] | {"labels": {}} == {
        "name": contract.TOKEN_SECRET,
        "namespace": "here",
        "labels": {},
        "annotations": {"kubernetes.io/service-account.name": executor},
    }


def gateway_pod(installation: Installation) -> Json:
    template: Json = by_kind(installation, "Deployment")[contract.GATEWAY]["spec"]["template"]
    return template


def test_the_gateway_is_printed_only_if_asked_for_beside_the_rest() -> None:
    before = documents(planned())
    assert "gateway" not in manifests(planned(), TEMPLATES)
    added = [one for one in documents(planned(gateway=True)) if one not in before and one["kind"] != "ConfigMap"]
    assert [(one["kind"], one["metadata"]["name"], one["metadata"]["namespace"]) for one in added] == [
        *((kind, contract.GATEWAY, "here") for kind in ("ServiceAccount", "RoleBinding", "Service", "Deployment")),
        *((kind, LOOKUP.name, "here") for kind in ("Role", "RoleBinding")),
    ]


def test_only_the_gateway_may_look_for_secrets_and_nobody_lists_them() -> None:
    installed = planned(gateway=True)
    granted = {
        (name, resource): rule["verbs"]
        for name, role in by_kind(installed, "Role").items()
        for rule in role["rules"]
        for resource in rule["resources"]
        if resource in ("secrets", "persistentvolumeclaims")
    }
    assert granted == {(LOOKUP.name, "secrets"): ["get"], (LOOKUP.name, "persistentvolumeclaims"): ["get"]}
    assert [subject["name"] for subject in by_kind(installed, "RoleBinding")[LOOKUP.name]["subjects"]] == [contract.GATEWAY]


def test_the_gateway_may_do_what_people_may() -> None:
    installed = planned(gateway=True, role_arn=ROLE_ARN)
    binding = by_kind(installed, "RoleBinding")[contract.GATEWAY]
    assert binding["roleRef"]["name"] == USER.name
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": contract.GATEWAY, "namespace": "here"}]
    account = by_kind(installed, "ServiceAccount")[gateway_pod(installed)["spec"]["serviceAccountName"]]
    assert account["automountServiceAccountToken"] is True
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": ROLE_ARN}


def test_the_gateway_reads_what_our_steps_read_and_its_credentials() -> None:
    pod = gateway_pod(planned(gateway=True))["spec"]
    [container] = pod["containers"]
    assert [next(iter(one.values())) for one in container["envFrom"]] == [
        {"name": contract.CONFIG_MAP},
        {"name": contract.AWS_SECRET, "optional": True},
    ]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    folder, _, file = env[contract.ENV_CREDENTIALS].rpartition("/")
    assert file == contract.CREDENTIALS_KEY
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert "subPath" not in mounts[folder], "Kubernetes does not refresh that"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mounts[folder]["name"]]["secret"] == {"secretName": contract.GATEWAY}
    assert volumes[mounts["/tmp"]["name"]]["emptyDir"]["sizeLimit"], "bodies of requests could fill the node's disk"


def test_the_gateways_pod_is_as_confined_as_our_steps() -> None:
    workflow = yaml.safe_load(next((ROOT / "workflows").glob("*.yaml")).read_text(encoding="utf-8"))
    step = next(one["container"] for one in workflow["spec"]["templates"] if one["name"] == contract.STEP_ENQUEUE)
    pod = gateway_pod(planned(gateway=True))["spec"]
    [container] = pod["containers"]
    assert {**container["securityContext"], "runAsNonRoot": pod["securityContext"]["runAsNonRoot"]} == step["securityContext"]
    assert pod["securityContext"]["seccompProfile"] == workflow["spec"]["securityContext"]["seccompProfile"]
    assert pod["enableServiceLinks"] is False, "the names of such variables begin as those of our settings do"


def test_the_service_leads_to_the_gateway_and_workers_know_its_name() -> None:
    installed = planned(gateway=True)
    service, pod = by_kind(installed, "Service")[contract.GATEWAY]["spec"], gateway_pod(installed)
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    [container] = pod["spec"]["containers"]
    [port] = container["ports"]
    assert [(one["port"], one["targetPort"]) for one in service["ports"]] == [(contract.GATEWAY_PORT, port["name"])]
    assert port["containerPort"] == contract.GATEWAY_PORT == int(container["command"][-1])
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert installed.config[contract.ENV_GATEWAY_URL] == f"http://{contract.GATEWAY}.here.svc:{contract.GATEWAY_PORT}"


def test_workers_may_be_told_another_address_also_where_no_gateway_is() -> None:
    flags = {**FLAGS, "--gateway-url": "https://batch.example.org"}
    assert {planned(flags=flags, gateway=given).config[contract.ENV_GATEWAY_URL] for given in (True, False)} == {flags["--gateway-url"]}
    assert contract.ENV_GATEWAY_URL not in planned().config


def test_the_gateways_image_is_that_of_our_steps() -> None:
    shell = {**SHELL, "BATCHFLOW_IMAGE": "registry.example/step:1", "BATCHFLOW_IMAGE_PULL_SECRETS": "one, two"}
    pod = gateway_pod(planned(environ=shell, gateway=True))["spec"]
    assert (pod["containers"][0]["image"], pod["imagePullSecrets"]) == ("registry.example/step:1", [{"name": "one"}, {"name": "two"}])
    pod = gateway_pod(planned(gateway=True))["spec"]
    assert pod["containers"][0]["image"] == contract.STEP_IMAGE and "imagePullSecrets" not in pod


def test_a_change_of_settings_starts_the_gateway_anew_and_nothing_else_does() -> None:
    def annotations(**changes: Any) -> Json:
        return dict(gateway_pod(planned(gateway=True, **changes))["metadata"]["annotations"])

    assert annotations() == annotations(create_namespace=True)
    assert annotations() != annotations(environ={**SHELL, "BATCHFLOW_GRACE_S": "40"})


def test_the_command_prints_the_same_as_yaml_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["install", "-n", "here", "--store", "s3://bucket/jobs", "--region", "eu-west-1", "--gateway"]
    monkeypatch.delenv("AWS_REGION")
    assert not [name for name in os.environ if name.startswith("BATCHFLOW_")]
    as_yaml = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    as_json = CliRunner().invoke(cli, [*arguments, "-o", "json"], catch_exceptions=False)
    listed = json.loads(as_json.output)
    assert listed["kind"] == "List"
    assert listed["items"] == list(yaml.safe_load_all(as_yaml.output)) == documents(planned(gateway=True))


def test_the_page_for_administrators_lists_every_rule() -> None:
    rows = [row for row in PAGE.splitlines() if row.startswith("|")]
    for rule in (rule for role in ROLES for rule in role.rules):
        name = f"ConfigMap `{rule.names[0]}`" if rule.names else f"`{rule.resource}`"
        assert any(f"{', '.join(rule.verbs)} {name}" in row for row in rows), rule


def test_the_policies_on_the_page_allow_every_call_and_pods_no_more_than_they_make() -> None:
    pods, people, trust = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S))
    sources = [(ROOT / "batchflow" / name).read_text(encoding="utf-8") for name in ("queues/sqs.py", "store/s3.py")]
    calls = {call for source in sources for call in re.findall(r'_translated\("(\w+)"', source)}
    named = {"ListObjectsV2": "ListBucket", "DeleteObjects": "DeleteObject"}
    needed = {named.get(call, call.removesuffix("Batch")) for call in calls}
    assert len(needed) > 10
    assert needed | {"TagQueue", "AbortMultipartUpload"} == {action.partition(":")[2] for action in actions(pods) | actions(people)}
    assert not {"s3:DeleteObject", "sqs:ListQueues"} & actions(pods)
    assert trust["Statement"][0]["Condition"]["StringEquals"]["OIDC:sub"] == [
        f"system:serviceaccount:batchflow:{account}" for account in (contract.STEP_ACCOUNT, CLEANUP.account, contract.GATEWAY)
    ]


def actions(policy: Json) -> set[str]:
    listed = [statement["Action"] for statement in policy["Statement"]]
    return {action for one in listed for action in ([one] if isinstance(one, str) else one)}
