"""The user's containers in a worker pod: native sidecars, so that Kubernetes restarts them and their exit can't fail a good worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hera.workflows import models

from batchflow import contract
from batchflow.compiler.environment import container_env, handler_env, serving_env
from batchflow.settings import Settings
from batchflow.spec.model import Additions, Api, Compute, Container, Handler, Probe

__all__ = ["CORTEX_MOUNT", "MNT_MOUNT", "handler_containers", "pod_volumes"]

SERVING_IMAGE: Final = "tensorflow/serving:2.18.0"
SERVING_GPU_IMAGE: Final = f"{SERVING_IMAGE}-gpu"
SHM_DIR: Final = "/dev/shm"

MNT_MOUNT: Final = models.VolumeMount(name="mnt", mount_path=contract.MNT_DIR)
CORTEX_MOUNT: Final = models.VolumeMount(name="cortex", mount_path="/cortex")


def handler_containers(api: Api, settings: Settings) -> list[models.UserContainer]:
    """One for a Handler class, after its TensorFlow Serving if it has models; as many as the api has otherwise."""
    if api.handler:
        serving = [_serving(api, api.handler)] if api.handler.models else []
        return [*serving, _handler(api, api.handler, settings.handler_image)]
    assert api.pod is not None  # spec: exactly one of the two
    return [_sidecar(container, container_env(api, container), api.additions) for container in api.pod.containers]


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


def _handler(api: Api, handler: Handler, default_image: str) -> models.UserContainer:
    """The runtime, which serves the class; with TensorFlow Serving beside it, that is what computes on the devices."""
    compute = replace(handler.compute, shm=handler.shm_size)
    container = Container(
        name=contract.CONTAINER_HANDLER,
        image=handler.image or default_image,
        command=("python3", "-m", "batchflow_runtime"),
        compute=replace(compute, gpu=0, inf=0) if handler.models else compute,
    )
    return _sidecar(container, handler_env(api, handler), api.additions, working_dir=contract.PROJECT_DIR)


def _serving(api: Api, handler: Handler) -> models.UserContainer:
    """TensorFlow Serving with the models that `prepare` has put beside it; a model that can't be loaded ends it."""
    compute = handler.compute
    container = Container(
        name=contract.CONTAINER_SERVING,
        image=handler.tensorflow_serving_image or (SERVING_GPU_IMAGE if compute.gpu else SERVING_IMAGE),
        command=("tensorflow_model_server",),
        args=(
            f"--port=$({contract.ENV_SERVING_GRPC_PORT})",
            f"--rest_api_port=$({contract.ENV_SERVING_PORT})",
            f"--rest_api_timeout_in_ms={api.additions.batch_timeout_s * 1000}",
            f"--model_config_file=$({contract.ENV_MODELS})/{contract.SERVING_CONFIG}",
            "--max_num_load_retries=0",
        ),
        compute=Compute(cpu=None, gpu=compute.gpu, inf=compute.inf),
    )
    return _sidecar(container, serving_env(handler), replace(api.additions, env_from_secrets=()))


def _sidecar(
    container: Container, env: list[models.EnvVar], additions: Additions, *, working_dir: str | None = None
) -> models.UserContainer:
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
        env=env,
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
