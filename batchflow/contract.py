"""Names that compiler, engines and steps share. Changing one changes what an already compiled workflow means."""

from __future__ import annotations

from typing import Final

# Steps: `batchflow step NAME`, and the templates and nodes named after them.
STEP_PREPARE: Final = "prepare"
STEP_ENQUEUE: Final = "enqueue"
STEP_WORK: Final = "work"
STEP_FINALIZE: Final = "finalize"
STEP_CLEANUP: Final = "cleanup"
STEP_CHECK: Final = "check"  # of no job: `batchflow doctor` runs it
STEP_COURIER: Final = "courier"  # of a call: beside its replica
STEP_WAKE: Final = "wake"  # has no pod: see compiler/workflow.py
WAKE_S: Final = "2"  # a multiple of the second within which Argo would sleep; finalize takes longer
ENTRYPOINT: Final = "job"

# The enqueuer's output parameter: how many workers to start, min(workers, batches).
OUTPUT_WORKERS: Final = "workers"

# Containers of a worker pod: Argo's main is the dequeuer; a Handler class runs in `handler`, its TensorFlow Serving in `serving`.
CONTAINER_MAIN: Final = "main"
CONTAINER_HANDLER: Final = "handler"
CONTAINER_SERVING: Final = "serving"
# The template of a call's replica: the user's container is Argo's main, the courier its native sidecar.
TEMPLATE_REPLICA: Final = "replica"
ARGO_CONTAINERS: Final = ("init", "wait")  # Argo's own, in every pod

# What `batchflow install` puts into a namespace, and every workflow names.
CONFIG_MAP: Final = "batchflow"
AWS_SECRET: Final = "batchflow-aws"  # optional
STEP_ACCOUNT: Final = "batchflow-step"  # has no Role: it never talks to Kubernetes
CLEANUP_ACCOUNT: Final = "batchflow-cleanup"  # reads workflow and pods
EXECUTOR_ACCOUNT: Final = "batchflow-executor"  # of Argo's own containers
TOKEN_SECRET: Final = f"{EXECUTOR_ACCOUNT}.service-account-token"  # the name by which Argo looks for it

# The gateway in a cluster: its Deployment, Service and service account, and the Secret with its credentials file.
GATEWAY: Final = "batchflow-gateway"
GATEWAY_PORT: Final = 8888
CREDENTIALS_KEY: Final = "credentials.yaml"
# What a worker that may use the gateway gets: the address from the ConfigMap, the token from this Secret.
CLIENT_SECRET: Final = "batchflow-client"
CLIENT_SECRET_KEY: Final = "token"
ENV_CREDENTIALS: Final = "BATCHFLOW_CREDENTIALS"
ENV_GATEWAY_URL: Final = "BATCHFLOW_GATEWAY_URL"
ENV_TOKEN: Final = "BATCHFLOW_TOKEN"

LABEL_API: Final = "batchflow/api"
LABEL_JOB: Final = "batchflow/job"
LABEL_RUN: Final = "batchflow/run"
LABEL_DEPLOYMENT: Final = "batchflow/deployment"
LABEL_CALL: Final = "batchflow/call"

# Argo's controllers that have an instance id take workflows with that label only.
INSTANCE_LABEL: Final = "workflows.argoproj.io/controller-instanceid"

# Annotations that Argo gives every pod.
NODE_ID: Final = "workflows.argoproj.io/node-id"
NODE_NAME: Final = "workflows.argoproj.io/node-name"

# Client, ConfigMap and step image must agree on this: the names in this file change with it.
VERSION: Final = "0.1"  # major.minor of batchflow
ENV_VERSION: Final = "BATCHFLOW_VERSION"
STEP_IMAGE: Final = f"batchflow/step:{VERSION}"  # of our containers, unless settings name another
ENV_STORE: Final = "BATCHFLOW_STORE"
ENV_NAMESPACE: Final = "BATCHFLOW_NAMESPACE"

# Exit codes of steps (sysexits.h where there is one). The first three are not retried: see `NOT_RETRIED`.
EXIT_OK: Final = 0
EXIT_BAD_INPUT: Final = 64
EXIT_HANDLER_DOWN: Final = 69
EXIT_HOOK_FAILED: Final = 70
EXIT_TRY_AGAIN: Final = 75
EXIT_TERMINATED: Final = 143
NOT_RETRIED: Final = (EXIT_BAD_INPUT, EXIT_HANDLER_DOWN, EXIT_HOOK_FAILED)

# Which job a step belongs to.
ENV_API: Final = "BATCHFLOW_API"
ENV_JOB: Final = "BATCHFLOW_JOB"
ENV_RUN: Final = "BATCHFLOW_RUN"
ENV_POD: Final = "BATCHFLOW_POD"  # the pod's name; a pod may be made anew under it
ENV_TRY: Final = "BATCHFLOW_TRY"  # 0 for the first try of a step, then 1, 2, …
ENV_GRACE: Final = "BATCHFLOW_GRACE_S"  # seconds between SIGTERM and SIGKILL

