"""A namespace's job deployments as the gateway has them: what answers for them, and the scheduler that starts their calls."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from batchflow.client.services import Services
from batchflow.deployments.scheduler import Scheduler
from batchflow.deployments.service import Deployments
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.store.calls import JobDeployments

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
    def settings(self) -> Settings:
        """Those to compile with."""
        return self._services.completed

    @property
    def records(self) -> JobDeployments:
        return JobDeployments(self._services.store)

    @property
    def service(self) -> Deployments:
        """By the rules that are in force now."""
        return Deployments(self._services.store, self._services.engine, self.settings, self._rules(), wake=self.wake)

    def run_scheduler(self, stop: Event) -> None:
        """Until `stop` is set; `wake` makes it look at that at once."""
        self._scheduler = Scheduler(self._services.store, self._services.engine, self.settings, self._rules)
        self._scheduler.run(stop)

    def wake(self) -> None:
        """There may be something to do for the scheduler; no effect where none runs."""
        if self._scheduler:
            self._scheduler.wake()
