"""What `batchflow install` grants, and what `batchflow doctor` says of it, whole and broken, in a namespace that may be broken."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchflow import contract
from batchflow.cluster.permissions import CLEANUP, EXECUTOR, LOOKUP, ROLES, USER
from tests.acceptance.command import Terminal, until
from tests.cluster.installation import PERSON, namespace, printed
from tests.cluster.kit import Cluster

DOCTOR_S = 300  # bounds one that hangs
READY_S = 120
EVERYBODY = "authentication.k8s.io", "authorization.k8s.io"  # to ask who one is, and what one may do

Finding = dict[str, Any]


@pytest.fixture(scope="module")
def own(services: Cluster, step_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A namespace of these tests' own."""
    with namespace(services, step_image, tmp_path_factory.mktemp("install")) as opened:
        yield opened


@pytest.fixture
def shell(own: Cluster, tmp_path: Path) -> Terminal:
    return own.terminal(tmp_path)


def findings(shell: Terminal, *arguments: str, code: int = 0, **environ: str) -> list[Finding]:
    process = shell.start("doctor", *arguments, "-o", "json", **environ)
    found: list[Finding] = shell.wait(process, code=code, limit_s=DOCTOR_S).json()
    return found


def failures(shell: Terminal, **environ: str) -> dict[str, str]:
    """The text of each failure, with its hint, by what was checked."""
    found = [one for one in findings(shell, code=1, **environ) if one["level"] == "fail"]
    return {one["check"]: f"{one['what']}; {one['hint']}" for one in found}


