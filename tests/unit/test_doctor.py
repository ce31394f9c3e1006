"""What `doctor` says of what it saw. Messages of nodes are those of a real Argo 3.7.3 on Kubernetes 1.34."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from click.testing import CliRunner

from batchflow import contract
from batchflow.cli.main import cli
from batchflow.cluster import doctor
from batchflow.cluster.check import OUTPUT_REPORT, PODS, Report, check_workflow
from batchflow.cluster.check_result import CHECKED_S, TAKEN_UP_S, check_result
from batchflow.cluster.doctor import FAIL, OK, WARN, Finding
from batchflow.cluster.permissions import CLEANUP, EXECUTOR, USER
from batchflow.errors import BatchflowError, InvalidInput, Unreachable
from batchflow.records import JobRef
from batchflow.settings import Settings

SETTINGS = Settings(namespace="here", image="registry.example/step:1")
JOB = JobRef("batchflow-doctor", "67158b9b04045cde")
STEP, CLEAN = PODS

Json = dict[str, Any]

FORBIDDEN = (
    'wait: Error (exit code 64): workflowtaskresults.argoproj.io is forbidden: User "system:serviceaccount:here:batchflow-executor" '
    'cannot create resource "workflowtaskresults" in API group "argoproj.io" in the namespace "here"'
)
NO_IMAGE = (
    'ErrImagePull: failed to pull and unpack image "registry.example/step:1": failed to resolve reference "registry.example/step:1": '
    'failed to do request: Head "https://registry.example/v2/step/manifests/1": dial tcp: lookup registry.example: no such host'
)
GONE_IMAGE = 'ErrImagePull: failed to pull and unpack image "registry.example/step:1": registry.example/step:1: not found'
NO_ACCOUNT = (
    'pods "batchflow-doctor-67158b9b04045cde-enqueue-1" is forbidden: error looking up service account here/batchflow-step: '
    'serviceaccount "batchflow-step" not found'
)
QUOTA = 'pods "batchflow-doctor-{}-1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0'
NO_CONFIG = 'CreateContainerConfigError: configmap "batchflow" not found'
ROOT = "CreateContainerConfigError: container has runAsNonRoot and image will run as root (pod: {}, container: main)"
UNSCHEDULABLE = "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."


def reported(version: str = contract.VERSION, **tried: list[BatchflowError]) -> Json:
    areas = {"store": [], "queues": [], **tried}
    text = Report.of(areas).dump().replace(f'"{contract.VERSION}"', f'"{version}"')
    return {"phase": "Running", "outputs": {"exitCode": "0", "parameters": [{"name": OUTPUT_REPORT, "value": text}]}}


def workflow(phase: str = "Running", message: str = "", **nodes: Json) -> Json:
    named = {name: {"id": f"w-{name}", "type": "Pod", "templateName": name, "phase": "Pending", **node} for name, node in nodes.items()}
    return {"spec": {}, "status": {"phase": phase, "message": message, "nodes": named}}


def pod(name: str, executor: str = "quay.io/argoproj/argoexec:v3.7.3") -> Json:
    containers = [{"name": "main", "image": "registry.example/step:1"}, {"name": "wait", "image": executor}]
    return {"metadata": {"name": f"pod-{name}", "annotations": {contract.NODE_ID: f"w-{name}"}}, "spec": {"containers": containers}}


def said(pod_name: str) -> str:
    return f"{pod_name} said this"


def seen(found: Json | None, elapsed_s: float = 1.0) -> list[Finding] | None:
    return check_result(found, [pod(STEP), pod(CLEAN)], elapsed_s, SETTINGS, said)


def failures(found: Json | None, elapsed_s: float = 1.0) -> list[Finding]:
    return [finding for finding in seen(found, elapsed_s) or [] if finding.level != OK]


@pytest.mark.parametrize(
    ("version", "level"),
    [("v1.34.4", OK), ("v1.29.0", OK), ("v1.31.2-eks-7f9249a", OK), ("v1.28.15", FAIL), ("v1.9.0", FAIL), ("v2.0.0", OK), ("unknown", OK)],
)
def test_kubernetes_must_have_native_sidecars(version: str, level: str) -> None:
    finding = doctor.cluster(version, "https://cluster")
    assert (finding.level, bool(finding.hint)) == (level, level == FAIL)
    assert version in finding.what


@pytest.mark.parametrize(
    ("image", "level"),
    [
        ("quay.io/argoproj/argoexec:v3.7.3", OK),
        ("registry.example:5000/argoexec:v3.6.0", OK),
        ("quay.io/argoproj/argoexec:v4.0.5", OK),
        ("quay.io/argoproj/argoexec:v3.7.3@sha256:abc", OK),
        ("quay.io/argoproj/argoexec:v3.5.11", FAIL),
        ("quay.io/argoproj/argoexec:v4.1.0", WARN),
        ("quay.io/argoproj/argoexec:latest", WARN),
        ("registry.example:5000/argoexec", WARN),
        ("quay.io/argoproj/argoexec@sha256:3.7", WARN),
        ("", WARN),
    ],
)
def test_argos_version_is_that_of_its_executor(image: str, level: str) -> None:
    assert doctor.argo_version(image).level == level


def test_missing_kinds_are_named() -> None:
    assert doctor.argo_kinds(frozenset({"workflows", "workflowtaskresults", "cronworkflows"})).level == OK
    finding = doctor.argo_kinds(frozenset({"workflows"}))
    assert finding.level == FAIL and "workflowtaskresults" in finding.what


@pytest.mark.parametrize(("exists", "level"), [(True, OK), (None, OK), (False, FAIL)])
def test_a_namespace_fails_only_if_it_is_known_to_be_missing(exists: bool | None, level: str) -> None:
    assert doctor.namespace("here", exists).level == level


@pytest.mark.parametrize(
    ("found", "token", "levels"),
    [
        ({"a": True, "b": True}, True, [OK]),
        ({"a": True, "b": None}, None, []),
        ({"a": None, "b": None}, None, []),
        ({"a": True, "b": False}, True, [FAIL]),
        ({"a": True, "b": True}, False, [OK, FAIL]),
    ],
)
def test_accounts_that_nobody_may_see_are_no_finding(found: Mapping[str, bool | None], token: bool | None, levels: list[str]) -> None:
    findings = list(doctor.accounts(found, token))
    assert [finding.level for finding in findings] == levels
    texts = " ".join(finding.what for finding in findings if finding.level == FAIL)
    assert ("b" in texts.split()) == (found["b"] is False)
    assert (contract.TOKEN_SECRET in texts) == (token is False)


@pytest.mark.parametrize(
    ("seen", "level", "words"),
    [
        ({"has_credentials": True, "available": True, "serves": True}, OK, ""),
        ({"has_credentials": None, "available": True, "serves": None}, OK, ""),
        ({"has_credentials": False, "available": False, "serves": False}, FAIL, "create secret generic batchflow-gateway"),
        ({"has_credentials": True, "available": False, "serves": False}, FAIL, "-n here describe pods"),
        ({"has_credentials": True, "available": True, "serves": False}, FAIL, "install again"),
    ],
)
def test_of_a_gateway_the_first_cause_is_told(seen: dict[str, Any], level: str, words: str) -> None:
    finding = doctor.gateway("here", **seen)
    assert finding.level == level and words in finding.hint


def test_missing_permissions_are_named_with_verb_and_resource() -> None:
    asked = [attributes for rule in USER.rules for attributes in rule.reviews()]
    finding = doctor.caller(asked, "here")
    assert finding.level == FAIL
    for text in ("create workflows.argoproj.io", "get pods/log", "list pods", "get configmaps batchflow"):
        assert text in finding.what
    assert "-n here" in finding.hint and USER.name in finding.hint
    assert doctor.caller([], "here").level == OK


@pytest.mark.parametrize(("missing", "levels"), [(None, []), ([], [OK]), ([{"verb": "list", "resource": "pods"}], [FAIL])])
def test_an_accounts_role_that_nobody_may_see_is_no_finding(missing: list[dict[str, str]] | None, levels: list[str]) -> None:
    assert [finding.level for finding in doctor.role(CLEANUP, missing)] == levels


def test_the_rules_of_a_role_become_one_question_for_each_verb_and_name() -> None:
    assert [attributes for rule in EXECUTOR.rules for attributes in rule.reviews()] == [
        {"verb": "create", "group": "argoproj.io", "resource": "workflowtaskresults"},
        {"verb": "patch", "group": "argoproj.io", "resource": "workflowtaskresults"},
    ]
    assert {"verb": "get", "resource": "pods", "subresource": "log"} in [a for rule in CLEANUP.rules for a in rule.reviews()]
    assert {"verb": "get", "resource": "configmaps", "name": "batchflow"} in [a for rule in USER.rules for a in rule.reviews()]


@pytest.mark.parametrize(
    ("what", "hint"),
    [
        ('CreateQueue failed: Could not connect to the endpoint URL: "http://elasticmq.here.svc:9324/"', "AWS_ENDPOINT_URL"),
        ('Connect timeout on endpoint URL: "http://10.0.0.1/"', "AWS_ENDPOINT_URL"),
        ('bucket "b" not found', "create it"),
        ("PutObject failed: An error occurred (InvalidAccessKeyId) when calling …", "batchflow-aws"),
        ("PutObject failed: something else", ""),
    ],
)
def test_trouble_with_a_service_gets_a_hint_where_the_error_has_none(what: str, hint: str) -> None:
    finding = doctor.failed("store", Unreachable(what, where="s3://b"))
    assert hint in finding.hint and bool(hint) == bool(finding.hint)
    assert finding.what == f"s3://b: {what}"
    assert doctor.failed("store", Unreachable(what, hint="its own")).hint == "its own"


def test_a_good_check_says_what_works_and_as_whom() -> None:
    found = seen(workflow(enqueue=reported(), cleanup=reported(roles=[])))
    assert found is not None and {finding.level for finding in found} == {OK}
    assert [finding.check for finding in found] == ["controller", "argo", "image", "store", "queues", "roles"]
    assert "batchflow-step" in found[3].what and "batchflow-cleanup" in found[3].what
    assert "batchflow-step" not in found[5].what


@pytest.mark.parametrize(
    ("found", "elapsed_s"),
    [
        ({"spec": {}}, TAKEN_UP_S - 1),
        (workflow(), CHECKED_S - 1),
        (workflow(enqueue={}, cleanup={}), CHECKED_S - 1),
        (workflow(enqueue={"message": "PodInitializing"}, cleanup={"message": "ContainerCreating"}), CHECKED_S - 1),
        (workflow(enqueue={"message": UNSCHEDULABLE}, cleanup={"message": UNSCHEDULABLE}), CHECKED_S - 1),
        (workflow(enqueue=reported(), cleanup={"phase": "Running"}), CHECKED_S - 1),
    ],
)
def test_a_check_that_may_get_on_is_waited_for(found: Json, elapsed_s: float) -> None:
    assert seen(found, elapsed_s) is None


def test_a_controller_that_does_not_come_is_a_failure_after_a_while() -> None:
    [finding] = failures({"spec": {}}, TAKEN_UP_S)
    assert finding.check == "controller" and "namespace here" in finding.hint


@pytest.mark.parametrize(
    ("nodes", "check", "words", "hint"),
    [
        ({STEP: {"message": NO_IMAGE}, CLEAN: {"message": "PodInitializing"}}, "image", "registry.example/step:1", "PULL_SECRETS"),
        ({STEP: {"message": GONE_IMAGE}, CLEAN: {"message": GONE_IMAGE}}, "image", "not found", "PULL_SECRETS"),
        ({STEP: {"message": ROOT.format("a")}, CLEAN: {"message": ROOT.format("b")}}, "image", "runAsNonRoot", "USER"),
        ({STEP: {"message": QUOTA.format("a")}, CLEAN: {"message": QUOTA.format("b")}}, "pods", "exceeded quota", "quota"),
        ({STEP: {"message": NO_CONFIG}, CLEAN: {}}, "pods", 'configmap "batchflow"', "install again"),
        ({STEP: {"phase": "Error", "message": NO_ACCOUNT}}, "pods", "batchflow-step", "install again"),
        ({STEP: {"phase": "Error", "message": FORBIDDEN}, CLEAN: {"phase": "Running"}}, "roles", "workflowtaskresults", "install again"),
        ({STEP: {"phase": "Failed", "message": "Error (exit code 64)"}}, "image", f"pod-{STEP} said this", "--image"),
    ],
)
def test_pods_that_get_no_further_are_told_at_once_and_once(nodes: Mapping[str, Json], check: str, words: str, hint: str) -> None:
    [finding] = failures(workflow(**nodes))
    assert (finding.level, finding.check) == (FAIL, check)
    assert words in finding.what and hint in finding.hint


@pytest.mark.parametrize(
    ("message", "hint"), [("PodInitializing", "kubectl -n here get events"), ("", "get events"), (UNSCHEDULABLE, "BATCHFLOW_STEP_CPU")]
)
def test_pods_that_do_not_start_in_time_are_a_failure(message: str, hint: str) -> None:
    [finding] = failures(workflow(enqueue={"message": message}, cleanup={"message": message}), CHECKED_S)
    assert finding.check == "pods" and hint in finding.hint


def test_a_workflow_that_failed_without_pods_says_why() -> None:
    [finding] = failures(workflow(phase="Error", message="invalid spec: templates.x"))
    assert "invalid spec" in finding.what


def test_a_workflow_that_somebody_deleted_is_a_failure() -> None:
    [finding] = failures(None)
    assert finding.check == "pods"


def test_an_image_of_another_version_is_a_failure() -> None:
    [finding] = failures(workflow(enqueue=reported("0.0"), cleanup=reported("0.0", roles=[])))
    assert finding.check == "image" and "0.0" in finding.what and contract.VERSION in finding.hint


def test_what_did_not_work_in_a_pod_keeps_its_hint_and_says_as_whom() -> None:
    denied = Unreachable("PutObject is denied", where="s3://b/x", hint="allow s3:PutObject")
    reads = Unreachable("may not list pods", where="namespace here", hint="ask somebody")
    found = failures(workflow(enqueue=reported(store=[denied]), cleanup=reported(roles=[reads])))
    assert [(f.check, f.what, f.hint) for f in found] == [
        ("store", "from a pod, as batchflow-step: s3://b/x: PutObject is denied", "allow s3:PutObject"),
        ("roles", "from a pod, as batchflow-cleanup: namespace here: may not list pods", doctor.INSTALL_AGAIN),
    ]


def test_pods_without_credentials_need_a_secret_or_a_role() -> None:
    bare = Unreachable("PutObject: no AWS credentials", hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    [finding] = failures(workflow(enqueue=reported(store=[bare]), cleanup=reported(roles=[])))
    assert "Secret batchflow-aws" in finding.hint and "--role-arn" in finding.hint


def test_there_is_no_cluster_to_look_at_on_this_machine() -> None:
    with pytest.raises(InvalidInput, match="--local"):
        CliRunner().invoke(cli, ["doctor", "--local"], catch_exceptions=False)


def test_the_check_workflow_has_the_form_of_a_job_but_is_none() -> None:
    manifest = check_workflow(JOB, SETTINGS)
    labels = manifest["metadata"]["labels"] | manifest["spec"]["podMetadata"]["labels"]
    assert not {contract.LABEL_API, contract.LABEL_JOB, contract.LABEL_RUN} & set(labels)
    steps, *pods = manifest["spec"]["templates"]
    assert [[step["template"] for step in group] for group in steps["steps"]] == [list(PODS)]
    assert {template["name"]: template["serviceAccountName"] for template in pods} == PODS
    for template in pods:
        assert template["container"]["image"] == SETTINGS.image
        assert template["container"]["command"][-2:] == ["step", contract.STEP_CHECK]
        assert template["container"]["securityContext"]["runAsNonRoot"] is True
        assert "retryStrategy" not in template
        names = [variable["name"] for variable in template["container"]["env"]]
        assert len(names) == len(set(names))
    assert "onExit" not in manifest["spec"]
    assert manifest["spec"]["ttlStrategy"]["secondsAfterCompletion"] <= 600
    assert manifest["spec"]["activeDeadlineSeconds"] > CHECKED_S


def test_the_check_workflow_is_for_the_controller_that_runs_jobs() -> None:
    manifest = check_workflow(JOB, Settings(namespace="here", instance_id="ours"))
    assert manifest["metadata"]["labels"]["workflows.argoproj.io/controller-instanceid"] == "ours"


def test_a_report_is_read_as_it_was_written() -> None:
    report = Report.of({"store": [Unreachable("what", where="where", hint="hint")], "queues": []})
    assert Report.load(report.dump()) == report
