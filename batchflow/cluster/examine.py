"""All that `doctor` looks at: a cluster, what is installed in a namespace of it, store and queues, from here and from pods."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Final

from batchflow import contract
from batchflow.cluster import doctor
from batchflow.cluster.check import HERE, JOB_NAME, trial_job
from batchflow.cluster.check_run import run_check
from batchflow.cluster.doctor import FAIL, OK, WARN, Finding
from batchflow.cluster.orphans import QUEUE_PREFIX, Workflows, find_orphans
from batchflow.cluster.permissions import CLEANUP, EXECUTOR, USER, Role
from batchflow.cluster.trials import failures, try_store
from batchflow.engines.argo.checks import Checks
from batchflow.engines.argo.installed import installed_settings
from batchflow.engines.argo.kube import Kube
from batchflow.errors import BatchflowError, Unreachable
from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Queues
from batchflow.records import JobRef, new_job_id
from batchflow.settings import Settings
from batchflow.store.open import open_store

__all__ = ["Examination"]

ORPHANS_S: Final = 30.0  # after that no further one is looked for


class Examination:
    """One run of doctor.

    Attributes:
        reached: whether the cluster answered; known once all findings were read.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], *, delete_orphans: bool) -> None:
        self._settings = settings
        self._environ = environ
        self._delete_orphans = delete_orphans
        self._job = JobRef(JOB_NAME, new_job_id(time.time_ns()))
        self._queues: Queues | None = None  # if this machine may list them
        self._queue_names: list[str] = []
        self.reached = True

    def findings(self) -> Generator[Finding]:
        """Each as soon as it is known. When it is closed early, what was made in the cluster, the store and of queues is removed."""
        namespace = self._settings.namespace
        try:
            kube = Kube(namespace, context=self._settings.kube_context)
            checks = Checks(kube)
            yield doctor.cluster(checks.version(), kube.host)
        except BatchflowError as error:
            self.reached = False
            yield doctor.failed("cluster", error)
            yield from self._services(self._settings)
            return
        failed = False
        for finding in chain(_guarded("argo", lambda: _argo(checks)), _guarded("namespace", lambda: _namespace(checks, namespace))):
            failed = failed or finding.level == FAIL
            yield finding
        yield from _guarded("permissions", lambda: iter([doctor.caller(_missing(checks.may, USER), namespace)]))
        yield from _guarded("gateway", lambda: _gateway(checks, namespace))
        try:
            installed = installed_settings(kube, self._settings, self._environ)
        except BatchflowError as error:
            yield doctor.failed("settings", error)
            yield from self._services(self._settings)
            return
        yield doctor.settings(installed)
        yield from self._services(installed)
        if failed:
            yield Finding(WARN, "pods", "nothing was tried in pods", "mend first what failed above")
        else:
            yield from _guarded("pods", lambda: run_check(kube, self._job, installed, self._queues))
        yield from _guarded("orphans", lambda: self._orphans(checks, installed), level=WARN)

    def _services(self, settings: Settings) -> Iterator[Finding]:
        """Store and queues as this machine reaches them."""
        if not settings.store:
            yield Finding(WARN, "store", "not tried, since it is not known", "name it: --store s3://bucket/prefix, or BATCHFLOW_STORE")
            return
        errors = try_store(lambda: open_store(settings.store, settings.call_timeout_s), trial_job(self._job.job_id, HERE), deletes=True)
        yield from doctor.tried_here("store", errors, f"{settings.store} can be used")
        yield from doctor.tried_here("queues", failures([lambda: self._list_queues(settings)]), "can be listed", level=WARN)

    def _list_queues(self, settings: Settings) -> None:
        queues = open_queues(settings)
        self._queue_names = list(queues.list(QUEUE_PREFIX))
        self._queues = queues

    def _orphans(self, checks: Checks, settings: Settings) -> Iterator[Finding]:
        give_up = time.monotonic() + ORPHANS_S

        def tick() -> None:
            if time.monotonic() > give_up:
                raise Unreachable(f"looked for no more than {ORPHANS_S:.0f} s", hint="remove what is old, batchflow prune, then look again")

        workflows = Workflows.of(checks.workflows(contract.LABEL_JOB))
        store, found = open_store(settings.store, settings.call_timeout_s), False
        for orphan in find_orphans(self._queue_names, workflows, store, settings.namespace, datetime.now(UTC), tick=tick):
            found = True
            if orphan.queue and self._queues and self._delete_orphans:
                if queue := self._queues.find(orphan.queue):
                    self._queues.remove(queue.url)
                yield Finding(OK, "orphans", f"deleted {orphan.what}")
            else:
                yield Finding(WARN, "orphans", orphan.what, orphan.hint)
        if not found:
            yield Finding(OK, "orphans", "no queue, workflow or run without its job")


def _argo(checks: Checks) -> Iterator[Finding]:
    yield doctor.argo_kinds(checks.kinds())


def _namespace(checks: Checks, namespace: str) -> Iterator[Finding]:
    exists = checks.has_namespace()
    yield doctor.namespace(namespace, exists)
    if exists is False:
        return
    accounts = (contract.STEP_ACCOUNT, CLEANUP.account, EXECUTOR.account)
    yield from doctor.accounts({name: checks.has_account(name) for name in accounts}, checks.has_secret(contract.TOKEN_SECRET, "token"))
    for role in (EXECUTOR, CLEANUP):
        yield from doctor.role(role, _missing(partial(checks.account_may, role.account), role))


def _gateway(checks: Checks, namespace: str) -> Iterator[Finding]:
    available = checks.available(contract.GATEWAY)
    if available is None:  # not installed, or not for the caller to see
        return
    has_credentials = checks.has_secret(contract.GATEWAY, contract.CREDENTIALS_KEY)
    serves = checks.serves(contract.GATEWAY, contract.GATEWAY_PORT, "healthz")
    yield doctor.gateway(namespace, has_credentials=has_credentials, available=available, serves=serves)
    role = replace(USER, account=contract.GATEWAY)
    yield from doctor.role(role, _missing(partial(checks.account_may, role.account), role))


def _missing(may: Callable[[dict[str, str]], bool | None], role: Role) -> list[dict[str, str]] | None:
    """What of the Role is not granted; None if that can't be known."""
    answers = [(asked, may(asked)) for rule in role.rules for asked in rule.reviews()]
    return None if any(answer is None for _, answer in answers) else [asked for asked, answer in answers if not answer]


def _guarded(check: str, findings: Callable[[], Iterator[Finding]], *, level: str = FAIL) -> Iterator[Finding]:
    """An error in one part keeps no other part from being looked at."""
    try:
        yield from findings()
    except BatchflowError as error:
        yield doctor.failed(check, error, level=level)
