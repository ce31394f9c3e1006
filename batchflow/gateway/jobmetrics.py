"""A namespace's jobs for Prometheus, looked up when it scrapes: those that run, and those that ended since the last time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from batchflow.client import Client, Job
from batchflow.errors import NotFound
from batchflow.status.model import JobStatus

__all__ = ["JobMetrics"]

_THREADS: Final = 16  # requests to the store at a time
_REMEMBERED: Final = 10_000  # jobs, where nobody scrapes

_Names = tuple[str, str]


class JobMetrics(Collector):
    """Counts each job that this process knew running once when it ended. Its cost grows with what runs, not with what ever ran."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = Lock()  # held while store and cluster are asked
        self._submitted: deque[_Names] = deque(maxlen=_REMEMBERED)
        self._known: set[_Names] = set()
        self._counted: deque[tuple[str, str, int]] = deque(maxlen=_REMEMBERED)  # runs: the repeat of a submission may name one that ended
        self._ended: Counter[tuple[str, str]] = Counter()  # by api and status
        self._batches: Counter[tuple[str, str]] = Counter()  # of ended jobs, by api and outcome

    def submitted(self, job: Job) -> None:
        """Remember a job that may end before anybody looks; waits for nobody."""
        self._submitted.append((job.api, job.id))

    def collect(self) -> Iterator[Metric]:
        """Raises BatchflowError if the store or the cluster can't be asked."""
        with self._lock:
            running = self._look()
            jobs = GaugeMetricFamily("batchflow_jobs", "Jobs that have not ended, by status.", labels=["api", "status"])
            queued = GaugeMetricFamily("batchflow_batches_in_queue", "Batches that wait or are in hand, about.", labels=["api"])
            ended = CounterMetricFamily("batchflow_jobs_ended", "Jobs that ended while this process ran.", labels=["api", "status"])
            batches = CounterMetricFamily("batchflow_batches", "Batches with an outcome, of these jobs.", labels=["api", "outcome"])
            for (api, code), count in Counter((status.api_name, status.status) for status in running).items():
                jobs.add_metric([api, code], count)
            waiting: Counter[str] = Counter()
            done = Counter(self._batches)
            for status in running:
                waiting[status.api_name] += status.batches_in_queue
                done.update(_outcomes(status))
            for api, count in waiting.items():
                queued.add_metric([api], count)
            for (api, code), count in self._ended.items():
                ended.add_metric([api, code], count)
            for (api, outcome), count in done.items():
                batches.add_metric([api, outcome], count)
        yield from (jobs, queued, ended, batches)

    def _look(self) -> list[JobStatus]:
        """The statuses of what runs; what was known and has ended is counted."""
        while self._submitted:
            self._known.add(self._submitted.popleft())
        names = self._known | {(job.api, job.id) for job in self._client.running()}
        with ThreadPoolExecutor(_THREADS) as pool:
            found = dict(zip(names, pool.map(self._status, names), strict=True))
        for status in filter(None, found.values()):
            run = (status.api_name, status.job_id, status.run)
            if status.ended and run not in self._counted:
                self._counted.append(run)
                self._ended[status.api_name, status.status] += 1
                self._batches.update(_outcomes(status))
        running = {name: status for name, status in found.items() if status and not status.ended}
        self._known = set(running)
        return list(running.values())

    def _status(self, names: _Names) -> JobStatus | None:
        with suppress(NotFound):  # deleted meanwhile
            return self._client.get(*names).status()
        return None


def _outcomes(status: JobStatus) -> Counter[tuple[str, str]]:
    outcomes = {"succeeded": status.batch_metrics.succeeded, "failed": status.batches_failed or 0}
    return Counter({(status.api_name, outcome): count for outcome, count in outcomes.items()})
