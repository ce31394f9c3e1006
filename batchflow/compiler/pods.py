"""The pods of a job: enqueue and cleanup have one container; a worker (and finalize) has the form of DESIGN.md section 3."""

from __future__ import annotations

from collections.abc import Mapping

from hera.workflows import models

from batchflow import contract
from batchflow.compiler.containers import CORTEX_MOUNT, MNT_MOUNT, handler_containers, pod_volumes
from batchflow.compiler.steps import SKIP_CONTAINERS, as_init_container, scratch_volume, step_container
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.model import Api

__all__ = ["Pods"]


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
            volumes=[scratch_volume()],
            service_account_name=contract.STEP_ACCOUNT,
            retry_strategy=retry,
        )

    def work(self, retry: models.RetryStrategy) -> models.Template:
        return self._worker(contract.STEP_WORK, retry, with_handler=True)

    def finalize(self, retry: models.RetryStrategy) -> models.Template:
        """A worker's pod again, since the hook runs in the handler; without a hook there is nothing to run there."""
        return self._worker(contract.STEP_FINALIZE, retry, with_handler=self._api.has_hook)

    def cleanup(self, retry: models.RetryStrategy) -> models.Template:
        """The one of our pods that asks Kubernetes, so the one whose main has a token."""
        return models.Template(
            name=contract.STEP_CLEANUP,
            container=self._main(contract.STEP_CLEANUP),
            volumes=[scratch_volume()],
            service_account_name=contract.CLEANUP_ACCOUNT,
            automount_service_account_token=True,
            retry_strategy=retry,
        )

    def _worker(self, step: str, retry: models.RetryStrategy, *, with_handler: bool) -> models.Template:
        api, additions = self._api, self._api.additions
        paths = {contract.ENV_MNT: contract.MNT_DIR, contract.ENV_PORT: str(api.port)}
        template = models.Template(
            name=step,
            container=self._main(step, paths, MNT_MOUNT),
            volumes=[*pod_volumes(api), scratch_volume()],
            service_account_name=contract.STEP_ACCOUNT,
            pod_spec_patch=f'{{"terminationGracePeriodSeconds": {self._settings.grace_s}}}',
            retry_strategy=retry,
        )
        if not with_handler:  # then it runs anywhere, and starts no machine of a node group
            return template
        users = handler_containers(api, self._settings)
        template.init_containers = [self._prepare(), *users]
        template.tolerations = [models.Toleration.model_validate(t) for t in additions.tolerations] or None
        template.affinity = _node_groups(api.node_groups, self._settings.node_group_label)
        if additions.service_account:
            template.service_account_name = additions.service_account
        else:  # ours is none of their business
            template.metadata = models.Metadata(annotations={SKIP_CONTAINERS: ",".join(container.name for container in users)})
        return template

    def _prepare(self) -> models.UserContainer:
        paths = {
            contract.ENV_MNT: contract.MNT_DIR,
            contract.ENV_RUNTIME: contract.RUNTIME_DIR,
            contract.ENV_JOB_DOCUMENT: contract.JOB_DOCUMENT,
            contract.ENV_JOB_SPEC: contract.JOB_SPEC,
            contract.ENV_API_SPEC: contract.API_SPEC,
            contract.ENV_PROJECT: contract.PROJECT_DIR,
            contract.ENV_MODELS: contract.MODEL_DIR,
            contract.ENV_CLIENT_CONFIG: contract.HANDLER_CLIENT_DIR if self._api.handler else contract.CLIENT_DIR,
        }
        return as_init_container(self._main(contract.STEP_PREPARE, paths, MNT_MOUNT, CORTEX_MOUNT), contract.STEP_PREPARE)

    def _main(self, step: str, env: Mapping[str, str] | None = None, *mounts: models.VolumeMount) -> models.Container:
        identity = {
            contract.ENV_API: self._job.api,
            contract.ENV_JOB: self._job.job_id,
            contract.ENV_RUN: str(self._job.run),
            contract.ENV_TRY: "{{retries}}",
        }
        return step_container(step, self._settings, identity, env, *mounts)


def _node_groups(groups: tuple[str, ...] | None, label: str) -> models.Affinity | None:
    """Cortex's node groups as nodes with a label: an affinity, since a nodeSelector can't say "one of these"."""
    if groups is None:
        return None
    rule = models.NodeSelectorRequirement(key=label, operator="In", values=list(groups))
    term = models.NodeSelectorTerm(match_expressions=[rule])
    required = models.NodeSelector(node_selector_terms=[term])
    return models.Affinity(node_affinity=models.NodeAffinity(required_during_scheduling_ignored_during_execution=required))
