"""The services that settings name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from batchflow.engines.open import complete, open_engine
from batchflow.engines.protocol import Engine
from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Queues
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.model import Api, Submission
from batchflow.store.jobs import ApiRecords
from batchflow.store.keys import SubmissionKeys
from batchflow.store.open import open_sources, open_store
from batchflow.store.protocol import Sources, Store
from batchflow.store.started import StartedRuns

__all__ = ["Services"]


class Services:
    """Each is opened when it is first needed, so that a command pays only for what it uses.

    `environ` is what the engines see of this process's environment; `sources` are the schemes beside `s3://` that are read here.
    """

    def __init__(self, settings: Settings, *, environ: Mapping[str, str] = os.environ, sources: Sequence[str] = ("file",)) -> None:
        self.settings = settings
        self._environ = environ
        self._sources = tuple(sources)

    @cached_property
    def completed(self) -> Settings:
        """With what the cluster's namespace is set to; raises NotFound if batchflow is not installed there."""
        return complete(self.settings, self._environ)

    @cached_property
    def store(self) -> Store:
        return open_store(self.settings.store or self.completed.store, self.settings.call_timeout_s)

    @cached_property
    def apis(self) -> ApiRecords:
        return ApiRecords(self.store)

    @cached_property
    def started(self) -> StartedRuns:
        return StartedRuns(self.store)

    @cached_property
    def keys(self) -> SubmissionKeys:
        return SubmissionKeys(self.store)

    @cached_property
    def queues(self) -> Queues:
        return open_queues(self.settings)

    @cached_property
    def sources(self) -> Sources:
        """What this machine reads; local files of a cluster's job are uploaded."""
        return open_sources(replace(self.settings, sources=self._sources))

    @cached_property
    def engine(self) -> Engine:
        return open_engine(self.settings, self._environ)

    def manifest(self, submission: Submission, api: Api, job: JobRef) -> dict[str, Any]:
        """The Argo Workflow of a run, for the engine."""
        from batchflow.compiler import compile_job  # hera takes most of a second to import; `get` and `logs` do without it

        manifest: dict[str, Any] = compile_job(submission, api, job, self.completed).to_dict()
        return manifest
