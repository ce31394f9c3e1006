"""What every workflow of ours has around its templates.

That is its name for people and for selectors, how long it may take and is kept, and that no container gets a Kubernetes token unless
its template says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hera.workflows import Workflow, models

from batchflow import contract
from batchflow.settings import Settings

__all__ = ["workflow"]

_MANAGED: Final = {"app.kubernetes.io/managed-by": "batchflow"}


def workflow(
    name: str,
    templates: Sequence[models.Template],
    settings: Settings,
    *,
    labels: Mapping[str, str],
    title: str,
    description: str,
    pull_secrets: Iterable[str],
    deadline_s: int,
    on_exit: str | None = None,
) -> Workflow:
    """Title and description are Markdown for Argo's UI, `labels` are its pods' too; the first template is the entrypoint."""
    labels = {**_MANAGED, **labels}
    return Workflow(
        name=name,
        namespace=settings.namespace,
        labels=labels | ({contract.INSTANCE_LABEL: settings.instance_id} if settings.instance_id else {}),
        annotations={"workflows.argoproj.io/title": title, "workflows.argoproj.io/description": description},
        entrypoint=contract.ENTRYPOINT,
        image_pull_secrets=[models.LocalObjectReference(name=secret) for secret in dict.fromkeys(pull_secrets)] or None,
        on_exit=on_exit,
        active_deadline_seconds=deadline_s,
        automount_service_account_token=False,
        executor=models.ExecutorConfig(service_account_name=contract.EXECUTOR_ACCOUNT),
        security_context=models.PodSecurityContext(seccomp_profile=models.SeccompProfile(type="RuntimeDefault")),
        pod_gc=models.PodGC(strategy="OnWorkflowCompletion", delete_delay_duration=f"{settings.keep_pods_s}s"),
        ttl_strategy=models.TTLStrategy(seconds_after_completion=settings.keep_workflow_s),
        pod_metadata=models.Metadata(labels=labels),
        templates=[*templates],
    )