def granted(own: Cluster, account: str) -> set[tuple[str, str, str, str]]:
    """(API group, resource, verb, name) of all that an account may do in the namespace beyond what everybody may."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": own.namespace}}
    user = f"system:serviceaccount:{own.namespace}:{account}"
    answer = json.loads(own.kubectl("create", "--validate=false", "--as", user, "-o", "json", "-f", "-", stdin=json.dumps(review)))
    return {
        (group, resource, verb, name)
        for rule in answer["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or [""]
        if group not in EVERYBODY
    }


def kubeconfig(own: Cluster, account: str, file: Path) -> str:
    """One that names the same cluster and this account."""
    config = yaml.safe_load(own.kubectl("config", "view", "--raw", "--flatten", "--minify"))
    config["users"] = [{"name": account, "user": {"token": own.kubectl("create", "token", account).strip()}}]
    config["contexts"][0]["context"]["user"] = account
    file.write_text(yaml.safe_dump(config))
    return str(file)


def left_behind(own: Cluster) -> list[str]:
    """What a check makes: its workflow, its queues, its objects in the store."""
    workflows = own.kubectl("get", "workflows", "-o", "name").split()
    queues = [url for url in own.queues() if "batchflow-doctor" in url]
    listed = own.s3.list_objects_v2(Bucket=own.bucket, Prefix=f"{own.namespace}/doctor/")
    return [*workflows, *queues, *(found["Key"] for found in listed.get("Contents", []))]


def test_what_is_printed_is_applied_again_without_a_change(own: Cluster, shell: Terminal, step_image: str) -> None:
    for line in own.kubectl("apply", "--dry-run=server", "-f", "-", stdin=printed(own, step_image, shell)).splitlines():
        assert line.endswith(" unchanged (server dry run)"), line


def test_each_account_may_do_what_its_role_says_and_nothing_else(own: Cluster) -> None:
    roles = {role.account or PERSON: (role,) for role in ROLES}
    assert set(roles) == {EXECUTOR.account, CLEANUP.account, PERSON}
    for account, theirs in {**roles, contract.GATEWAY: (USER, LOOKUP)}.items():
        rules = [rule for role in theirs for rule in role.rules]
        expected = {(rule.group, rule.resource, verb, name) for rule in rules for verb in rule.verbs for name in rule.names or ("",)}
        assert granted(own, account) == expected
    assert granted(own, contract.STEP_ACCOUNT) == set()


def test_doctor_finds_nothing_wrong_as_a_person_and_leaves_nothing(own: Cluster, shell: Terminal, tmp_path: Path) -> None:
    found = findings(shell, KUBECONFIG=kubeconfig(own, PERSON, tmp_path / "person"))
    assert {one["level"] for one in found} == {"ok"}, found
    from_pods = [one["what"] for one in found if "from a pod" in one["what"]]
    assert len(from_pods) == 3
    for account in (contract.STEP_ACCOUNT, CLEANUP.account):
        assert sum(account in what for what in from_pods) >= 2
    assert left_behind(own) == []


@pytest.mark.extended
def test_doctor_says_to_an_administrator_that_the_gateway_is_ready(own: Cluster, shell: Terminal) -> None:
    own.kubectl("rollout", "status", f"deployment/{contract.GATEWAY}", f"--timeout={READY_S}s")
    found = findings(shell)
    assert ("gateway", "ok") in [(one["check"], one["level"]) for one in found], found
    assert {"check": "roles", "level": "ok", "what": contract.GATEWAY, "hint": ""} in found, found


@pytest.mark.extended
def test_doctor_without_permissions_still_says_what_it_can(own: Cluster, shell: Terminal, tmp_path: Path) -> None:
    found = failures(shell, KUBECONFIG=kubeconfig(own, "default", tmp_path / "nobody"))
    assert set(found) == {"permissions", "settings"}
    assert "create workflows.argoproj.io" in found["permissions"] and USER.name in found["permissions"]


@pytest.mark.extended
@pytest.mark.parametrize(
    ("kind", "name", "check", "words"),
    [
        ("rolebinding", CLEANUP.name, "roles", "get pods/log"),
        ("rolebinding", EXECUTOR.name, "roles", "workflowtaskresults"),
        ("serviceaccount", contract.STEP_ACCOUNT, "accounts", contract.STEP_ACCOUNT),
        ("configmap", "batchflow", "settings", "batchflow install"),
        ("secret", contract.AWS_SECRET, "store", contract.AWS_SECRET),
        ("secret", contract.GATEWAY, "gateway", "create secret"),
        ("service", contract.GATEWAY, "gateway", "Service"),
        ("rolebinding", contract.GATEWAY, "roles", "create workflows.argoproj.io"),
    ],
)
def test_doctor_names_what_is_missing(own: Cluster, shell: Terminal, kind: str, name: str, check: str, words: str) -> None:
    kept = json.loads(own.kubectl("get", kind, name, "-o", "json"))
    own.kubectl("delete", kind, name)
    try:
        found = failures(shell)
    finally:
        for field in ("uid", "resourceVersion", "creationTimestamp"):
            kept["metadata"].pop(field, None)
        own.kubectl("apply", "-f", "-", stdin=json.dumps(kept))
    assert words in found[check], found
    assert left_behind(own) == []


@pytest.mark.extended
@pytest.mark.parametrize(
    ("variable", "value", "check", "words"),
    [
        ("BATCHFLOW_IMAGE", "batchflow.local/no-such-image:1", "image", "batchflow.local/no-such-image:1"),
        ("BATCHFLOW_INSTANCE_ID", "nobodys", "controller", "nobodys"),
    ],
)
def test_doctor_says_why_its_pods_do_not_run(own: Cluster, shell: Terminal, variable: str, value: str, check: str, words: str) -> None:
    assert words in failures(shell, **{variable: value})[check]
    assert left_behind(own) == []


@pytest.mark.extended
def test_doctor_that_is_interrupted_cleans_up(own: Cluster, shell: Terminal) -> None:
    process = shell.start("doctor")
    until(lambda: own.kubectl("get", "workflows", "-o", "name").split(), "the check's workflow")
    process.send_signal(signal.SIGINT)
    shell.wait(process, code=130)
    until(
        lambda: not own.objects("pods", "workflows.argoproj.io/workflow") and not left_behind(own),
        "nothing to be left",
        lambda: left_behind(own),
    )


@pytest.mark.extended
def test_orphan_queues_are_found_and_deleted(own: Cluster, shell: Terminal) -> None:
    from batchflow.enqueuer import queue_name
    from batchflow.records import JobRef

    name = queue_name(JobRef("gone", "67158b9b04045cde"), f"s3://{own.bucket}/{own.namespace}")
    own.sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})
    assert [one for one in findings(shell) if one["check"] == "orphans" and one["level"] == "warn" and name in one["what"]]
    assert any(url.endswith(name) for url in own.queues())
    assert [one for one in findings(shell, "--delete-orphans") if one["check"] == "orphans" and f"deleted queue {name}" in one["what"]]
    assert not any(url.endswith(name) for url in own.queues())


@pytest.mark.extended
def test_a_cluster_out_of_reach_is_told_with_exit_code_4(own: Cluster, shell: Terminal, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(kubeconfig(own, PERSON, tmp_path / "config")).read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    store = f"s3://{own.bucket}/{own.namespace}"
    found = findings(shell, "--store", store, code=4, KUBECONFIG=str(tmp_path / "config"))
    assert [(one["check"], one["level"]) for one in found] == [("cluster", "fail"), ("store", "ok"), ("queues", "ok")]
