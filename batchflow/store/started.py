"""running/: marks of the runs that may be running, so that nobody needs to look at every job that ever was to count those that run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from batchflow.records import JobRef
from batchflow.store.protocol import Store

__all__ = ["StartedRuns"]

_KEY: Final = re.compile(r"running/([^/]+)/([0-9a-f]{16})-([1-9]\d?)")


class StartedRuns:
    """One key for each run, running/<api>/<job_id>-<run>.

    Made before anything else of the run, before its input is uploaded and its project saved; so a mark without a job is a submission
    under way, or one that was cut off. Taken away by whoever sees that the run has a final status.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def mark(self, run: JobRef) -> None:
        """Repeating it sets its time anew."""
        self._store.put(_key(run), datetime.now(UTC).isoformat().encode())

    def unmark(self, runs: Iterable[JobRef]) -> None:
        self._store.delete(_key(run) for run in runs)

    def list(self, api: str = "", job_id: str = "") -> Iterator[JobRef]:
        """Those of a job, of an api, or all."""
        for key in self._store.list(f"running/{api}/{job_id}" if api else "running/"):
            if match := _KEY.fullmatch(key):
                yield JobRef(match[1], match[2], int(match[3]))

    def marked_at(self, run: JobRef) -> datetime | None:
        """When it was marked last; None if it is not."""
        data = self._store.get(_key(run))
        return None if data is None else datetime.fromisoformat(data.decode())


def _key(run: JobRef) -> str:
    return f"running/{run.api}/{run.job_id}-{run.run}"
