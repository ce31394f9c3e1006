"""What the runtime is told by its environment. The names are those of `batchflow.contract`, which can't be imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["HEADER_ATTEMPT", "HEADER_BATCH_ID", "HEADER_BATCH_INDEX", "HEADER_JOB", "HOOK_PATH", "Settings"]

HEADER_JOB = "X-Cortex-Job-ID"
HEADER_BATCH_ID = "X-Batchflow-Batch-Id"
HEADER_BATCH_INDEX = "X-Batchflow-Batch-Index"
HEADER_ATTEMPT = "X-Batchflow-Attempt"
HOOK_PATH = "/on-job-complete"


@dataclass(frozen=True)
class Settings:
    """Absolute paths, but for `python_path`, which is relative to `project`."""

    project: str
    python_path: str  # "" is the project's root
    api_spec: str  # JSON file: the api's entry of cortex.yaml
    job_spec: str  # JSON file: the job document
    venvs: str
    failures: str  # JSON lines: why starts failed
    port: int
    log_level: str  # DEBUG, INFO, WARNING or ERROR
    batch_timeout_s: float
    max_concurrency: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the variables that the compiler sets; what is missing is as in a pod."""
        return cls(
            project=os.path.realpath(environ.get("CORTEX_PROJECT_DIR", "/mnt/project")),
            python_path=environ.get("CORTEX_PYTHON_PATH", ""),
            api_spec=environ.get("CORTEX_API_SPEC", "/mnt/spec/spec.json"),
            job_spec=environ.get("CORTEX_JOB_SPEC", "/mnt/spec/batch.json"),
            venvs=environ.get("BATCHFLOW_VENV_DIR", "/mnt/.batchflow/venvs"),
            failures=os.path.join(environ.get("BATCHFLOW_MNT_DIR", "/mnt"), ".batchflow", "failures.jsonl"),
            port=int(environ.get("CORTEX_PORT", "8080")),
            log_level=environ.get("CORTEX_LOG_LEVEL", "INFO"),
            batch_timeout_s=float(environ.get("BATCHFLOW_BATCH_TIMEOUT_S", "39600")),
            max_concurrency=int(environ.get("BATCHFLOW_MAX_CONCURRENCY", "1")),
        )
