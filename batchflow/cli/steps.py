"""The commands that pods run: each reads its environment, wires the collaborators of one step, and turns errors into exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from batchflow import contract, logs
from batchflow.cli.environment import check_version, required
from batchflow.dequeuer.assignment import Assignment
from batchflow.engines.open import open_engine
from batchflow.engines.protocol import Engine, worker_of
from batchflow.errors import BatchflowError, HandlerDown, InvalidInput, NotFound, Unreachable
from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Queue, Queues
from batchflow.records import Checkpoint, Counters, JobRef, LogName
from batchflow.retry import Retry
from batchflow.settings import Settings
from batchflow.spec.model import Api, DeadLetterQueue
from batchflow.status.accounting import Accounting
from batchflow.status.pods import containers
from batchflow.store.jobs import ApiRecords, JobRecords
from batchflow.store.open import open_sources, open_store
from batchflow.store.protocol import Store

__all__ = ["run_step"]

_log = logging.getLogger(__name__)

LOG_TAIL_BYTES: Final = 1 << 20
LOG_RETRY_S: Final = 30.0


def run_step(name: str) -> int:
    """Run the step of that name, configured by `os.environ`; returns its exit code (contract.py)."""
    steps: dict[str, Callable[[_Step], int]] = {
        contract.STEP_PREPARE: _prepare,
        contract.STEP_ENQUEUE: _enqueue,
        contract.STEP_WORK: _work,
        contract.STEP_FINALIZE: _finalize,
        contract.STEP_CLEANUP: _cleanup,
        contract.STEP_CHECK: _check,
    }
    step = None
    try:
        if name == contract.STEP_COURIER:
            from batchflow.cli.couriers import carry_call

            return carry_call(os.environ)
        if name not in steps:
            raise InvalidInput(f'there is no step "{name}"', hint=f"the steps are {', '.join((*steps, contract.STEP_COURIER))}")
        step = _Step.from_env(os.environ)
        logs.setup(step.settings.log_level)
        signal.signal(signal.SIGTERM, step.on_sigterm)
        return steps[name](step)
    except BatchflowError as error:
        print(f"batchflow step {name}: {error}", file=sys.stderr)
        if step is not None:
            _explain(step, name, error)
        if isinstance(error, HandlerDown):
            return contract.EXIT_HANDLER_DOWN
        return contract.EXIT_BAD_INPUT if isinstance(error, InvalidInput | NotFound) else contract.EXIT_TRY_AGAIN


def _explain(step: _Step, name: str, error: BatchflowError) -> None:
    """Let the job's status say why the step failed, unless it said so itself."""
    try:
        if all(counters.pod != step.pod for counters in step.records.counters()):
            step.records.save_counters(Counters(step.pod, step.job.run, name, "failed", error=str(error), updated=time.time()))
    except BatchflowError:  # the store may be the very reason
        return


@dataclass(frozen=True)
class _Step:
    """What a step's environment says, and the services that it names."""

    settings: Settings
    job: JobRef
    pod: str
    environ: Mapping[str, str]
    stop: threading.Event

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> _Step:
        check_version(environ)
        job = JobRef(required(environ, contract.ENV_API), required(environ, contract.ENV_JOB), int(required(environ, contract.ENV_RUN)))
        return cls(Settings.from_env(environ), job, required(environ, contract.ENV_POD), environ, threading.Event())

    @cached_property
    def store(self) -> Store:
        return open_store(self.settings.store, self.settings.call_timeout_s)

    @cached_property
    def records(self) -> JobRecords:
        return JobRecords(self.store, self.job)

    @cached_property
    def queues(self) -> Queues:
        return open_queues(self.settings)

    @cached_property
    def retry(self) -> Retry:
        return Retry(self.settings.retry_s, self.stop)

    @cached_property
    def request(self) -> dict[str, Any]:
        """The submission's body without its source."""
        return self.retry(self.records.request).submission

    @cached_property
    def dead_letter_queue(self) -> DeadLetterQueue | None:
        named = self.request.get("sqs_dead_letter_queue")
        return DeadLetterQueue(**named) if named else None

    @cached_property
    def api(self) -> Api:
        api_id = self.retry(self.records.request).api_id
        return self.retry(lambda: ApiRecords(self.store).api(self.job.api, api_id))

    @cached_property
    def enqueued(self) -> Checkpoint:
        """Raises Unreachable if an enqueuer that was thought lost, of this run or the one before, wrote over what the next had written."""
        checkpoint = self.retry(self.records.checkpoint)
        if checkpoint is None or not checkpoint.done or checkpoint.run != self.records.job.run:
            raise Unreachable("the run is not enqueued", where=self.records.prefix, hint="its enqueue step runs first")
        return checkpoint

    def on_sigterm(self, *_: object) -> None:
        self.stop.set()

    def path(self, env: str, default: str) -> Path:
        return Path(self.environ.get(env) or default)


