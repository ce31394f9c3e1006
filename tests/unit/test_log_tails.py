"""Which logs cleanup saves when a node is lost."""

from __future__ import annotations

from threading import Event
from typing import Any, cast

from batchflow.cli.steps import _log_tails
from batchflow.engines.protocol import Engine, Observation
from batchflow.errors import Unreachable
from batchflow.retry import Retry


def pod(name: str, node: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node},
        "status": {"initContainerStatuses": [{"name": "handler"}], "containerStatuses": [{"name": "wait"}, {"name": "main"}]},
    }


class Nodes:
    """An engine of which one node is lost, and the cluster away at first."""

    def __init__(self) -> None:
        self.away = 1
        self.asked: list[str] = []

    def observe(self, name: str) -> Observation:
        if self.away:
            self.away -= 1
            raise Unreachable("no answer")
        return Observation({}, [pod("a", "lost"), pod("b", "lost"), pod("c", "well")])

    def log_tail(self, name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        self.asked.append(pod)
        if pod != "c":
            raise Unreachable("the cluster answers 500: dial tcp 10.0.0.1:10250: i/o timeout")
        return container.encode()


def test_a_lost_node_costs_no_other_nodes_logs() -> None:
    nodes = Nodes()
    saved = list(_log_tails(cast(Engine, nodes), "w", Retry(0.2, Event())))
    assert [(name.pod, name.container, tail) for name, tail in saved] == [("c", "handler", b"handler"), ("c", "main", b"main")]
    assert set(nodes.asked) == {"a", "c"}