# Which call a courier belongs to, and what it must know of the replica beside it.
ENV_DEPLOYMENT: Final = "BATCHFLOW_DEPLOYMENT"
ENV_DEPLOYMENT_ID: Final = "BATCHFLOW_DEPLOYMENT_ID"
ENV_CALL: Final = "BATCHFLOW_CALL"
ENV_HEALTH_PATH: Final = "BATCHFLOW_HEALTH_PATH"  # empty: any open port will do
ENV_HEALTH_PORT: Final = "BATCHFLOW_HEALTH_PORT"
ENV_MAX_REPLY_BYTES: Final = "BATCHFLOW_MAX_REPLY_BYTES"
ENV_REPLICA_PORT: Final = "BATCHFLOW_REPLICA_PORT"  # where the replica listens; its own PORT has the same value
ENV_APP_PORT: Final = "PORT"
# The key of a Kubernetes Secret that stands for one of Verda's generic secrets, which have one value.
SECRET_KEY: Final = "value"

# Where things are in a pod. Containers read these variables; the local engine gives them other values.
POD_ROOTS: Final = ("/mnt", "/cortex", "/tmp/batchflow")
ENV_MNT: Final = "BATCHFLOW_MNT_DIR"
ENV_OUTPUTS: Final = "BATCHFLOW_OUTPUT_DIR"
ENV_RUNTIME: Final = "BATCHFLOW_RUNTIME_DIR"
ENV_JOB_DOCUMENT: Final = "BATCHFLOW_JOB_JSON"
ENV_PROJECT: Final = "CORTEX_PROJECT_DIR"
ENV_API_SPEC: Final = "CORTEX_API_SPEC"
ENV_JOB_SPEC: Final = "CORTEX_JOB_SPEC"
ENV_PORT: Final = "CORTEX_PORT"
ENV_PYTHON_PATH: Final = "CORTEX_PYTHON_PATH"
ENV_LOG_LEVEL: Final = "CORTEX_LOG_LEVEL"
ENV_MODELS: Final = "CORTEX_MODEL_DIR"
ENV_CLIENT_CONFIG: Final = "CORTEX_CLI_CONFIG_DIR"
ENV_SERVING_PORT: Final = "BATCHFLOW_SERVING_PORT"  # TensorFlow Serving's REST API
ENV_SERVING_GRPC_PORT: Final = "BATCHFLOW_SERVING_GRPC_PORT"  # nobody uses it, but without one it does not start
# On one machine every pod has ports of its own.
PORT_VARIABLES: Final = (ENV_PORT, ENV_SERVING_PORT, ENV_SERVING_GRPC_PORT, ENV_REPLICA_PORT)
ENV_PROGRESS: Final = "ARGO_PROGRESS_FILE"
MNT_DIR: Final = "/mnt"
OUTPUT_DIR: Final = "/tmp/batchflow"
RUNTIME_DIR: Final = "/mnt/.batchflow/runtime"  # holds the packages batchflow_runtime and cortex_internal
VENV_DIR: Final = "/mnt/.batchflow/venvs"
ENV_VENVS: Final = "BATCHFLOW_VENV_DIR"
ENV_BATCH_TIMEOUT: Final = "BATCHFLOW_BATCH_TIMEOUT_S"
ENV_MAX_CONCURRENCY: Final = "BATCHFLOW_MAX_CONCURRENCY"
FAILURES_FILE: Final = ".batchflow/failures.jsonl"  # below /mnt: why a Handler did not start, a line each time
PROJECT_DIR: Final = "/mnt/project"
JOB_DOCUMENT: Final = "/cortex/spec/job.json"  # container generation
JOB_SPEC: Final = "/mnt/spec/batch.json"  # handler generation: the same document with two more ids
API_SPEC: Final = "/mnt/spec/spec.json"
MODEL_DIR: Final = "/mnt/model"  # <model>/<version>/saved_model.pb
SERVING_CONFIG: Final = "models.config"  # below it: what TensorFlow Serving serves
MODELS_FILE: Final = "models.json"  # below it: {"models": [{"name", "signature_key"}]}, for the runtime
CLIENT_DIR: Final = "/cortex/client"  # container generation: where `cortex.client()` looks for cli.yaml
HANDLER_CLIENT_DIR: Final = "/mnt/client"  # handler generation
CLIENT_CONFIG: Final = "cli.yaml"  # below either

# Headers of a batch request. The first is Cortex's; runtime and logs need the others.
HEADER_JOB: Final = "X-Cortex-Job-ID"
HEADER_BATCH_ID: Final = "X-Batchflow-Batch-Id"
HEADER_BATCH_INDEX: Final = "X-Batchflow-Batch-Index"
HEADER_ATTEMPT: Final = "X-Batchflow-Attempt"
HOOK_PATH: Final = "/on-job-complete"
HOOK_BODY: Final = b'{"message":"job_complete"}'

DEFAULT_PORT: Final = 8080
SERVING_PORT: Final = 8501  # the ports that TensorFlow Serving's documents use
SERVING_GRPC_PORT: Final = 8500

# How dequeuer and finalizer talk to the handler.
HANDLER_HOST: Final = "127.0.0.1"  # the containers of a pod share it
# The runtime of a Handler answers 504 itself at `batch_timeout_s`, naming the line that hangs; wait for that answer.
RUNTIME_ANSWERS_S: Final = 5.0
# A node that goes down stops all containers of the pod, the handler perhaps a little before us.
SIGTERM_FOLLOWS_S: Final = 5.0
# Of a reason; it becomes an attribute of the message in a DLQ.
MAX_REASON_BYTES: Final = 1024
