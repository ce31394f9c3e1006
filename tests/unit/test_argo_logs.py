"""Following containers through restarts and broken streams; what kubelet would say is scripted, as a real one gave it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from batchflow.contract import NODE_NAME
from batchflow.engines.argo import logs
from batchflow.engines.argo.kube import Kube
from batchflow.engines.argo.logs import log_lines, log_tail
from batchflow.errors import Unreachable

RUNNING: dict[str, Any] = {"state": {"running": {}}}
ENDED: dict[str, Any] = {"state": {"terminated": {}}}
WAITING: dict[str, Any] = {"state": {"waiting": {}}}
CRASHED: dict[str, Any] = {"state": {"waiting": {}}, "lastState": {"terminated": {}}}


class Kubelet:
    """Answers `log` from a script: (pod, container, previous) to the chunks of each call, the last one again and again."""

    def __init__(self, script: dict[tuple[str, str, bool], list[list[bytes]]]) -> None:
        self.script = script
        self.asked: list[tuple[str, str, bool, int | None]] = []

    def log(self, pod: str, container: str, *, previous: bool = False, follow: bool = False, since_s: int | None = None) -> Iterator[bytes]:
        self.asked.append((pod, container, previous, since_s))
        calls = self.script.get((pod, container, previous), [[]])
        return iter(calls[0] if len(calls) == 1 else calls.pop(0))


def at(second: int, text: str) -> bytes:
    return f"2026-11-22T10:00:{second:02}.5Z {text}\n".encode()


def pod(name: str, restarts: int = 0, **containers: dict[str, Any]) -> dict[str, Any]:
    statuses = [{"name": key, "restartCount": restarts, **value} for key, value in containers.items()]
    annotations = {NODE_NAME: f"w[1].work({name[-1]}:{name[-1]})(0)"}
    return {"metadata": {"name": name, "annotations": annotations}, "status": {"containerStatuses": statuses}}


def read(
    kubelet: Kubelet, *looks: list[dict[str, Any]], follow: bool, worker: str | None = None, container: str | None = None
) -> list[str]:
    """Every line as `worker/container text`; each look at the pods shows the next list, after the last one the workflow is finished."""
    seen = list(looks)
    finished = [False] * (len(looks) - 1) + [True]
    lines = log_lines(
        cast(Kube, kubelet),
        lambda: seen.pop(0) if len(seen) > 1 else seen[0],
        worker=worker,
        container=container,
        follow=follow,
        finished=lambda: finished.pop(0) if len(finished) > 1 else finished[0],
    )
    return [f"{line.worker}/{line.container} {line.text}" for line in lines]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(logs, "_AGAIN_S", 0.01)


def test_lines_come_pod_by_pod_without_kubernetes_times() -> None:
    kubelet = Kubelet({("p-0", "handler", False): [[at(1, "a"), at(2, "b b")]], ("p-1", "handler", False): [[at(1, "c")]]})
    assert read(kubelet, [pod("p-0", handler=ENDED), pod("p-1", handler=RUNNING)], follow=False) == [
        "0/handler a",
        "0/handler b b",
        "1/handler c",
    ]


def test_argos_own_containers_come_only_if_asked_for() -> None:
    script = {("p-0", name, False): [[at(1, name)]] for name in ("init", "main", "wait")}
    pods = [pod("p-0", init=ENDED, main=ENDED, wait=ENDED)]
    assert read(Kubelet(script), pods, follow=False) == ["0/main main"]
    assert read(Kubelet(script), pods, follow=False, container="wait") == ["0/wait wait"]


def test_a_worker_is_asked_for_by_number_or_by_pod() -> None:
    script = {(name, "main", False): [[at(1, name)]] for name in ("p-0", "p-1")}
    pods = [pod("p-0", main=ENDED), pod("p-1", main=ENDED)]
    assert (
        read(Kubelet(script), pods, follow=False, worker="1") == read(Kubelet(script), pods, follow=False, worker="p-1") == ["1/main p-1"]
    )


@pytest.mark.parametrize("follow", [False, True])
def test_what_a_container_said_before_its_restart_comes_first(follow: bool) -> None:
    kubelet = Kubelet({("p-0", "handler", True): [[at(1, "killed")]], ("p-0", "handler", False): [[at(5, "again")]]})
    lines = read(kubelet, [pod("p-0", restarts=1, handler=ENDED)], follow=follow)
    assert sorted(lines) == ["0/handler again", "0/handler killed"]
    assert follow or lines[0] == "0/handler killed"


def test_a_container_that_never_started_is_not_asked() -> None:
    kubelet = Kubelet({})
    assert read(kubelet, [pod("p-0", handler=WAITING)], follow=False) == []
    assert kubelet.asked == []


def test_a_container_that_waits_for_its_next_start_has_said_something() -> None:
    kubelet = Kubelet({("p-0", "handler", False): [[at(1, "crash")]]})
    assert read(kubelet, [pod("p-0", handler=CRASHED)], follow=False) == ["0/handler crash"]


def test_a_followed_container_is_taken_up_after_the_line_at_which_its_stream_broke() -> None:
    kubelet = Kubelet({("p-0", "main", False): [[at(1, "one"), at(2, "two")], [at(1, "one"), at(2, "two"), at(3, "three")]]})
    running = [pod("p-0", main=RUNNING)]
    assert read(kubelet, running, running, running, [pod("p-0", main=ENDED)], follow=True) == [
        f"0/main {n}" for n in ("one", "two", "three")
    ]
    assert kubelet.asked[0][3] is None
    assert kubelet.asked[1][3] is not None


def test_a_clock_that_is_behind_asks_for_no_time_in_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    kubelet = Kubelet({("p-0", "main", False): [[at(1, "one")]]})
    monkeypatch.setattr("time.time_ns", lambda: 10**18)  # in 2001
    running = [pod("p-0", main=RUNNING)]
    assert read(kubelet, running, running, [pod("p-0", main=ENDED)], follow=True) == ["0/main one"]
    assert (kubelet.asked[1][3] or 0) > 0


def test_following_goes_on_when_the_cluster_was_out_of_reach_for_a_moment() -> None:
    kubelet = Kubelet({("p-0", "main", False): [[at(1, "a")]]})
    looks: list[Any] = [[], Unreachable("no answer"), [pod("p-0", main=ENDED)]]

    def pods() -> list[dict[str, Any]]:
        found = looks.pop(0) if len(looks) > 1 else looks[0]
        if isinstance(found, Unreachable):
            raise found
        return list(found)

    lines = log_lines(cast(Kube, kubelet), pods, worker=None, container=None, follow=True, finished=lambda: len(looks) == 1)
    assert [line.text for line in lines] == ["a"]


def test_each_restart_is_followed_as_it_is_found_and_none_twice() -> None:
    kubelet = Kubelet({("p-0", "handler", False): [[at(1, "first")], [at(2, "second")]], ("p-0", "handler", True): [[at(1, "first")]]})
    looks = [[pod("p-0", restarts=n, handler=ENDED)] for n in (0, 0, 1, 1)]
    assert read(kubelet, *looks, follow=True) == ["0/handler first", "0/handler second"]


def test_pods_that_come_later_are_followed_too() -> None:
    kubelet = Kubelet({("p-0", "main", False): [[at(1, "a")]], ("p-1", "main", False): [[at(2, "b")]]})
    assert read(kubelet, [pod("p-0", main=ENDED)], [pod("p-0", main=ENDED), pod("p-1", main=ENDED)], follow=True) == [
        "0/main a",
        "1/main b",
    ]


def test_more_containers_than_streams_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_STREAMS", 2)
    kubelet = Kubelet({(f"p-{n}", "main", False): [[at(1, f"of {n}")]] for n in range(7)})
    assert sorted(read(kubelet, [pod(f"p-{n}", main=ENDED) for n in range(7)], follow=True)) == [f"{n}/main of {n}" for n in range(7)]


def test_kubelets_own_message_and_long_lines_keep_their_text() -> None:
    long = "x" * (1 << 20)
    kubelet = Kubelet({("p-0", "main", False): [[b"unable to retrieve container logs for containerd://1\n", at(1, long)]]})
    first, *pieces = read(kubelet, [pod("p-0", main=ENDED)], follow=False)
    assert first == "0/main unable to retrieve container logs for containerd://1"
    assert "".join(piece.removeprefix("0/main ") for piece in pieces) == long


def test_the_tail_holds_the_end_of_both_starts() -> None:
    kubelet = Kubelet({("p-0", "handler", True): [[at(1, "killed")]], ("p-0", "handler", False): [[at(n, f"line {n}") for n in range(9)]]})
    assert log_tail(cast(Kube, kubelet), "p-0", "handler", 1000).startswith(b"killed\nline 0\n")
    assert log_tail(cast(Kube, kubelet), "p-0", "handler", 14) == b"line 7\nline 8\n"


def test_following_stops_when_it_is_told_to_though_a_stream_is_silent() -> None:
    silent = threading.Event()

    class Silent(Kubelet):
        def log(self, *_: Any, **__: Any) -> Iterator[bytes]:
            yield at(1, "the last")
            silent.wait()

    stop = threading.Event()
    options: Any = {"worker": None, "container": None, "follow": True, "finished": lambda: False, "stop": stop}
    lines = log_lines(cast(Kube, Silent({})), lambda: [pod("p-0", main=RUNNING)], **options)
    try:
        assert next(lines).text == "the last"
        stop.set()
        assert list(lines) == []
    finally:
        silent.set()
