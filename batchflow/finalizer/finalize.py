"""Finalize: accounts, works off what is left with the workers' own loop, then posts the completion hook and records its answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Final

from batchflow import contract
from batchflow.errors import Unreachable
from batchflow.finalizer.hook import ask_hook
from batchflow.records import JobRef
from batchflow.retry import Retry
from batchflow.settings import Settings
from batchflow.spec.model import Api
from batchflow.status.accounting import Accounting
from batchflow.store.jobs import JobRecords

__all__ = ["finalize"]

_log = logging.getLogger(__name__)

WAITING_SHARE: Final = 0.8  # of the grace period: for a hook that is under way; the rest is for recording its answer


def finalize(
    records: JobRecords,
    api: Api,
    *,
    total: int,
    port: int,
    work_off: Callable[[Accounting], int],
    stop: Event,
    settings: Settings,
) -> int:
    """Bring the run to its end; returns an exit code of contract.py. Repeating it is harmless, but for a hook whose answer was lost.

    `work_off` is `dequeuer.work_off`, bound to this pod: it waits for the handler, handles what is left, adds the outcomes to the
    accounting, and returns an exit code.

    0: everything that finalize can do is done, which is for the verdict to judge: batches may be left without an outcome.
    69: the handler does not come up, or no worker of this run ever reached it, so that there is nothing to wait for.
    70: the hook answered badly (neither 200 nor 404), which is recorded. 75: store or queue were out of reach. 143: `stop` was set.

    Without a hook the pod has no handler, so nothing can be worked off. Nothing needs to be, as long as workers end by themselves:
    whoever replaces a lost worker stays until nothing is in flight. A batch is left over only if a worker ended for good, its handler
    down (69) or its tries used up, after the others had left; then the verdict is `worker_error`, and `resume` handles the rest.
    """
    retry = Retry(settings.retry_s, stop)
    try:
        return _Finalizer(records, api, total, port, work_off, stop, settings, retry).run()
    except Unreachable as error:
        _log.error("failed", extra={"error": str(error)})
        return contract.EXIT_TERMINATED if stop.is_set() else contract.EXIT_TRY_AGAIN


@dataclass(frozen=True, slots=True)
class _Finalizer:
    records: JobRecords
    api: Api
    total: int
    port: int
    work_off: Callable[[Accounting], int]
    stop: Event
    settings: Settings
    retry: Retry

    def run(self) -> int:
        """The steps of `finalize`; raises Unreachable."""
        accounting = self._account()
        if not self.api.has_hook:
            return contract.EXIT_OK
        known = self.retry(self.records.hook)
        if known is not None and known.ok:
            return contract.EXIT_OK
        if known is not None and known.run == self.records.job.run:  # a resumed run asks again
            return contract.EXIT_HOOK_FAILED
        if not self._handler_was_reached(accounting):
            _log.error("no worker ever reached the handler")
            return contract.EXIT_HANDLER_DOWN
        incomplete = accounting.missing > 0
        if code := self.work_off(accounting):
            return code
        # A worker that we thought lost may have written outcomes meanwhile.
        if incomplete and self._account().missing:
            return contract.EXIT_OK
        return self._hook(self.records.job)

    def _account(self) -> Accounting:
        accounting = self.retry(lambda: Accounting(self.total, self.records.outcomes()))
        fields = {"total": self.total, "succeeded": accounting.succeeded, "failed": accounting.failed, "missing": accounting.missing}
        _log.info("accounts", extra=fields)
        return accounting

    def _handler_was_reached(self, accounting: Accounting) -> bool:
        """Whether it is worth while to wait for the handler. With every outcome there it is: counters may have been lost."""
        run = self.records.job.run
        return not accounting.missing or any(
            c.ready is not None for c in self.retry(self.records.counters) if c.run == run and c.step == contract.STEP_WORK
        )

    def _hook(self, job: JobRef) -> int:
        timeout_s = self.api.additions.batch_timeout_s + (contract.RUNTIME_ANSWERS_S if self.api.handler else 0.0)
        answer = ask_hook(job, self.port, timeout_s=timeout_s, grace_s=self.settings.grace_s * WAITING_SHARE, stop=self.stop)
        if answer is None:
            return contract.EXIT_TERMINATED
        self.retry(lambda: self.records.save_hook(answer))
        return contract.EXIT_OK if answer.ok else contract.EXIT_HOOK_FAILED
