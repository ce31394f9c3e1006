"""The threads of the schedulers: what goes wrong in one place ends none of them."""

from __future__ import annotations

from collections.abc import Collection
from queue import Queue

from batchflow.errors import Unreachable
from batchflow.gateway.schedulers import Schedulers
from batchflow.gateway.tenants import Tenant


def test_namespaces_are_looked_for_again_after_a_defect() -> None:
    answers = iter([RuntimeError("can't start new thread"), ["one"], ["one", "two"]])
    opened: Queue[str] = Queue()

    def namespaces() -> Collection[str]:
        answer = next(answers, ["one", "two"])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tenant(namespace: str) -> Tenant:
        opened.put(namespace)
        raise Unreachable("batchflow is not installed there")

    schedulers = Schedulers(namespaces, tenant)
    schedulers.start()
    try:
        assert [opened.get(timeout=30), opened.get(timeout=30)] == ["one", "two"]
    finally:
        schedulers.stop(10)
