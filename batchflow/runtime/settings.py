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
    """Paths are absolute."""

    project: str
    python_path: str
    api_spec: str  # JSON file: the api's entry of cortex.yaml
    job_spec: str  # JSON file: the job document
    models: str  # JSON file: the names of the models that TensorFlow Serving has
    venvs: str
    failures: str  # JSON lines: why starts failed
    port: int
    serving_port: int  # of TensorFlow Serving's REST API
    metrics_host: str
    log_level: str  # DEBUG, INFO, WARNING or ERROR
    batch_timeout_s: float
    max_concurrency: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the variables that the compiler sets; what is missing is as in a pod."""
        project = os.path.realpath(environ.get("CORTEX_PROJECT_DIR", "/mnt/project"))
        return cls(
            project=project,
            python_path=os.path.realpath(environ.get("CORTEX_PYTHON_PATH") or project),
            api_spec=environ.get("CORTEX_API_SPEC", "/mnt/spec/spec.json"),
            job_spec=environ.get("CORTEX_JOB_SPEC", "/mnt/spec/batch.json"),
            models=os.path.join(environ.get("CORTEX_MODEL_DIR", "/mnt/model"), "models.json"),
            venvs=environ.get("BATCHFLOW_VENV_DIR", "/mnt/.batchflow/venvs"),
            failures=os.path.join(environ.get("BATCHFLOW_MNT_DIR", "/mnt"), ".batchflow", "failures.jsonl"),
            port=int(environ.get("CORTEX_PORT", "8080")),
            serving_port=int(environ.get("BATCHFLOW_SERVING_PORT", "8501")),
            metrics_host=environ.get("HOST_IP", "127.0.0.1"),
            log_level=environ.get("CORTEX_LOG_LEVEL", "INFO"),
            batch_timeout_s=float(environ.get("BATCHFLOW_BATCH_TIMEOUT_S", "39600")),
            max_concurrency=int(environ.get("BATCHFLOW_MAX_CONCURRENCY", "1")),
        )
