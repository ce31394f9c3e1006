"""Deleting a deployment where no scheduler may be at work."""

from __future__ import annotations

import time

from batchflow.deployments.retention import Retention
from batchflow.deployments.watching import Watcher
from batchflow.engines.protocol import Engine
from batchflow.store.deployments import DeploymentRecords, JobDeployments

__all__ = ["Deletion"]


class Deletion:
    """Of a deployment that is marked as terminating. Schedulers may be at it, too."""

    def __init__(self, records: DeploymentRecords, engine: Engine) -> None:
        self._records = records
        self._watcher = Watcher(engine, time.time)
        self._retention = Retention(JobDeployments(records.store), engine, time.time)

    def advance(self) -> None:
        """Stop what still runs, complete what has ended, then free the name; to be repeated until that is free."""
        for name in self._records.running():
            self._watcher.watch(self._records, self._records.call(name), is_terminating=True)
        self._retention.forget_deleted(self._records.name)
