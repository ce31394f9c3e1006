"""A pod of the local engine: init containers, sidecars, main, environment, logs, progress."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchflow.engines.protocol import worker_of

OURS = [{"configMapRef": {"name": "batchflow"}}]


def noting(word: str) -> str:
    return f"open(SHARED + '/order', 'a').write('{word}\\n')"


WAIT_FOR_SIDECAR = "import os, time\nwhile not os.path.exists(SHARED + '/up'): time.sleep(0.02)\n"
UNTIL_SIGTERM = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: ({note}, sys.exit(0)))\n{ready}\ntime.sleep(600)"


def test_init_containers_run_in_order_before_main(runs: Any, pods: Any) -> None:
    init = [runs.container(f"import time; time.sleep(0.2); {noting(name)}", name) for name in ("one", "two")]
    seen = runs.run(runs.pod("work", noting("main"), initContainers=init))
    assert runs.lines("order") == ["one", "two", "main"]
    status = pods(seen)["[0].work"]["status"]
    assert [(c["name"], c["state"]["terminated"]["reason"]) for c in status["initContainerStatuses"]] == [
        ("one", "Completed"),
        ("two", "Completed"),
    ]
    assert status["phase"] == "Succeeded"


def test_a_failed_init_container_fails_the_pod_before_main(runs: Any, nodes: Any, pods: Any) -> None:
    init = [runs.container("raise SystemExit(64)", "prepare")]
    seen = runs.run(runs.pod("work", noting("main"), initContainers=init))
    node = nodes(seen)["[0].work"]
    assert (node["phase"], node["message"]) == ("Failed", "prepare: Error (exit code 64)")
    assert "outputs" not in node  # the exit code that Argo knows is main's
    assert runs.lines("order") == []
    assert "waiting" in pods(seen)["[0].work"]["status"]["containerStatuses"][0]["state"]


def test_a_sidecar_that_ends_is_started_again_while_main_runs(runs: Any, pods: Any) -> None:
    crash = f"print('started'); {noting('sidecar')}; raise SystemExit(3)"
    main = "import time\nwhile open(SHARED + '/order').read().count('sidecar') < 3: time.sleep(0.02)"
    first = "import time, os\nwhile not os.path.exists(SHARED + '/order'): time.sleep(0.02)\n"
    seen = runs.run(runs.pod("work", first + main, initContainers=[runs.sidecar("handler", crash)]))
    assert seen.workflow["status"]["phase"] == "Succeeded"
    (sidecar,) = pods(seen)["[0].work"]["status"]["initContainerStatuses"]
    assert sidecar["restartCount"] == 2
    assert sidecar["lastState"]["terminated"]["exitCode"] == 3
    assert runs.log(container="handler") == ["started"] * 3  # one log across restarts


def test_sidecars_end_after_main_in_reverse_order(runs: Any) -> None:
    def sidecar(name: str) -> Any:
        ready = f"open(SHARED + '/up-{name}', 'w').close()"
        return runs.sidecar(name, UNTIL_SIGTERM.format(note=noting(name), ready=ready))

    main = "import os, time\nwhile not (os.path.exists(SHARED + '/up-a') and os.path.exists(SHARED + '/up-b')): time.sleep(0.02)\n"
    seen = runs.run(runs.pod("work", main + noting("main"), initContainers=[sidecar("a"), sidecar("b")]))
    assert seen.workflow["status"]["phase"] == "Succeeded"
    assert runs.lines("order") == ["main", "b", "a"]


def test_a_sidecar_that_ignores_sigterm_is_killed_and_the_pod_succeeds(runs: Any, pods: Any) -> None:
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen(SHARED + '/up', 'w').close()\ntime.sleep(600)"
    seen = runs.run(runs.pod("work", WAIT_FOR_SIDECAR, initContainers=[runs.sidecar("handler", code)]))
    assert seen.workflow["status"]["phase"] == "Succeeded"
    (sidecar,) = pods(seen)["[0].work"]["status"]["initContainerStatuses"]
    assert sidecar["state"]["terminated"]["exitCode"] == 137


def test_containers_of_a_pod_share_a_port_that_no_other_pod_has(runs: Any) -> None:
    print_port = "import os; print(os.environ['CORTEX_PORT'])"
    wait = f"import os, time; open(SHARED + '/here-' + str(os.getpid()), 'w'); {print_port}\n"
    together = "while len([f for f in os.listdir(SHARED) if f.startswith('here-')]) < 2: time.sleep(0.02)"
    env = [{"name": "CORTEX_PORT", "value": "8080"}]
    work = {
        "name": "work",
        "container": runs.container(wait + together, env=env),
        "initContainers": [runs.container(print_port, "init", env=env)],
    }
    groups = [[{"name": "work", "template": "work", "withSequence": {"count": "2"}}]]
    runs.run(work, groups=groups)
    ports = {worker: set(runs.log(worker=worker)) for worker in ("0", "1")}
    assert [len(found) for found in ports.values()] == [1, 1]
    assert ports["0"] != ports["1"]
    assert "8080" not in ports["0"] | ports["1"]


def test_paths_of_the_pod_are_moved_below_its_folder(runs: Any) -> None:
    env = [
        {"name": "BATCHFLOW_MNT_DIR", "value": "/mnt"},
        {"name": "CORTEX_API_SPEC", "value": "/mnt/spec/spec.json"},
        {"name": "CORTEX_OTHER", "value": "/mntx/spec"},
        {"name": "MINE", "value": "/mnt/mine"},
        {"name": "PYTHONPATH", "value": "$(BATCHFLOW_MNT_DIR)/lib:$$(BATCHFLOW_MNT_DIR)"},
    ]
    names = [variable["name"] for variable in env]
    code = f"import os, sys; [print(os.environ[n]) for n in {names}]; print(os.getcwd()); print(sys.argv[1])"
    container = runs.container(code, env=env, workingDir="/mnt/project", args=["$(BATCHFLOW_MNT_DIR)", "$(HOME)"])
    (pod,) = runs.run({"name": "work", "container": container}).pods
    mnt = str(runs.folder / "local" / "job-1" / "pods" / pod["metadata"]["name"] / "mnt")
    moved = [mnt, f"{mnt}/spec/spec.json", "/mntx/spec", "/mnt/mine", f"{mnt}/lib:$(BATCHFLOW_MNT_DIR)"]
    assert runs.log() == [*moved, f"{mnt}/project", mnt]


@pytest.mark.parametrize("ours", [True, False])
def test_who_gets_which_environment(runs: Any, monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    monkeypatch.setenv("FROM_THE_SHELL", "yes")
    monkeypatch.setenv("BATCHFLOW_FROM_THE_SHELL", "yes")
    code = "import json, os; print(json.dumps(dict(os.environ, CWD=os.getcwd())))"
    runs.run({"name": "work", "container": runs.container(code, envFrom=OURS if ours else [])})
    (line,) = runs.log()
    env = json.loads(line)
    assert env["FROM_THE_SHELL"] == "yes"
    assert env.get("BATCHFLOW_FROM_THE_SHELL") == ("yes" if ours else None)
    assert env.get("BATCHFLOW_STORE") == (runs.settings.store if ours else None)
    assert env["BATCHFLOW_GRACE_S"] == "2"
    assert env["BATCHFLOW_VENV_DIR"] == str(runs.folder / "cache" / "venvs")
    assert (env["CWD"] == str(runs.directory)) is not ours


def test_what_a_container_leaves_running_is_killed_with_it(runs: Any) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=False).pid)"
    runs.run(runs.pod("work", code))
    (line,) = runs.log()
    runs.wait_until_gone([int(line)])


def test_a_command_that_is_not_there_says_so(runs: Any, nodes: Any) -> None:
    seen = runs.run({"name": "work", "container": {"name": "main", "image": "x", "command": ["no-such-program", "--flag"]}})
    assert nodes(seen)["[0].work"]["message"] == "main: Error (exit code 127)"
    assert runs.log() == ["batchflow: can't start no-such-program: No such file or directory"]


def test_progress_files_are_summed_and_success_completes_them(runs: Any, nodes: Any) -> None:
    code = """
