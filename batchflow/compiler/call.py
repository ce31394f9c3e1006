"""The workflow of one call: a replica of a job deployment, with the user's container as main and the courier beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from hera.workflows import Workflow, models

from batchflow import contract
from batchflow.callrecords import CallRef
from batchflow.compiler.environment import replica_env
from batchflow.compiler.frame import workflow
from batchflow.compiler.steps import SKIP_CONTAINERS, as_init_container, scratch_volume, step_container
from batchflow.compiler.templating import refuse_templating
from batchflow.settings import Settings
from batchflow.spec.computeresource import ComputeResource
from batchflow.spec.jobdeployment import JobDeployment, Mount, to_document

__all__ = ["START_ALLOWANCE_S", "compile_call"]

# A deadline is counted from main's start, a workflow's from its own: a node may be got ready first, and a large image pulled.
START_ALLOWANCE_S: Final = 3600
# Verda's, between SIGTERM and SIGKILL (spec/verda.md section 4).
GRACE_S: Final = 30


def compile_call(deployment: JobDeployment, ref: CallRef, compute: ComputeResource, settings: Settings, *, deadline_s: int) -> Workflow:
    """The call as an Argo Workflow, which is never tried again: a call is delivered at most once.

    Raises InvalidInput for `{{` in a text that would pass through Argo; its `where` is the field. That does not depend on the call.
    """
    refuse_templating(to_document(deployment), where="", hint="write it in the image, or in a secret")
    step = models.WorkflowStep(name=contract.TEMPLATE_REPLICA, template=contract.TEMPLATE_REPLICA)
    return workflow(
        ref.workflow,
        [
            models.Template(name=contract.ENTRYPOINT, steps=[models.ParallelSteps(root=[step])]),
            _replica(deployment, compute, _courier(deployment, ref, settings)),
        ],
        settings,
        labels={contract.LABEL_DEPLOYMENT: ref.deployment, contract.LABEL_CALL: ref.call},
        title=f"**{ref.deployment}** call `{ref.call}`",
        description=_description(ref, settings.namespace, deadline_s),
        pull_secrets=filter(None, (deployment.registry, *settings.image_pull_secrets)),
        deadline_s=deadline_s + START_ALLOWANCE_S,
    )


def _description(ref: CallRef, namespace: str, deadline_s: int) -> str:
    """Not the id by which the client knows the call, which is a text of the user's; the time of arrival tells which it is."""
    arrived = datetime.fromtimestamp(ref.arrived_ns // 1_000_000_000, UTC)
    return (
        f"a replica for the job that arrived at {arrived:%Y-%m-%d %H:%M:%S} UTC, for at most {deadline_s} s\n\n"
        f"- jobs: `batchflow get {ref.deployment} -n {namespace}`\n"
    )


def _replica(deployment: JobDeployment, compute: ComputeResource, courier: models.Container) -> models.Template:
    """The service account is ours for the courier's sake; what AWS gives it is not for the user's code."""
    return models.Template(
        name=contract.TEMPLATE_REPLICA,
        init_containers=[as_init_container(courier, contract.STEP_COURIER, restart_policy="Always")],
        container=_main(deployment, compute),
        volumes=[scratch_volume(), *(_volume(name, mount) for name, mount in _named(deployment.mounts))],
        service_account_name=contract.STEP_ACCOUNT,
        metadata=models.Metadata(annotations={SKIP_CONTAINERS: contract.CONTAINER_MAIN}),
        node_selector=compute.node_selector or None,
        tolerations=[models.Toleration.model_validate(toleration) for toleration in compute.tolerations] or None,
        pod_spec_patch=f'{{"terminationGracePeriodSeconds": {GRACE_S}}}',
    )


def _main(deployment: JobDeployment, compute: ComputeResource) -> models.Container:
    overrides = deployment.overrides
    return models.Container(
        image=deployment.image,
        image_pull_policy="IfNotPresent",
        command=list(deployment.entrypoint) if overrides and deployment.entrypoint else None,
        args=list(deployment.cmd) if overrides and deployment.cmd else None,
        env=replica_env(deployment),
        resources=_resources(compute, deployment.size),
        # Who it runs as is the image's business.
        security_context=models.SecurityContext(allow_privilege_escalation=False),
        volume_mounts=[
            models.VolumeMount(name=name, mount_path=mount.path, read_only=True if mount.kind == "secret" else None)
            for name, mount in _named(deployment.mounts)
        ]
        or None,
    )


def _courier(deployment: JobDeployment, ref: CallRef, settings: Settings) -> models.Container:
    """A health check of the replica's own port goes where the replica really listens: on a laptop not where the deployment says."""
    health, port = deployment.healthcheck, f"$({contract.ENV_REPLICA_PORT})"
    identity = {
        contract.ENV_DEPLOYMENT: ref.deployment,
        contract.ENV_DEPLOYMENT_ID: ref.deployment_id,
        contract.ENV_CALL: ref.call,
    }
    env = {
        contract.ENV_GRACE: str(GRACE_S),
        contract.ENV_REPLICA_PORT: str(deployment.port),
        contract.ENV_HEALTH_PORT: str(health.port) if health.enabled and health.port != deployment.port else port,
        contract.ENV_HEALTH_PATH: health.path.replace("$", "$$") if health.enabled else "",  # Kubernetes expands `$(NAME)`
        contract.ENV_MAX_REPLY_BYTES: str(settings.max_call_bytes),
    }
    return step_container(contract.STEP_COURIER, settings, identity, env)


def _resources(compute: ComputeResource, size: int) -> models.ResourceRequirements | None:
    """CPU and memory are requests only; devices, whose names have a domain, are Kubernetes' extended resources: their limit is needed."""
    requests = compute.requests | ({compute.resource: str(size)} if compute.resource else {})
    devices = {name: amount for name, amount in requests.items() if "/" in name}
    return models.ResourceRequirements(requests=_quantities(requests), limits=_quantities(devices)) if requests else None


def _quantities(amounts: dict[str, str]) -> dict[str, models.Quantity] | None:
    return {name: models.Quantity(amount) for name, amount in amounts.items()} or None


def _named(mounts: tuple[Mount, ...]) -> list[tuple[str, Mount]]:
    """Each with the name of its volume."""
    return [(f"mount-{number}", mount) for number, mount in enumerate(mounts)]


def _volume(name: str, mount: Mount) -> models.Volume:
    match mount.kind:
        case "secret":
            items = [models.KeyToPath(key=file, path=file) for file in mount.file_names]
            return models.Volume(name=name, secret=models.SecretVolumeSource(secret_name=mount.source, items=items or None))
        case "shared":
            claim = models.PersistentVolumeClaimVolumeSource(claim_name=mount.source)
            return models.Volume(name=name, persistent_volume_claim=claim)
        case "memory":
            memory = models.EmptyDirVolumeSource(medium="Memory", size_limit=models.Quantity(f"{mount.size_mb}Mi"))
            return models.Volume(name=name, empty_dir=memory)
    return models.Volume(name=name, empty_dir=models.EmptyDirVolumeSource())
