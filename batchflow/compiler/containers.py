"""The user's containers in a worker pod: native sidecars, so that Kubernetes restarts them and their exit can't fail a good worker."""

from __future__ import annotations

from typing import Any, Final

from hera.workflows import models

from batchflow import contract
from batchflow.errors import InvalidInput
from batchflow.settings import Settings
from batchflow.spec.model import Additions, Api, Compute, Container, Handler, Probe

__all__ = ["CORTEX_MOUNT", "MNT_MOUNT", "handler_containers", "pod_volumes"]

# Cortex's last releases with each generation's interface, for code that asks.
HANDLER_VERSION: Final = "0.35.0"
CONTAINER_VERSION: Final = "0.42.1"
SHM_DIR: Final = "/dev/shm"

MNT_MOUNT: Final = models.VolumeMount(name="mnt", mount_path=contract.MNT_DIR)
CORTEX_MOUNT: Final = models.VolumeMount(name="cortex", mount_path="/cortex")


def handler_containers(api: Api, settings: Settings) -> list[models.UserContainer]:
    """One for a Handler class; as many as the api has otherwise."""
    if api.handler:
        return [_handler(api, api.handler, settings)]
    assert api.pod is not None  # spec: exactly one of the two
    return [_container(api, container) for container in api.pod.containers]


def pod_volumes(api: Api) -> list[models.Volume]:
    """`/mnt` and `/cortex`, shared by all containers of the pod, and a sized `/dev/shm` for each container that asks."""
    shared = (MNT_MOUNT.name, CORTEX_MOUNT.name)
    volumes = [models.Volume(name=name, empty_dir=models.EmptyDirVolumeSource()) for name in shared]
    sizes = {contract.CONTAINER_HANDLER: api.handler.shm_size} if api.handler else {}
    if api.pod:
        sizes = {container.name: container.compute.shm for container in api.pod.containers}
    for name, size in sizes.items():
        if size:
            memory = models.EmptyDirVolumeSource(medium="Memory", size_limit=models.Quantity(size))
            volumes.append(models.Volume(name=f"shm-{name}", empty_dir=memory))
    return volumes


def _handler(api: Api, handler: Handler, settings: Settings) -> models.UserContainer:
    if handler.type != "python":
        raise InvalidInput(f"type {handler.type} can't be run yet", where=f"{api.name} (BatchAPI): {handler.key}: type", hint="use python")
    additions = api.additions
    env = {
        "CORTEX_VERSION": HANDLER_VERSION,
        "CORTEX_KIND": "BatchAPI",
        contract.ENV_LOG_LEVEL: handler.log_level.upper(),
        contract.ENV_PORT: str(api.port),
        contract.ENV_PROJECT: contract.PROJECT_DIR,
        contract.ENV_API_SPEC: contract.API_SPEC,
        contract.ENV_JOB_SPEC: contract.JOB_SPEC,
        contract.ENV_MNT: contract.MNT_DIR,
        contract.ENV_VENVS: contract.VENV_DIR,
        contract.ENV_RUNTIME: contract.RUNTIME_DIR,
        contract.ENV_BATCH_TIMEOUT: str(additions.batch_timeout_s),
        contract.ENV_MAX_CONCURRENCY: str(additions.max_concurrency),
        "PYTHONPATH": f"$({contract.ENV_RUNTIME})",
        "PYTHONUNBUFFERED": "1",
        **({contract.ENV_PYTHON_PATH: handler.python_path} if handler.python_path else {}),
        **handler.env,
    }
    container = Container(
        name=contract.CONTAINER_HANDLER,
        image=handler.image or settings.handler_image,
        command=("python3", "-m", "batchflow_runtime"),
        env=env,
        compute=Compute(**{**_fields(handler.compute), "shm": handler.shm_size}),
    )
    return _sidecar(container, additions, port=api.port, working_dir=contract.PROJECT_DIR)


def _container(api: Api, container: Container) -> models.UserContainer:
    env = {
        contract.ENV_PORT: str(api.port),
        "CORTEX_VERSION": CONTAINER_VERSION,
        contract.ENV_LOG_LEVEL: "INFO",
        contract.ENV_JOB_DOCUMENT: contract.JOB_DOCUMENT,
        contract.ENV_MNT: contract.MNT_DIR,
        **container.env,
    }
    named = Container(**{**_fields(container), "env": env})
    return _sidecar(named, api.additions, port=api.port, working_dir=None)


def _sidecar(container: Container, additions: Additions, *, port: int, working_dir: str | None) -> models.UserContainer:
    mounts = [MNT_MOUNT, CORTEX_MOUNT]
    if container.compute.shm:
        mounts.append(models.VolumeMount(name=f"shm-{container.name}", mount_path=SHM_DIR))
    secrets = [models.EnvFromSource(secret_ref=models.SecretEnvSource(name=name)) for name in additions.env_from_secrets]
    return models.UserContainer(
        name=container.name,
        image=container.image,
        image_pull_policy="IfNotPresent",
        command=list(container.command),
        args=list(container.args) or None,
        env=[models.EnvVar(name=k, value=v) for k, v in container.env.items()],
        env_from=secrets or None,
        working_dir=working_dir,
        resources=_resources(container.compute, additions.memory_limit),
        liveness_probe=_liveness(container.liveness_probe),
        restart_policy="Always",
        # Who it runs as is the image's business.
        security_context=models.SecurityContext(allow_privilege_escalation=False),
        volume_mounts=mounts,
    )


def _resources(compute: Compute, memory_limit: str | None) -> models.ResourceRequirements:
    """CPU and memory are requests only, as in Cortex; `memory_limit` is ours."""
    devices = {"nvidia.com/gpu": compute.gpu, "aws.amazon.com/neuron": compute.inf}
    exact = {name: models.Quantity(str(count)) for name, count in devices.items() if count}
    requests = {k: models.Quantity(v) for k, v in (("cpu", compute.cpu), ("memory", compute.mem)) if v} | exact
    limits = exact | ({"memory": models.Quantity(memory_limit)} if memory_limit else {})
    return models.ResourceRequirements(requests=requests or None, limits=limits or None)


def _liveness(probe: Probe | None) -> models.Probe | None:
    """Only liveness is Kubernetes' business; the dequeuer probes readiness itself."""
    if probe is None:
        return None
    return models.Probe(
        http_get=models.HTTPGetAction(path=probe.path, port=probe.port) if probe.kind == "http_get" else None,
        tcp_socket=models.TCPSocketAction(port=models.IntOrString(probe.port)) if probe.kind == "tcp_socket" else None,
        exec=models.ExecAction(command=list(probe.command)) if probe.kind == "exec" else None,
        initial_delay_seconds=probe.initial_delay_s,
        timeout_seconds=probe.timeout_s,
        period_seconds=probe.period_s,
        success_threshold=probe.success_threshold,
        failure_threshold=probe.failure_threshold,
    )


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
