"""The closed list of fields that the local engine executes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchflow.engines.argo import ArgoEngine
from batchflow.engines.local.engine import LocalEngine
from batchflow.engines.local.environment import FieldRef, KeyRef, Value
from batchflow.engines.local.manifest import Retry, parse
from batchflow.engines.open import open_engine
from batchflow.errors import InvalidInput
from batchflow.settings import Settings

Json = dict[str, Any]

WORKERS = "{{steps.enqueue.outputs.parameters.workers}}"
RETRY = {
    "limit": "15",
    "retryPolicy": "Always",
    "expression": 'lastRetry.exitCode not in ["64", "69", "70"]',
    "backoff": {"duration": "1m30s", "factor": "2", "maxDuration": "1h"},
}

# All that a compiled job may hold.
WORKFLOW: Json = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "digits-1", "namespace": "batchflow"},
    "spec": {
        "entrypoint": "job",
        "onExit": "cleanup",
        "activeDeadlineSeconds": 3600,
        "automountServiceAccountToken": False,
        "executor": {"serviceAccountName": "runner"},
        "podMetadata": {"labels": {"batchflow/job": "1"}},
        "ttlStrategy": {"secondsAfterCompletion": 1},
        "templates": [
            {
                "name": "job",
                "steps": [
                    [{"name": "work", "template": "work", "withSequence": {"count": WORKERS}, "continueOn": {"failed": True}}],
                ],
            },
            {
                "name": "work",
                "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
                "activeDeadlineSeconds": "10",
                "retryStrategy": RETRY,
                "podSpecPatch": '{"terminationGracePeriodSeconds": 30}',
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "gpu"}],
                "volumes": [{"name": "mnt", "emptyDir": {}}],
                "outputs": {"parameters": [{"name": "workers", "valueFrom": {"path": "/tmp/batchflow/workers"}}]},
                "initContainers": [
                    {"name": "prepare", "image": "ours", "command": ["python"], "envFrom": [{"configMapRef": {"name": "batchflow"}}]},
                    {
                        "name": "handler",
                        "image": "users",
                        "command": ["./serve"],
                        "args": ["--port", "$(CORTEX_PORT)"],
                        "restartPolicy": "Always",
                        "ports": [{"containerPort": 8080}],
                        "livenessProbe": {"tcpSocket": {"port": 8080}},
                        "mirrorVolumeMounts": True,
                        "envFrom": [{"secretRef": {"name": "users"}}],
                    },
                ],
                "container": {
                    "image": "ours",
                    "command": ["python", "-m", "batchflow"],
                    "args": ["step", "work"],
                    "workingDir": "/mnt",
                    "env": [
                        {"name": "BATCHFLOW_TRY", "value": "{{retries}}"},
                        {"name": "BATCHFLOW_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    ],
                    "resources": {"requests": {"cpu": "1"}},
                    "securityContext": {"runAsNonRoot": True},
                    "volumeMounts": [{"name": "mnt", "mountPath": "/mnt"}],
                    "imagePullPolicy": "IfNotPresent",
                },
            },
            {"name": "cleanup", "container": {"image": "ours", "command": ["python"]}},
        ],
    },
}


def changed(change: Callable[[Json], object]) -> Json:
    workflow = copy.deepcopy(WORKFLOW)
    change(workflow["spec"])
    return workflow


def test_every_executed_field_is_parsed() -> None:
    job = parse(WORKFLOW)
    assert (job.name, job.entrypoint, job.on_exit, job.deadline_s, job.shutdown) == ("digits-1", "job", "cleanup", 3600.0, False)
    ((step,),) = job.groups
    assert (step.name, step.template, step.count, step.continue_on) == ("work", "work", WORKERS, {"Failed"})
    work = job.templates["work"]
    codes = frozenset({"64", "69", "70"})
    assert work.retry == Retry(15, frozenset({"Failed", "Error"}), codes, delay_s=90.0, factor=2.0, max_duration_s=3600.0)
    assert (work.deadline_s, work.outputs) == (10.0, (("workers", "/tmp/batchflow/workers"),))
    assert (work.labels, work.annotations) == ({"batchflow/job": "1", "a": "b"}, {"c": "d"})
    assert [(c.name, c.sidecar, c.ours) for c in (*work.init, work.main)] == [
        ("prepare", False, True),
        ("handler", True, False),
        ("main", False, False),
    ]
    assert work.init[1].command == ("./serve", "--port", "$(CORTEX_PORT)")
    assert work.main.env == (("BATCHFLOW_TRY", "{{retries}}"), ("BATCHFLOW_POD", FieldRef("metadata.name")))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.update(parallelism=2), 'spec: the local engine does not execute the field "parallelism"'),
        (
            lambda s: s["templates"][1].update(script={"source": "x"}),
            'spec.templates[work]: the local engine does not execute the field "script"',
        ),
        (lambda s: s["templates"][1].update(sidecars=[{"name": "x"}]), '"sidecars"'),
        (
            lambda s: s["templates"][1]["container"].update(startupProbe={"exec": {}}),
            "spec.templates[work].container: the local engine does",
        ),
        (lambda s: s["templates"][1]["initContainers"][0].update(lifecycl={"x": 1}), "initContainers[prepare]"),
        (
            lambda s: s["templates"][1]["volumes"].append({"name": "v", "hostPath": {"path": "/x"}}),
            "volumes[v]: the local engine does not execute",
        ),
        (
            lambda s: s["templates"][1]["volumes"].append({"name": "v", "secret": {"secretName": "x"}}),
            "volumes[v]: a Secret can't be mounted on this machine",
        ),
        (
            lambda s: s["templates"][1]["volumes"].append({"name": "v", "persistentVolumeClaim": {"claimName": "x"}}),
            "volumes[v]: a volume of the cluster can't be mounted on this machine",
        ),
        (lambda s: s["templates"][0]["steps"][0][0].update(when="true"), '"when"'),
        (lambda s: s["templates"][0]["steps"][0][0].update(withItems=[1]), '"withItems"'),
        (lambda s: s["templates"][0]["steps"][0][0].update(withSequence={"count": "2", "start": "1"}), '"start"'),
        (lambda s: s["templates"][0]["steps"][0][0].update(withSequence={"count": "two"}), '"two" is not a number'),
        (lambda s: s["templates"][0]["steps"][0][0].update(template="no"), 'no template of a pod is named "no"'),
        (lambda s: s.update(onExit="no"), 'no template of a pod is named "no"'),
        (lambda s: s.update(entrypoint="no"), 'spec.entrypoint: no template is named "no"'),
        (lambda s: s["templates"][1]["outputs"].update(artifacts=[{"name": "a"}]), '"artifacts"'),
        (lambda s: s["templates"][1]["container"].pop("command"), "a container needs a command here"),
        (lambda s: s["templates"][1]["container"].pop("command"), "a job deployment's by `entrypoint_overrides`"),
        (lambda s: s["templates"][1].pop("container"), "spec.templates[work].container: an object is missing"),
        (lambda s: s["templates"][1]["container"].update(restartPolicy="Always"), '"Always" is not executed here'),
        (lambda s: s["templates"][1]["initContainers"][1].update(restartPolicy="Never"), '"Never" is not executed here'),
        (lambda s: s["templates"][1]["container"]["env"].append({"name": "E", "valueFrom": {"secretKeyRef": {}}}), "container.env[E]"),
        (lambda s: s["templates"][1]["retryStrategy"].update(expression="true"), '"true" is not of the form'),
        (lambda s: s["templates"][1]["retryStrategy"].update(retryPolicy="OnTransientError"), "needs a retryPolicy of"),
        (lambda s: s["templates"][1]["retryStrategy"].pop("limit"), "and a limit"),
        (lambda s: s["templates"][1]["retryStrategy"]["backoff"].update(cap="1m"), '"cap"'),
        (lambda s: s["templates"][1]["retryStrategy"]["backoff"].update(duration="soon"), '"soon" is not a duration'),
        (lambda s: s["templates"][1]["container"]["args"].append("{{=1+1}}"), 'the local engine does not expand "{{=1+1}}"'),
        (lambda s: s["templates"][1]["container"]["args"].append(WORKERS), f'the local engine does not expand "{WORKERS}"'),
        (lambda s: s["templates"][2]["container"]["command"].append("{{retries}}"), 'the local engine does not expand "{{retries}}"'),
        (
            lambda s: s["templates"][1]["nodeSelector"].update(a="{{pod.name}}") or s["templates"][1]["volumes"][0].update(name="{{x}}"),
            '"{{x}}"',
        ),
    ],
)
def test_what_is_not_executed_is_refused_by_name_and_leaves_nothing_behind(
    tmp_path: Path, change: Callable[[Json], object], text: str
) -> None:
    engine = LocalEngine(Settings(engine="local", local_dir=str(tmp_path / "local")), {})
    with pytest.raises(InvalidInput) as refused:
        engine.submit(changed(change), directory=str(tmp_path))
    assert text in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"fieldRef": {"fieldPath": "status.hostIP"}}, FieldRef("status.hostIP")),
        (
            {"configMapKeyRef": {"name": "batchflow", "key": "AWS_REGION", "optional": True}},
            KeyRef(("AWS_REGION", "AWS_DEFAULT_REGION"), True),
        ),
        ({"secretKeyRef": {"name": "batchflow-client", "key": "token"}}, KeyRef(("NAME",), False)),
    ],
)
def test_where_a_variables_value_may_come_from(source: Json, value: Value) -> None:
    job = parse(changed(lambda s: s["templates"][1]["container"]["env"].append({"name": "NAME", "valueFrom": source})))
    assert job.templates["work"].main.env[-1] == ("NAME", value)


def needing(change: Callable[[Json], object]) -> Json:
    return changed(lambda s: change(s["templates"][1]["initContainers"][1]))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda c: c.update(env=[{"name": "BATCHFLOW_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]),
            "BATCHFLOW_TOKEN: is not set, and container handler needs it; set it; or submit through `batchflow serve`, which sets it",
        ),
        (
            lambda c: c.update(command=["tensorflow_model_server"]),
            "tensorflow_model_server: is not on PATH of this machine; install TensorFlow Serving, or run the job on a cluster",
        ),
    ],
)
def test_what_this_machine_lacks_is_said_before_anything_begins(tmp_path: Path, change: Callable[[Json], object], error: str) -> None:
    workflow, settings = needing(change), Settings(engine="local", local_dir=str(tmp_path / "local"))
    lacking = LocalEngine(settings, {"PATH": str(tmp_path)})
    for ask in (lacking.check, lambda workflow: lacking.submit(workflow, directory=str(tmp_path))):
        with pytest.raises(InvalidInput) as refused:
            ask(workflow)
        assert str(refused.value) == error
    assert list(tmp_path.iterdir()) == []
    program = tmp_path / "tensorflow_model_server"
    program.touch(mode=0o755)
    LocalEngine(settings, {"PATH": str(tmp_path), "BATCHFLOW_TOKEN": "t"}).check(workflow)


def test_an_empty_field_says_nothing() -> None:
    workflow = changed(lambda s: s["templates"][1].update(inputs={}, sidecars=[], daemon=False, parallelism=None))
    assert parse(workflow) == parse(WORKFLOW)


@pytest.mark.parametrize(
    ("strategy", "phases", "codes"),
    [
        ({"limit": 2}, {"Failed"}, set()),
        ({"limit": 2, "expression": 'lastRetry.exitCode not in ["64"]'}, {"Failed", "Error"}, {"64"}),
        ({"limit": 2, "retryPolicy": "OnError"}, {"Error"}, set()),
        ({"limit": 2, "retryPolicy": "OnFailure", "expression": 'lastRetry.exitCode not in ["1","2"]'}, {"Failed"}, {"1", "2"}),
    ],
)
def test_what_a_retry_strategy_means(strategy: Json, phases: set[str], codes: set[str]) -> None:
    retry = parse(changed(lambda s: s["templates"][1].update(retryStrategy=strategy))).templates["work"].retry
    # {{retries}} is known only with a strategy, so parsing at all shows that there is one
    assert retry == Retry(2, frozenset(phases), frozenset(codes), delay_s=0.0, factor=1.0, max_duration_s=None)


@pytest.mark.parametrize(
    ("exit_code", "message", "allowed"),
    [
        (1, "main: Error (exit code 1)", True),
        (64, "main: Error (exit code 64)", False),
        (None, "prepare: Error (exit code 75)", True),
        (None, "prepare: Error (exit code 64)", False),
        (None, "prepare: Error (exit code 64): said more", False),
        (None, "pod deleted", True),
    ],
)
def test_an_init_containers_failure_is_known_by_its_message(exit_code: int | None, message: str, allowed: bool) -> None:
    expression = 'lastRetry.exitCode not in ["64"] and !(lastRetry.message startsWith "prepare: Error (exit code 64)")'
    retry = parse(changed(lambda s: s["templates"][1]["retryStrategy"].update(expression=expression))).templates["work"].retry
    assert retry is not None
    assert retry.allows(exit_code, message) is allowed


@pytest.mark.parametrize("name", ["../up", "Upper", "a" * 64, "", "a/b", "-a"])
def test_a_name_that_is_no_workflows_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    engine = LocalEngine(Settings(engine="local", local_dir=str(tmp_path / "local")), {})
    with pytest.raises(InvalidInput):
        engine.submit({**WORKFLOW, "metadata": {"name": name}}, directory=str(tmp_path))
    with pytest.raises(InvalidInput):
        engine.observe(name)
    assert list(tmp_path.iterdir()) == []


def test_settings_choose_the_engine(tmp_path: Path) -> None:
    assert isinstance(open_engine(Settings(engine="local", local_dir=str(tmp_path))), LocalEngine)
    assert isinstance(open_engine(Settings(engine="argo")), ArgoEngine)
