"""The variables of the user's containers: Cortex's (spec of its runtimes: docs/handler.md) or Verda's, ours, then the user's, which win."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hera.workflows import models

from batchflow import contract
from batchflow.spec.jobdeployment import JobDeployment, Variable
from batchflow.spec.model import Additions, Api, Container, Handler

__all__ = ["container_env", "handler_env", "replica_env", "serving_env"]

# Cortex's last releases with each generation's interface, for code that asks.
HANDLER_VERSION: Final = "0.35.0"
CONTAINER_VERSION: Final = "0.42.1"

REGION: Final = "AWS_REGION"  # the ConfigMap's key
REGION_VARIABLES: Final = ("CORTEX_REGION", "AWS_DEFAULT_REGION")


def handler_env(api: Api, handler: Handler) -> list[models.EnvVar]:
    """Of a Handler class's container."""
    own = {
        "CORTEX_VERSION": HANDLER_VERSION,
        "CORTEX_KIND": "BatchAPI",
        contract.ENV_LOG_LEVEL: handler.log_level.upper(),
        contract.ENV_PORT: str(api.port),
        contract.ENV_PROJECT: contract.PROJECT_DIR,
        contract.ENV_PYTHON_PATH: posixpath.normpath(posixpath.join(contract.PROJECT_DIR, handler.python_path or "")),
        contract.ENV_CLIENT_CONFIG: contract.HANDLER_CLIENT_DIR,
        contract.ENV_MODELS: contract.MODEL_DIR,
        contract.ENV_API_SPEC: contract.API_SPEC,
        contract.ENV_JOB_SPEC: contract.JOB_SPEC,
        contract.ENV_MNT: contract.MNT_DIR,
        contract.ENV_VENVS: contract.VENV_DIR,
        contract.ENV_RUNTIME: contract.RUNTIME_DIR,
        contract.ENV_BATCH_TIMEOUT: str(api.additions.batch_timeout_s),
        contract.ENV_MAX_CONCURRENCY: str(api.additions.max_concurrency),
        "PYTHONPATH": f"$({contract.ENV_RUNTIME})",
        "PYTHONUNBUFFERED": "1",
        **({contract.ENV_SERVING_PORT: str(contract.SERVING_PORT)} if handler.models else {}),
    }
    users = dict(handler.env)
    if "PYTHONPATH" in users:  # the runtime is found through ours
        users["PYTHONPATH"] = f"{own['PYTHONPATH']}:{users['PYTHONPATH']}"
    host_ip = models.EnvVarSource(field_ref=models.ObjectFieldSelector(field_path="status.hostIP"))
    elsewhere = [*(_region(name) for name in REGION_VARIABLES), models.EnvVar(name="HOST_IP", value_from=host_ip), *_client(api.additions)]
    return _won([*_plain(own), *elsewhere], _plain(users))


def container_env(api: Api, container: Container) -> list[models.EnvVar]:
    """Of one of an api's own containers."""
    own = {
        contract.ENV_PORT: str(api.port),
        "CORTEX_VERSION": CONTAINER_VERSION,
        contract.ENV_LOG_LEVEL: "INFO",
        contract.ENV_CLIENT_CONFIG: contract.CLIENT_DIR,
        contract.ENV_JOB_DOCUMENT: contract.JOB_DOCUMENT,
        contract.ENV_MNT: contract.MNT_DIR,
    }
    return _won([*_plain(own), *_client(api.additions)], _plain(container.env))


def serving_env(handler: Handler) -> list[models.EnvVar]:
    """Of TensorFlow Serving, which gets the handler's variables too."""
    own = {
        contract.ENV_MODELS: contract.MODEL_DIR,
        contract.ENV_SERVING_PORT: str(contract.SERVING_PORT),
        contract.ENV_SERVING_GRPC_PORT: str(contract.SERVING_GRPC_PORT),
    }
    return _won(_plain(own), _plain(handler.env))


def replica_env(deployment: JobDeployment) -> list[models.EnvVar]:
    """Of a job deployment's container. PORT is no word of Verda's, but of many servers; without it none could be told another port."""
    own = {contract.ENV_REPLICA_PORT: str(deployment.port), contract.ENV_APP_PORT: f"$({contract.ENV_REPLICA_PORT})"}
    return _won(_plain(own), [_variable(variable) for variable in deployment.env])


def _plain(values: Mapping[str, str]) -> list[models.EnvVar]:
    return [models.EnvVar(name=name, value=value) for name, value in values.items()]


def _won(own: Iterable[models.EnvVar], users: Sequence[models.EnvVar]) -> list[models.EnvVar]:
    """The user's come last, so that they may refer to ours by `$(NAME)`, and in place of ours of the same name."""
    names = {variable.name for variable in users}
    return [*(variable for variable in own if variable.name not in names), *users]


def _variable(variable: Variable) -> models.EnvVar:
    if not variable.secret:
        return models.EnvVar(name=variable.name, value=variable.value)
    key = models.SecretKeySelector(name=variable.value, key=contract.SECRET_KEY)
    return models.EnvVar(name=variable.name, value_from=models.EnvVarSource(secret_key_ref=key))


def _region(name: str) -> models.EnvVar:
    """Left out by Kubernetes where the ConfigMap says no region."""
    key = models.ConfigMapKeySelector(name=contract.CONFIG_MAP, key=REGION, optional=True)
    return models.EnvVar(name=name, value_from=models.EnvVarSource(config_map_key_ref=key))


def _client(additions: Additions) -> list[models.EnvVar]:
    """The gateway's address and a token for it, for an api that asks."""
    if not additions.cortex_client:
        return []
    url = models.ConfigMapKeySelector(name=contract.CONFIG_MAP, key=contract.ENV_GATEWAY_URL)
    token = models.SecretKeySelector(name=contract.CLIENT_SECRET, key=contract.CLIENT_SECRET_KEY)
    return [
        models.EnvVar(name=contract.ENV_GATEWAY_URL, value_from=models.EnvVarSource(config_map_key_ref=url)),
        models.EnvVar(name=contract.ENV_TOKEN, value_from=models.EnvVarSource(secret_key_ref=token)),
    ]
