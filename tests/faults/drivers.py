"""Where a scenario is run: each driver is a context that gives the function which runs one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.faults.evidence import Evidence
from tests.faults.scenario import Scenario

__all__ = ["DRIVERS", "Driver"]

# Runs a scenario in a new, empty folder of its own (the second argument). Several may run at once.
Driver = Callable[[Scenario, Path], Evidence]


def _local(on: str) -> AbstractContextManager[Driver]:
    from tests.faults.local import driver

    return driver(on)


def _cluster(on: str) -> AbstractContextManager[Driver]:
    from tests.faults.cluster import driver  # needs what the cluster's tests need

    return driver(on)


DRIVERS: dict[str, Callable[[str], AbstractContextManager[Driver]]] = {"sqlite": _local, "sqs": _local, "cluster": _cluster}
