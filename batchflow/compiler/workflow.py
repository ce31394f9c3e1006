"""The workflow around the pods: steps, retries, deadline, titles and labels (the drawing in DESIGN.md section 3)."""

from __future__ import annotations

from typing import Final

from hera.workflows import Workflow, models

from batchflow import contract
from batchflow.compiler.frame import workflow
from batchflow.compiler.pods import Pods
from batchflow.compiler.templating import refuse_templating
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.model import Api, Submission

__all__ = ["compile_job"]

# SQS keeps a message at most 14 days; a job ends a day before its batches would vanish. Quota "message retention":
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
LONGEST_JOB_S: Final = 13 * 24 * 3600

WORKER_TRIES: Final = 15
STEP_TRIES: Final = 5


def compile_job(submission: Submission, api: Api, job: JobRef, settings: Settings) -> Workflow:
    """The job as an Argo Workflow; nothing outside the arguments is read.

    Raises InvalidInput for an api that can't be expressed, above all for `{{` in a text that would pass through Argo.
    """
    hint = "pass such a text through the job's config, or write it in the image"
    refuse_templating(api.raw, where=f"{api.name} (BatchAPI)", hint=hint, but=("config",))  # config goes through the store
    pods = Pods(api, job, settings)
    return workflow(
        job.workflow,
        [
            _steps(),
            models.Template(name=contract.STEP_WAKE, suspend=models.SuspendTemplate(duration=contract.WAKE_S)),
            pods.enqueue(_retry(STEP_TRIES)),
            pods.work(_retry(WORKER_TRIES)),
            pods.finalize(_retry(STEP_TRIES)),
            pods.cleanup(_retry(STEP_TRIES)),
        ],
        settings,
        labels={contract.LABEL_API: job.api, contract.LABEL_JOB: job.job_id, contract.LABEL_RUN: str(job.run)},
        title=f"**{job.api}** job `{job.job_id}`" + (f" (run {job.run})" if job.run > 1 else ""),
        description=_description(submission, job, settings.namespace),
        pull_secrets=(*settings.image_pull_secrets, *api.additions.image_pull_secrets),
        deadline_s=submission.timeout_s or LONGEST_JOB_S,
        on_exit=contract.STEP_CLEANUP,
    )


def _steps() -> models.Template:
    """Enqueue, then as many workers as there are batches for, then finalize whatever became of the workers.

    Beside finalize is a step that only has Argo look at the workflow again. A finalize that begins within a second of the deadline gets no
    pod (createWorkflowPod of 3.7 gives neither pod nor error), and nothing would make Argo look again for 20 minutes.
    """
    workers = f"{{{{steps.{contract.STEP_ENQUEUE}.outputs.parameters.{contract.OUTPUT_WORKERS}}}}}"
    enqueue, finalize, wake = (
        models.WorkflowStep(name=n, template=n) for n in (contract.STEP_ENQUEUE, contract.STEP_FINALIZE, contract.STEP_WAKE)
    )
    work = models.WorkflowStep(
        name=contract.STEP_WORK,
        template=contract.STEP_WORK,
        with_sequence=models.Sequence(count=models.IntOrString(workers)),
        continue_on=models.ContinueOn(failed=True, error=True),
    )
    groups = [[enqueue], [work], [finalize, wake]]
    return models.Template(name=contract.ENTRYPOINT, steps=[models.ParallelSteps(root=group) for group in groups])


def _retry(limit: int) -> models.RetryStrategy:
    """Everything is tried again but what can't get better: contract.NOT_RETRIED, and bad input that `prepare` found.

    That ends the pod before main runs, and of an init container Argo's expressions know the message only. The pause is constant: `factor`
    would make the fifteenth try wait for hours, and Argo 3.6 knows no `cap`.
    """
    codes = ", ".join(f'"{code}"' for code in contract.NOT_RETRIED)
    refused = f"{contract.STEP_PREPARE}: Error (exit code {contract.EXIT_BAD_INPUT})"
    return models.RetryStrategy(
        limit=models.IntOrString(str(limit)),
        retry_policy="Always",
        expression=f'lastRetry.exitCode not in [{codes}] and !(lastRetry.message startsWith "{refused}")',
        backoff=models.Backoff(duration="2s", factor=models.IntOrString("1")),
    )


def _description(submission: Submission, job: JobRef, namespace: str) -> str:
    """No text of the user's but the api's name, whose pattern is checked; nothing that grows with the data."""
    named = f"{job.api} {job.job_id} -n {namespace}"
    return (
        f"`{submission.source.key}` in batches of {submission.source.batch_size}, up to {submission.workers} workers\n\n"
        f"- status: `batchflow get {named}`\n"
        f"- logs: `batchflow logs {named}`\n"
    )