def _prepare(step: _Step) -> int:
    from batchflow.prepare import prepare

    step.retry(lambda: prepare(step.records, ApiRecords(step.store), open_sources(step.settings), step.environ))
    return contract.EXIT_OK


def _enqueue(step: _Step) -> int:
    from batchflow.enqueuer import enqueue

    checkpoint = enqueue(step.records, queues=step.queues, sources=open_sources(step.settings), settings=step.settings, stop=step.stop)
    if not checkpoint.done:
        return contract.EXIT_TERMINATED
    output = step.path(contract.ENV_OUTPUTS, contract.OUTPUT_DIR) / contract.OUTPUT_WORKERS
    output.parent.mkdir(parents=True, exist_ok=True)
    left = checkpoint.total
    if step.job.run > 1:
        left = step.retry(lambda: Accounting(checkpoint.total, step.records.outcomes())).missing
    output.write_text(str(min(step.request["workers"], left)), encoding="utf-8")
    return contract.EXIT_OK


def _work(step: _Step) -> int:
    from batchflow.dequeuer import work

    queue, dead_letters = _open_queues(step)
    # Argo numbers the tries, but a pod that was deleted before Argo saw it run is made anew as the same try, under the same name.
    replaced = int(step.environ.get(contract.ENV_TRY) or 0) > 0 or step.retry(lambda: step.records.has_counters(step.pod))
    return work(_assignment(step, contract.STEP_WORK), queue, dead_letters, step.stop, replaced=replaced)


def _finalize(step: _Step) -> int:
    from batchflow.dequeuer import work_off
    from batchflow.finalizer.finalize import finalize

    assignment = _assignment(step, contract.STEP_FINALIZE)
    queue, dead_letters = _open_queues(step)

    def leftovers(accounting: Accounting) -> int:
        return work_off(assignment, queue, dead_letters, step.stop, accounting)

    return finalize(
        step.records,
        step.api,
        total=assignment.total,
        port=assignment.port,
        work_off=leftovers,
        stop=step.stop,
        settings=step.settings,
    )


def _cleanup(step: _Step) -> int:
    from batchflow.enqueuer import queue_name
    from batchflow.finalizer.cleanup import Observed, cleanup

    engine = open_engine(step.settings)
    workflow = step.job.workflow

    def observe() -> Observed:
        seen = engine.observe(workflow)
        return Observed(seen.workflow, seen.pods)

    cleanup(
        step.records,
        own_pod=step.pod,
        hook_due=step.api.has_hook,
        queues=step.queues,
        queue_name=queue_name(step.job, step.store.url),
        observe=observe,
        log_tails=lambda: _log_tails(engine, workflow, Retry(LOG_RETRY_S, step.stop)),
        grace_s=step.settings.grace_s,
        retry=step.retry,
    )
    return contract.EXIT_OK


def _check(step: _Step) -> int:
    from batchflow.cli.check import check

    return check(step.settings, step.job, step.pod, step.environ)


def _assignment(step: _Step, name: str) -> Assignment:
    queue = step.dead_letter_queue
    progress = step.environ.get(contract.ENV_PROGRESS)
    return Assignment(
        records=step.records,
        api=step.api,
        pod=step.pod,
        step=name,
        port=int(step.environ.get(contract.ENV_PORT) or step.api.port),
        total=step.enqueued.total,
        workers=step.request["workers"],
        max_receive_count=queue.max_receive_count if queue else None,
        mnt=step.path(contract.ENV_MNT, contract.MNT_DIR),
        progress_file=Path(progress) if progress else None,
        settings=step.settings,
    )


def _open_queues(step: _Step) -> tuple[Queue, Callable[[], Queue] | None]:
    """The run's queue, and what opens the user's dead-letter queue if the job names one."""
    named = step.dead_letter_queue
    dead_letters = partial(step.queues.open_arn, named.arn) if named else None
    return step.queues.open(step.enqueued.queue_url), dead_letters


def _log_tails(engine: Engine, workflow: str, retry: Retry) -> Iterator[tuple[LogName, bytes]]:
    """The last 1 MiB of each container's log, one container in memory at a time.

    A node that does not give its logs, such as one that was lost, is asked no more: that must not cost the others' logs.
    """
    silent: set[str] = set()
    for pod in retry(lambda: engine.observe(workflow)).pods:
        node = pod.get("spec", {}).get("nodeName", "")
        if node in silent:
            continue
        name = pod["metadata"]["name"]
        for container in containers(pod):
            if container["name"] in contract.ARGO_CONTAINERS:
                continue
            try:
                tail = retry(partial(engine.log_tail, workflow, name, container["name"], LOG_TAIL_BYTES))
            except Unreachable as error:
                _log.warning("a log can't be read", extra={"pod": name, "container": container["name"], "error": str(error)})
                silent.add(node)
                break
            yield LogName(worker_of(pod), name, container["name"]), tail
