"""Jobs that wait for something that does not come."""

from __future__ import annotations

from tests.recordings.moments import (
    counters,
    every,
    has_ended,
    is_new,
    is_quiet,
    is_silent,
    is_stopping,
    node_says,
    phase,
    unscheduled,
    waits,
)
from tests.recordings.scenario import (
    NO_HOOK,
    PYTHON,
    Moment,
    Scenario,
    container,
    delete_node,
    ending,
    handler,
    items,
    lost_node,
    quota,
    stop,
    terminate,
)

TWO_FAILED = {"failed": 2}
DNS = "no such host"

WAITING = (
    Scenario(
        "no-controller",
        items(2),
        (Moment("no-controller", is_new, "pending", words=("waits for Argo's controller",)),),
        handler=handler(),
        environ={"BATCHFLOW_INSTANCE_ID": "nobody"},
    ),
    Scenario(
        "no-step-image",
        items(2),
        (
            Moment(
                "step-image-missing", waits("main", "ImagePullBackOff"), "pending", words=("enqueue", "ImagePullBackOff", DNS), then=stop
            ),
            Moment(
                "cleanup-image-missing",
                every(phase("cleanup", "Pending"), waits("main", "ImagePullBackOff")),
                "pending",
                words=("cleanup", "ImagePullBackOff"),
                then=terminate,
            ),
            Moment("step-image-missing-terminated", every(has_ended, is_quiet), "stopped", words=("enqueuing had not ended",)),
        ),
        handler=handler(),
        environ={"BATCHFLOW_IMAGE": "registry.example/step:none"},
    ),
    Scenario(
        "no-image",
        items(2, timeout=75),
        (
            Moment(
                "image-pull-failed",
                waits("server", "ErrImagePull"),
                "running",
                {"initializing": 2},
                ("container server: ErrImagePull", DNS),
            ),
            Moment("image-pull-back-off", waits("server", "ImagePullBackOff"), "running", {"initializing": 2}, ("container server", DNS)),
            *ending(
                "image-missing", "timed_out", "the job's timeout passed", DNS, workers=TWO_FAILED, waiting=("last pods",), within_s=1500
            ),
        ),
        api=container("sleep 1", image="registry.example/none:1"),
    ),
    Scenario(
        "no-secret",
        items(2),
        (
            Moment(
                "secret-missing",
                waits("server", "CreateContainerConfigError"),
                "running",
                {"initializing": 2},
                ("container server: CreateContainerConfigError", "no-such-secret"),
            ),
        ),
        api=container("sleep 3600", env_from_secrets=["no-such-secret"]),
    ),
    Scenario(
        "no-account",
        items(2),
        (
            Moment("account-missing", node_says("no-such-account"), "running", {"pending": 2}, ("worker 0", "no-such-account")),
            *ending("account-missing-ended", "worker_error", "worker 0", "no-such-account", workers=TWO_FAILED),
        ),
        api={**PYTHON, "batchflow": {"on_job_complete": False, "service_account": "no-such-account"}},
        handler=handler(),
    ),
    Scenario(
        "too-big",
        items(2),
        (Moment("unschedulable", unscheduled("work"), "running", {"pending": 2}, ("worker 0: can't be scheduled", "Insufficient cpu")),),
        api={**NO_HOOK, "compute": {"cpu": 1000}},
        handler=handler(),
    ),
    Scenario(
        "node-dies",
        items(4),
        (
            Moment("node-silent", is_silent, "running", {"initializing": 2}, ("its node has not taken it up",), then=delete_node),
            Moment("node-gone", unscheduled("work"), "running", {"pending": 2}, ("can't be scheduled",)),
        ),
        api={
            **PYTHON,
            "compute": {"node_groups": ["lost"]},
            "batchflow": {"on_job_complete": False, "tolerations": [{"operator": "Exists"}]},
        },
        handler=handler(),
        **lost_node(),
    ),
    Scenario(
        "quota",
        items(4),
        (
            Moment(
                "quota-enqueue",
                node_says("exceeded quota"),
                "pending",
                words=("enqueue: its pod can't be created", "exceeded quota"),
                then=stop,
            ),
            Moment("quota-stopping", every(is_stopping, node_says("exceeded quota")), "pending", words=("exceeded quota",), then=terminate),
        ),
        handler=handler(),
        **quota(0),
    ),
    Scenario(
        "quota-of-workers",
        items(4, 3),
        (
            Moment(
                "quota-workers",
                every(node_says("exceeded quota"), counters("ready", number=2)),
                "running",
                {"pending": 1, "running": 2},
                ("its pod can't be created", "exceeded quota"),
            ),
        ),
        handler=handler("time.sleep(20)"),
        **quota(2),
    ),
)
