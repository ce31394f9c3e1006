"""A namespace's job deployments as the gateway has them: what answers for them, and the scheduler that starts their calls."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from batchflow.client.services import Services
from batchflow.deployments.scheduler import Scheduler
from batchflow.deployments.service import Deployments
from batchflow.spec.computeresource import Rules
from batchflow.store.deployments import JobDeployments

__all__ = ["TenantDeployments"]


class TenantDeployments:
    """Everything is opened when it is first needed, and may then raise Unreachable or NotFound.

    `rules` gives those that are in force now.
    """

    def __init__(self, services: Services, rules: Callable[[], Rules]) -> None:
        self._services = services
        self._rules = rules
        self._scheduler: Scheduler | None = None

    @property
    def records(self) -> JobDeployments:
        return JobDeployments(self._services.store)

    @property
    def service(self) -> Deployments:
        """By the rules that are in force now."""
        return Deployments(self._services.store, self._services.engine, self._services.completed, self._rules(), wake=self.wake)

    def run_scheduler(self, stop: Event) -> None:
        """Until `stop` is set, or moments longer."""
        self._scheduler = Scheduler(self._services.store, self._services.engine, self._services.completed, self._rules)
        self._scheduler.run(stop)

    def wake(self, name: str) -> None:
        """There may be something to do of that deployment; no effect where no scheduler runs."""
        if self._scheduler:
            self._scheduler.wake(name)