import os, time
open(os.environ['ARGO_PROGRESS_FILE'], 'w').write('1/9\\n3/9\\n')
while not os.path.exists(SHARED + '/go'): time.sleep(0.02)
"""
    name = runs.start(runs.pod("work", code))
    seen = runs.until(name, lambda seen: seen.workflow.get("status", {}).get("progress") == "3/9")
    assert nodes(seen)["[0].work"]["progress"] == "3/9"
    (runs.folder / "go").touch()
    assert runs.wait().workflow["status"]["progress"] == "9/9"


def test_logs_name_their_worker_and_can_be_chosen(runs: Any) -> None:
    init = [runs.container("print('init')", "prepare")]
    seen = runs.run(runs.pod("work", "print('out'); import sys; print('no line end', end='', file=sys.stderr)", initContainers=init))
    lines = list(runs.engine.logs("job-1"))
    assert [(line.worker, line.container, line.text) for line in sorted(lines, key=lambda line: line.container)] == [
        ("work", "main", "out"),
        ("work", "main", "no line end"),
        ("work", "prepare", "init"),
    ]
    assert {line.pod for line in lines} == {pod["metadata"]["name"] for pod in seen.pods}
    assert [worker_of(pod) for pod in seen.pods] == ["work"]
    assert runs.log(container="prepare") == ["init"]
    assert runs.log(worker="3") == []


def test_a_tail_of_a_log_starts_with_a_line(runs: Any) -> None:
    (pod,) = runs.run(runs.pod("work", "print('first'); print('second'); print('third')")).pods
    name = pod["metadata"]["name"]
    tails = {limit: runs.engine.log_tail("job-1", name, "main", limit) for limit in (5, 6, 7, 13, 1000)}
    assert tails == {5: b"hird\n", 6: b"third\n", 7: b"third\n", 13: b"second\nthird\n", 1000: b"first\nsecond\nthird\n"}
    assert runs.engine.log_tail("job-1", name, "never-started", 1000) == b""
