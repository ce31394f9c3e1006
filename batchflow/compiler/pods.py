"""The pods of a job: enqueue and cleanup have one container; a worker (and finalize) has the form of DESIGN.md section 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hera.workflows import models

from batchflow import contract
from batchflow.compiler.containers import handler_containers, pod_volumes
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.model import Api

__all__ = ["Pods"]

CONFIG_MAP: Final = "batchflow"
AWS_SECRET: Final = "batchflow-aws"
STEP_ACCOUNT: Final = "batchflow-step"
CLEANUP_ACCOUNT: Final = "batchflow-cleanup"  # reads workflow and pods, with a Role of its own
DEFAULT_IMAGE: Final = "batchflow/step:0.1"


class Pods:
    """Makes the templates of one job."""

    def __init__(self, api: Api, job: JobRef, settings: Settings) -> None:
        self._api = api
        self._job = job
        self._settings = settings

    def enqueue(self, retry: models.RetryStrategy) -> models.Template:
        workers = models.Parameter(
            name=contract.OUTPUT_WORKERS,
            value_from=models.ValueFrom(path=f"{contract.OUTPUT_DIR}/{contract.OUTPUT_WORKERS}"),
        )
        return models.Template(
            name=contract.STEP_ENQUEUE,
            container=self._main(contract.STEP_ENQUEUE, {contract.ENV_OUTPUTS: contract.OUTPUT_DIR}),
            outputs=models.Outputs(parameters=[workers]),
            service_account_name=STEP_ACCOUNT,
            retry_strategy=retry,
        )

    def work(self, retry: models.RetryStrategy) -> models.Template:
        return self._worker(contract.STEP_WORK, retry, with_handler=True)

    def finalize(self, retry: models.RetryStrategy) -> models.Template:
        """A worker's pod again, since the hook runs in the handler; without a hook there is nothing to run there."""
        return self._worker(contract.STEP_FINALIZE, retry, with_handler=self._api.has_hook)

    def cleanup(self, retry: models.RetryStrategy) -> models.Template:
        return models.Template(
            name=contract.STEP_CLEANUP,
            container=self._main(contract.STEP_CLEANUP),
            service_account_name=CLEANUP_ACCOUNT,
            retry_strategy=retry,
        )

    def _worker(self, step: str, retry: models.RetryStrategy, *, with_handler: bool) -> models.Template:
        api, additions = self._api, self._api.additions
        main = self._main(step, {contract.ENV_MNT: contract.MNT_DIR, contract.ENV_PORT: str(api.port)})
        main.volume_mounts = [models.VolumeMount(name="mnt", mount_path=contract.MNT_DIR)]
        template = models.Template(
            name=step,
            container=main,
            volumes=pod_volumes(api),
            service_account_name=additions.service_account or STEP_ACCOUNT,
            tolerations=[models.Toleration.model_validate(t) for t in additions.tolerations] or None,
            affinity=_node_groups(api.node_groups),
            pod_spec_patch=f'{{"terminationGracePeriodSeconds": {self._settings.grace_s}}}',
            retry_strategy=retry,
        )
        if with_handler:
            template.init_containers = [self._prepare(), *handler_containers(api)]
        return template

    def _prepare(self) -> models.UserContainer:
        paths = {
            contract.ENV_MNT: contract.MNT_DIR,
            contract.ENV_RUNTIME: contract.RUNTIME_DIR,
            contract.ENV_JOB_DOCUMENT: contract.JOB_DOCUMENT,
            contract.ENV_JOB_SPEC: contract.JOB_SPEC,
            contract.ENV_API_SPEC: contract.API_SPEC,
            contract.ENV_PROJECT: contract.PROJECT_DIR,
        }
        container = self._main(contract.STEP_PREPARE, paths)
        fields = container.model_dump(exclude_none=True, by_alias=True)
        mounts = [
            models.VolumeMount(name="mnt", mount_path=contract.MNT_DIR),
            models.VolumeMount(name="cortex", mount_path="/cortex"),
        ]
        return models.UserContainer.model_validate({**fields, "name": contract.STEP_PREPARE, "volumeMounts": mounts})

    def _main(self, step: str, env: Mapping[str, str] | None = None) -> models.Container:
        """A container of ours: settings from the ConfigMap, credentials from the optional Secret, the job's name in env."""
        named = {
            contract.ENV_API: self._job.api,
            contract.ENV_JOB: self._job.job_id,
            contract.ENV_RUN: str(self._job.run),
            contract.ENV_TRY: "{{retries}}",
            contract.ENV_GRACE: str(self._settings.grace_s),
            **(env or {}),
        }
        pod_name = models.EnvVarSource(field_ref=models.ObjectFieldSelector(field_path="metadata.name"))
        return models.Container(
            image=self._settings.image or DEFAULT_IMAGE,
            image_pull_policy="IfNotPresent",
            command=["python3", "-m", "batchflow", "step", step],
            env=[
                *(models.EnvVar(name=k, value=v) for k, v in named.items()),
                models.EnvVar(name=contract.ENV_POD, value_from=pod_name),
            ],
            env_from=[
                models.EnvFromSource(config_map_ref=models.ConfigMapEnvSource(name=CONFIG_MAP)),
                models.EnvFromSource(secret_ref=models.SecretEnvSource(name=AWS_SECRET, optional=True)),
            ],
            resources=models.ResourceRequirements(requests={"cpu": models.Quantity("100m"), "memory": models.Quantity("100Mi")}),
            security_context=models.SecurityContext(
                run_as_non_root=True,
                run_as_user=1000,
                allow_privilege_escalation=False,
                capabilities=models.Capabilities(drop=["ALL"]),
            ),
        )


def _node_groups(groups: tuple[str, ...] | None) -> models.Affinity | None:
    """Cortex's node groups as nodes labelled `batchflow/node-group`."""
    if groups is None:
        return None
    rule = models.NodeSelectorRequirement(key="batchflow/node-group", operator="In", values=list(groups))
    term = models.NodeSelectorTerm(match_expressions=[rule])
    required = models.NodeSelector(node_selector_terms=[term])
    return models.Affinity(node_affinity=models.NodeAffinity(required_during_scheduling_ignored_during_execution=required))
