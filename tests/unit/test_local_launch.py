"""How the local engine turns a container into a process, and names nodes and pods as Argo does."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchflow.engines.local.environment import FieldRef, KeyRef
from batchflow.engines.local.launch import Host, PodPlace, launch, remap
from batchflow.engines.local.manifest import Container
from batchflow.engines.local.nodes import WorkflowStatus, pod_name
from batchflow.engines.protocol import NODE_NAME, worker_of
from batchflow.settings import Settings

POD = PodPlace("digits-1-work-7", Path("/run/pods/p"), {"CORTEX_PORT": 20_001}, {"{{retries}}": "3", "{{workflow.name}}": "digits-1"})
HOST = Host(
    Settings(engine="local", cache_dir="/cache", grace_s=9), {"HOME": "/home/u", "BATCHFLOW_STORE": "s3://theirs"}, Path("/home/u/digits")
)


def container(**fields: Any) -> Container:
    defaults: dict[str, Any] = {
        "name": "main",
        "command": ("run",),
        "env": (),
        "ours": False,
        "secrets": False,
        "working_dir": "",
        "sidecar": False,
    }
    return Container(**(defaults | fields))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)$(B)y", "x12y"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$(HOME)", "$(HOME)"),  # what the image or the shell sets is not expanded
        ("$A ${A} $(A", "$A ${A} $(A"),
        ("$($(A))$()", "$($(A))$()"),  # a name goes up to the next parenthesis
        ("$($$", "$($"),
        ("50$", "50$"),
        ("{{retries}} of {{workflow.name}}", "3 of digits-1"),
        ("$(CORTEX_PORT)", "20001"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    started = launch(container(command=("run", text), env=(("A", "1"), ("B", "2"))), POD, HOST)
    assert started.argv == ("run", expanded)


def test_a_variable_may_refer_to_those_before_it() -> None:
    env = (
        ("A", "1"),
        ("B", "$(A)$(C)"),
        ("C", "3"),
        ("CORTEX_DIR", "/mnt/x"),
        ("D", "$(CORTEX_DIR)/y"),
        ("POD", FieldRef("metadata.name")),
    )
    found = launch(container(env=env), POD, HOST).env
    assert (found["B"], found["D"], found["POD"]) == ("1$(C)", "/run/pods/p/mnt/x/y", "digits-1-work-7")


def test_a_replica_and_its_courier_are_given_the_same_port_of_this_machine() -> None:
    place = replace(POD, ports={"BATCHFLOW_REPLICA_PORT": 20_002})
    port = ("BATCHFLOW_REPLICA_PORT", "8000")
    main = launch(container(command=("serve", "--port", "$(PORT)"), env=(port, ("PORT", "$(BATCHFLOW_REPLICA_PORT)"))), place, HOST)
    assert (main.argv[2], main.env["PORT"]) == ("20002", "20002")
    env = (port, ("BATCHFLOW_HEALTH_PORT", "$(BATCHFLOW_REPLICA_PORT)"), ("BATCHFLOW_HEALTH_PATH", "/mnt/$$(HOME)"))
    courier = launch(container(name="courier", env=env, ours=True, sidecar=True), place, HOST).env
    assert (courier["BATCHFLOW_REPLICA_PORT"], courier["BATCHFLOW_HEALTH_PORT"]) == ("20002", "20002")
    assert courier["BATCHFLOW_HEALTH_PATH"] == "/mnt/$(HOME)"  # of a URL, so it stays where it is


def test_what_a_secret_would_hold_is_expanded_from_the_users_shell() -> None:
    for secrets, word in ((True, "/home/u"), (False, "$(HOME)")):
        started = launch(container(command=("run", "$(HOME)"), env=(("H", "$(HOME)"),), secrets=secrets), POD, HOST)
        assert (started.argv[1], started.env["H"]) == (word, word)


def test_what_the_shell_sets_of_ours_is_never_expanded_for_users_containers() -> None:
    assert launch(container(command=("run", "$(BATCHFLOW_STORE)"), secrets=True), POD, HOST).argv[1] == "$(BATCHFLOW_STORE)"


REGION = KeyRef(("AWS_REGION", "AWS_DEFAULT_REGION"), optional=True)
TOKEN = KeyRef(("BATCHFLOW_TOKEN",), optional=False)


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}, "eu-west-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({}, None),
    ],
)
def test_the_engines_variables_stand_for_keys_of_config_map_and_secret(environ: dict[str, str], region: str | None) -> None:
    host = replace(HOST, environ={**environ, "BATCHFLOW_TOKEN": "secret"})
    env = (("CORTEX_REGION", REGION), ("BATCHFLOW_TOKEN", TOKEN), ("USED", "$(BATCHFLOW_TOKEN) $(CORTEX_REGION)"))
    found = launch(container(env=env), POD, host).env
    assert found.get("CORTEX_REGION") == region
    assert found["BATCHFLOW_TOKEN"] == "secret"
    assert found["USED"] == f"secret {region or '$(CORTEX_REGION)'}"
    assert "BATCHFLOW_TOKEN" not in launch(container(), POD, host).env  # only who declares it gets it


def test_this_machine_is_the_pods_node() -> None:
    assert launch(container(env=(("HOST_IP", FieldRef("status.hostIP")),)), POD, HOST).env["HOST_IP"] == "127.0.0.1"


def test_what_only_the_engine_knows_wins() -> None:
    env = (("CORTEX_PORT", "8080"), ("BATCHFLOW_VENV_DIR", "/mnt/.batchflow/venvs"), ("BATCHFLOW_GRACE_S", "30"))
    found = launch(container(env=env), POD, HOST).env
    assert found["CORTEX_PORT"] == "20001"
    assert found["BATCHFLOW_VENV_DIR"] == "/cache/venvs"
    assert found["BATCHFLOW_GRACE_S"] == "9"
    assert found["ARGO_PROGRESS_FILE"] == "/run/pods/p/progress"


def test_the_manifest_wins_over_the_settings_and_those_over_the_shell() -> None:
    assert launch(container(ours=True), POD, HOST).env["BATCHFLOW_STORE"] == ""
    assert launch(container(ours=True, env=(("BATCHFLOW_STORE", "/s"),)), POD, HOST).env["BATCHFLOW_STORE"] == "/s"
    assert "BATCHFLOW_STORE" not in launch(container(), POD, HOST).env


def test_python_is_the_one_that_runs_batchflow() -> None:
    for env in ((), (("PATH", "/image/bin"),)):
        assert launch(container(env=env), POD, HOST).env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


@pytest.mark.parametrize(
    ("ours", "working_dir", "directory"),
    [
        (True, "", "/run/pods/p"),
        (False, "", "/home/u/digits"),
        (False, "/mnt/project", "/run/pods/p/mnt/project"),
        (True, "/opt", "/opt"),
    ],
)
def test_where_a_container_starts(ours: bool, working_dir: str, directory: str) -> None:
    assert launch(container(ours=ours, working_dir=working_dir), POD, HOST).directory == Path(directory)


@pytest.mark.parametrize(
    ("path", "moved"),
    [
        ("/mnt", "/p/mnt"),
        ("/mnt/a/b", "/p/mnt/a/b"),
        ("/cortex/spec/job.json", "/p/cortex/spec/job.json"),
        ("/tmp/batchflow/workers", "/p/tmp/batchflow/workers"),
        ("/tmp/other", "/tmp/other"),
        ("/mntx", "/mntx"),
        ("mnt/a", "mnt/a"),
        ("", ""),
    ],
)
def test_paths_below_the_pods_roots_are_moved(path: str, moved: str) -> None:
    assert remap(path, Path("/p")) == moved


@pytest.mark.parametrize(
    ("node", "worker"),
    [
        ("digits-1[0].enqueue(0)", "enqueue"),
        ("digits-1[1].work(3:3)(12)", "3"),
        ("digits-1[1].work(0:0)", "0"),
        ("digits-1[2].finalize", "finalize"),
        ("digits-1.onExit(0)", "cleanup"),
        ("digits-1.onExit", "cleanup"),
        ("", "the-pod"),
    ],
)
def test_a_worker_is_named_after_its_node(node: str, worker: str) -> None:
    assert worker_of({"metadata": {"name": "the-pod", "annotations": {NODE_NAME: node}}}) == worker


def test_ids_and_pod_names_are_argos() -> None:
    # FNV-1a of 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/ gives 0xbf9cf968 for "foobar"
    assert pod_name("w", "t", "foobar") == f"w-t-{0xBF9CF968}"
    status = WorkflowStatus({"metadata": {"name": "w"}, "spec": {}})
    assert (status.node_id("w"), status.node_id("foobar")) == ("w", f"w-{0xBF9CF968}")


def test_pod_names_fit_and_stay_unique() -> None:
    workflow = "a" * 42 + "-" + "0" * 16 + "-r99"
    names = {pod_name(workflow, "finalize", f"{workflow}[1].work({n}:{n})({m})") for n in range(50) for m in range(15)}
    assert len(names) == 750
    assert max(map(len, names)) <= 63
