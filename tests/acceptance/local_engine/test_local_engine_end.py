"""How a run of the local engine ends before its time: stop, signals, and the death of any of its processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from batchflow.errors import NotFound, Unreachable

FINISHES = """
import os, signal, sys, time
def end(*_):
    time.sleep(0.3)
    open(SHARED + '/order', 'a').write('finished\\n')
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
open(SHARED + '/up', 'a').write('up\\n')
time.sleep(600)
"""
IGNORES = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen(SHARED + '/up', 'a').write('up\\n')\ntime.sleep(600)"
SLEEPS = (
    "import os, subprocess\nc = subprocess.Popen(['sleep', '600'])\nopen(SHARED + '/up', 'a').write(f'{os.getpid()} {c.pid}\\n')\nc.wait()"
)
RETRY = {"limit": "2", "retryPolicy": "Always", "expression": 'lastRetry.exitCode not in ["64"]'}


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def noting(word: str) -> str:
    return f"open(SHARED + '/order', 'a').write('{word}\\n')"


def pids_of(pod: Any, container: str) -> tuple[int, int]:
    """Of the guard and of the command."""
    statuses = pod["status"]["initContainerStatuses"] + pod["status"]["containerStatuses"]
    (status,) = (status for status in statuses if status["name"] == container)
    guard, command = status["containerID"].removeprefix("process://").split("/")
    return int(guard), int(command)


def send_stop(runs: Any, how: str) -> None:
    if how == "stop":
        runs.engine.stop("job-1")
        runs.engine.stop("job-1")
    else:
        os.kill(runs.engine_pid(), signal.Signals[how])


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT"])
def test_stop_lets_main_finish_and_then_cleans_up(runs: Any, nodes: Any, pods: Any, how: str) -> None:
    cleanup = runs.pod("cleanup", f"{noting('cleanup')}; raise SystemExit(1)", retryStrategy=RETRY)
    runs.start(runs.pod("work", FINISHES, retryStrategy=RETRY), runs.pod("finalize", noting("finalize")), cleanup)
    runs.wait_for_lines("up")
    send_stop(runs, how)
    seen = runs.wait()
    assert runs.lines("order") == ["finished", *["cleanup"] * 3]  # not tried again; onExit is, or a killed one would leave the queue
    assert seen.workflow["spec"]["shutdown"] == "Stop"
    assert (seen.workflow["status"]["phase"], seen.workflow["status"]["message"]) == ("Failed", "Stopped with strategy 'Stop'")
    found = nodes(seen)
    assert (found["[0].work(0)"]["phase"], found["[0].work(0)"]["message"]) == ("Failed", "workflow shutdown with strategy:  Stop")
    assert found["[0].work"]["message"] == "Stopped with strategy 'Stop'"
    assert "[1]" not in found
    assert pods(seen)["[0].work(0)"]["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143


def test_stop_kills_what_has_not_ended_within_the_grace_period(runs: Any, pods: Any) -> None:
    runs.start(runs.pod("work", IGNORES), runs.pod("cleanup", noting("cleanup")))
    runs.wait_for_lines("up")
    runs.engine.stop("job-1")
    seen = runs.wait()
    assert pods(seen)["[0].work"]["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert runs.lines("order") == ["cleanup"]


def test_stop_ends_the_pause_before_another_try(runs: Any, nodes: Any) -> None:
    work = runs.pod(
        "work", f"{noting('work')}; raise SystemExit(1)", retryStrategy={**RETRY, "limit": "9999", "backoff": {"duration": "2s"}}
    )
    runs.start(work, runs.pod("cleanup", noting("cleanup")))
    runs.wait_for_lines("order")
    runs.engine.stop("job-1")
    seen = runs.wait()
    assert seen.workflow["status"]["message"] == "Stopped with strategy 'Stop'"
    found = nodes(seen)
    assert (found["[0].work"]["phase"], found["[0].work"]["message"]) == ("Failed", "Stopped with strategy 'Stop'")
    # every try that has a node ran
    assert runs.lines("order") == ["work"] * len(found["[0].work"]["children"]) + ["cleanup"]


def test_stop_during_on_exit_changes_nothing_but_the_note_of_it(runs: Any) -> None:
    runs.start(runs.pod("work", "pass"), runs.pod("cleanup", IGNORES.replace("time.sleep(600)", "time.sleep(0.5)")))
    runs.wait_for_lines("up")
    runs.engine.stop("job-1")
    seen = runs.wait()
    assert (seen.workflow["spec"]["shutdown"], seen.workflow["status"]["phase"]) == ("Stop", "Succeeded")


def test_nothing_survives_the_engine_and_observe_says_so(runs: Any) -> None:
    sidecars = [runs.sidecar("handler", SLEEPS)]
    groups = [[{"name": "work", "template": "work", "withSequence": {"count": "2"}}]]
    runs.start(runs.pod("work", SLEEPS, initContainers=sidecars), runs.pod("cleanup", noting("cleanup")), groups=groups)
    pids = [int(pid) for line in runs.wait_for_lines("up", 4) for pid in line.split()]
    seen = runs.until("job-1", lambda seen: str(seen.pods).count("process://") == 4)
    guards = [pids_of(pod, container)[0] for pod in seen.pods for container in ("main", "handler")]
    os.kill(runs.engine_pid(), signal.SIGKILL)
    runs.wait_until_gone(pids + guards)
    after = runs.engine.observe("job-1")
    assert after.workflow is None
    assert after.message == "the local engine ended before the job did (killed?)"
    assert len(after.pods) == 2
    assert runs.log() == []  # and logs, even with follow, end
    assert list(runs.engine.logs("job-1", follow=True)) == []
    runs.start(runs.pod("work", noting("again")))
    assert runs.engine.observe("job-1").workflow is None
    assert runs.lines("order") == []


@pytest.mark.skipif(sys.platform != "linux", reason="nobody else can tell the command elsewhere")
def test_a_command_ends_with_its_guard_even_if_the_engine_does_not_see_that(runs: Any) -> None:
    runs.start(runs.pod("work", IGNORES))
    runs.wait_for_lines("up")
    guard, command = pids_of(runs.until("job-1", lambda seen: "process://" in str(seen.pods)).pods[0], "main")
    engine = runs.engine_pid()
    os.kill(engine, signal.SIGSTOP)  # as good as killed at the same moment
    try:
        os.kill(guard, signal.SIGKILL)
        runs.wait_until_gone([command])
    finally:
        os.kill(engine, signal.SIGCONT)
    runs.wait()


@pytest.mark.parametrize("victim", ["guard", "command"])
def test_a_killed_container_leaves_nothing_and_its_step_is_tried_again(runs: Any, nodes: Any, victim: str) -> None:
    code = f"import os\nif os.path.exists(SHARED + '/up'): raise SystemExit\n{SLEEPS}"
    runs.start(runs.pod("work", code, retryStrategy=RETRY))
    pids = [int(pid) for pid in runs.wait_for_lines("up")[0].split()]
    seen = runs.until("job-1", lambda seen: "process://" in str(seen.pods))
    guard, command = pids_of(seen.pods[0], "main")
    assert command == pids[0]
    os.kill(guard if victim == "guard" else command, signal.SIGKILL)
    seen = runs.wait()
    runs.wait_until_gone([*pids, guard])
    found = nodes(seen)
    assert found["[0].work(0)"]["message"] == "main: Error (exit code 137)"
    assert found["[0].work(1)"]["phase"] == seen.workflow["status"]["phase"] == "Succeeded"


def test_the_engine_has_left_the_terminal_and_so_have_its_containers(runs: Any) -> None:
    runs.start(runs.pod("work", SLEEPS))
    pid = int(runs.wait_for_lines("up")[0].split()[0])
    sessions = {os.getsid(0), os.getsid(runs.engine_pid()), os.getsid(pid)}
    assert len(sessions) == 3
    runs.engine.stop("job-1")
    runs.wait()


def test_a_second_submit_has_no_effect(runs: Any) -> None:
    runs.start(runs.pod("work", f"{noting('work')}; {SLEEPS.replace(chr(10), ';')}"))
    runs.wait_for_lines("up")
    runs.start(runs.pod("other", noting("other")))
    runs.engine.stop("job-1")
    runs.wait()
    runs.start(runs.pod("other", noting("other")))
    assert runs.wait().workflow["status"]["message"] == "Stopped with strategy 'Stop'"
    assert runs.lines("order") == ["work"]


def test_logs_follow_from_before_the_first_pod_to_the_end(runs: Any) -> None:
    code = "import os, time\nprint('one')\nwhile not os.path.exists(SHARED + '/go'): time.sleep(0.02)\nprint('two')"
    runs.start(runs.pod("enqueue", code), runs.pod("work", "print('three', end='')"), runs.pod("cleanup", "print('four')"))
    lines: list[Any] = []
    first = threading.Event()

    def follow() -> None:
        for line in runs.engine.logs("job-1", follow=True):
            lines.append((line.worker, line.text))
            first.set()

    follower = threading.Thread(target=follow)
    follower.start()
    assert first.wait(60)
    (runs.folder / "go").touch()
    follower.join(60)
    assert not follower.is_alive()
    assert sorted(lines) == [("cleanup", "four"), ("enqueue", "one"), ("enqueue", "two"), ("work", "three")]


def test_a_workflow_that_never_was(runs: Any) -> None:
    assert runs.engine.observe("never").workflow is None
    assert runs.engine.observe("never").pods == []
    with pytest.raises(NotFound):
        list(runs.engine.logs("never"))


@pytest.mark.parametrize("shutdown", [False, True])
def test_a_workflow_that_was_stopped_before_it_was_submitted_is_only_cleaned_up(runs: Any, nodes: Any, shutdown: bool) -> None:
    if not shutdown:
        runs.engine.stop("job-1")
    assert runs.engine.observe("job-1").workflow is None
    runs.start(runs.pod("work", noting("work")), runs.pod("cleanup", noting("cleanup")), **({"shutdown": "Stop"} if shutdown else {}))
    seen = runs.wait()
    assert runs.lines("order") == ["cleanup"]
    assert seen.workflow["spec"]["shutdown"] == "Stop"
    assert (seen.workflow["status"]["phase"], seen.workflow["status"]["message"]) == ("Failed", "Stopped with strategy 'Stop'")
    assert set(nodes(seen)) == {"", ".onExit"}


def test_a_stop_that_can_not_be_noted_says_so(runs: Any) -> None:
    (runs.folder / "local").touch()
    with pytest.raises(Unreachable, match="can't be used"):
        runs.engine.stop("job-1")


# What can't be replaced stands for a disk that is full.
FILLS_THE_DISK = "import os; os.mkdir(SHARED + '/local/job-1/workflow.json.new')"


def test_a_status_that_can_not_be_saved_for_a_while_does_not_end_the_job(runs: Any) -> None:
    # Its progress changes all the time, so that there is something to save.
    tell = "open(os.environ['ARGO_PROGRESS_FILE'], 'w').write(f'{int(time.time() * 100) % 1000}/1000')"
    wait = f"{FILLS_THE_DISK}\nimport time\nwhile not os.path.exists(SHARED + '/go'): {tell}; time.sleep(0.02)"
    runs.start(runs.pod("work", wait), runs.pod("finalize", noting("finalize")), runs.pod("cleanup", noting("cleanup")))
    log = runs.folder / "local" / "job-1" / "engine.log"
    runs.until("job-1", lambda _: "Is a directory" in log.read_text())
    (runs.folder / "go").touch()
    runs.wait_for_lines("order", 2)  # cleanup is over, and nobody can see it
    (runs.folder / "local" / "job-1" / "workflow.json.new").rmdir()
    seen = runs.wait()
    assert seen.message == ""
    assert seen.workflow["status"]["phase"] == "Succeeded"
    assert len(log.read_text().splitlines()) == 1


def test_an_end_that_can_not_be_saved_is_in_the_engines_log(runs: Any) -> None:
    seen = runs.run(runs.pod("work", FILLS_THE_DISK), runs.pod("cleanup", noting("cleanup")))
    assert runs.lines("order") == ["cleanup"]
    assert seen.message == "the local engine ended before the job did (killed?)"
    assert "gave up saving" in (runs.folder / "local" / "job-1" / "engine.log").read_text().splitlines()[-1]


# Its own session: no signal to the container's group reaches it; its parent is gone before the container ends.
DETACHED = """
import subprocess
inner = "import os, subprocess; c = subprocess.Popen(['sleep', '600'], stdout=2, start_new_session=True); print(c.pid)"
out = subprocess.run(['python', '-c', inner], start_new_session=True, stdout=subprocess.PIPE, check=True).stdout
stays = subprocess.Popen(['sh', '-c', 'sleep 600 & echo $!; wait'], start_new_session=True, stdout=subprocess.PIPE)
found = f'{out.decode().strip()} {stays.pid} {stays.stdout.readline().decode().strip()}\\n'
open(SHARED + '/up', 'a').write(found)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere what left the container's group is not found")
@pytest.mark.parametrize("how", ["end", "engine killed", "command killed"])
def test_what_a_container_detached_is_killed_with_it(runs: Any, how: str) -> None:
    runs.start(runs.pod("work", DETACHED + ("" if how == "end" else "import time; time.sleep(600)")))
    pids = [int(pid) for pid in runs.wait_for_lines("up")[0].split()]
    assert len(pids) == 3
    seen = runs.until("job-1", lambda seen: "process://" in str(seen.pods))
    if how == "engine killed":
        os.kill(runs.engine_pid(), signal.SIGKILL)
    elif how == "command killed":
        os.kill(pids_of(seen.pods[0], "main")[1], signal.SIGKILL)
    else:
        runs.wait()
        assert not any(alive(pid) for pid in pids)  # when it is said to have ended they are gone already
    runs.wait_until_gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are nobody's children")
def test_what_a_container_detached_leaves_no_zombies_while_it_runs(runs: Any) -> None:
    inner = "import subprocess; c = subprocess.Popen(['true'], stdout=2, start_new_session=True); print(c.pid)"
    code = f"""
import os, subprocess, time
pid = int(subprocess.run(['python', '-c', {inner!r}], stdout=subprocess.PIPE, check=True).stdout)
while os.path.exists(f'/proc/{{pid}}'): time.sleep(0.02)
"""
    assert runs.run(runs.pod("work", code, activeDeadlineSeconds=30)).workflow["status"]["phase"] == "Succeeded"
