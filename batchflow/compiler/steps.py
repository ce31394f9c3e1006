"""The containers that are ours, in whatever pod they are: `python3 -m batchflow step NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hera.workflows import models

from batchflow import contract
from batchflow.errors import InvalidInput
from batchflow.settings import Settings
from batchflow.spec.quantity import quantity_value

__all__ = ["SCRATCH_MOUNT", "SKIP_CONTAINERS", "as_init_container", "scratch_volume", "step_container"]

# IAM roles for service accounts, and EKS Pod Identity: their webhook gives the service account's AWS credentials to every container of a
# pod but those that this annotation names. https://github.com/aws/amazon-eks-pod-identity-webhook
SKIP_CONTAINERS: Final = "eks.amazonaws.com/skip-containers"

# Our containers' root is read-only; this is what they can write to, outputs included.
SCRATCH_MOUNT: Final = models.VolumeMount(name="scratch", mount_path="/tmp")


def step_container(
    step: str, settings: Settings, identity: Mapping[str, str], env: Mapping[str, str] | None = None, *mounts: models.VolumeMount
) -> models.Container:
    """Settings from the ConfigMap, credentials from the optional Secret; in env whose it is (`identity`), and what else it must know."""
    named = {
        **identity,
        contract.ENV_GRACE: str(settings.grace_s),
        contract.ENV_VERSION: contract.VERSION,
        contract.ENV_NAMESPACE: settings.namespace,
        **(env or {}),
    }
    if settings.store.startswith("s3://"):  # a job stays where it is, should the ConfigMap change meanwhile
        named[contract.ENV_STORE] = settings.store
    pod_name = models.EnvVarSource(field_ref=models.ObjectFieldSelector(field_path="metadata.name"))
    return models.Container(
        image=settings.image or contract.STEP_IMAGE,
        image_pull_policy="IfNotPresent",
        command=["python3", "-m", "batchflow", "step", step],
        env=[
            *(models.EnvVar(name=k, value=v) for k, v in named.items()),
            models.EnvVar(name=contract.ENV_POD, value_from=pod_name),
        ],
        env_from=[
            models.EnvFromSource(config_map_ref=models.ConfigMapEnvSource(name=contract.CONFIG_MAP)),
            models.EnvFromSource(secret_ref=models.SecretEnvSource(name=contract.AWS_SECRET, optional=True)),
        ],
        resources=models.ResourceRequirements(
            requests={
                "cpu": _quantity(settings.step_cpu, "BATCHFLOW_STEP_CPU"),
                "memory": _quantity(settings.step_memory, "BATCHFLOW_STEP_MEMORY"),
            }
        ),
        # No uid: the image's is 1000, and some clusters give a namespace uids of its own.
        security_context=models.SecurityContext(
            run_as_non_root=True,
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=models.Capabilities(drop=["ALL"]),
        ),
        volume_mounts=[SCRATCH_MOUNT, *mounts],
    )


def as_init_container(container: models.Container, name: str, *, restart_policy: str | None = None) -> models.UserContainer:
    """The same one before main; with the restart policy `Always` it is a native sidecar, which runs as long as main does."""
    fields = container.model_dump(exclude_none=True, by_alias=True)
    return models.UserContainer.model_validate({**fields, "name": name, "restartPolicy": restart_policy})


def scratch_volume() -> models.Volume:
    """What SCRATCH_MOUNT mounts."""
    return models.Volume(name=SCRATCH_MOUNT.name, empty_dir=models.EmptyDirVolumeSource())


def _quantity(text: str, setting: str) -> models.Quantity:
    if quantity_value(text) is None:
        raise InvalidInput(f'"{text}" is not a Kubernetes quantity', where=setting, hint="write it as in 200m, 1.5, 512Mi or 2G")
    return models.Quantity(text)
