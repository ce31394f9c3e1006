"""How a run of the local engine ends before its time: stop, signals, and the death of any of its processes."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

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
    assert runs.lines("order") == ["finished", "cleanup"]  # neither tried again, nor onExit
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
    runs.engine.stop("never")
    assert not (runs.folder / "local" / "never").exists()
