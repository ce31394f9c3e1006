"""Who may do what in a namespace of batchflow's: `install` prints these as Roles, `doctor` asks whether they are granted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from batchflow import contract

__all__ = ["CLEANUP", "EXECUTOR", "LOOKUP", "ROLES", "USER", "Role", "Rule"]

_ARGO: Final = "argoproj.io"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a Role. `resource` may hold a subresource (`pods/log`); `names` limits it to those objects."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()

    def reviews(self) -> Iterator[dict[str, str]]:
        """The `resourceAttributes` of the access reviews that together ask for this rule, without the namespace."""
        resource, _, subresource = self.resource.partition("/")
        for verb in self.verbs:
            for name in self.names or ("",):
                asked = {"verb": verb, "group": self.group, "resource": resource, "subresource": subresource, "name": name}
                yield {key: value for key, value in asked.items() if value}


@dataclass(frozen=True, slots=True)
class Role:
    """A Role, and what it is for. `account`: the service account that it is bound to; empty if people bind it themselves."""

    name: str
    purpose: str
    rules: tuple[Rule, ...]
    account: str = ""


EXECUTOR: Final = Role(
    contract.EXECUTOR_ACCOUNT,
    "Argo's own containers in our pods.",
    (Rule(_ARGO, "workflowtaskresults", ("create", "patch"), "tell the controller a step's outputs and progress"),),
    account=contract.EXECUTOR_ACCOUNT,
)
CLEANUP: Final = Role(
    contract.CLEANUP_ACCOUNT,
    "The step that ends every job: it decides the final status and saves the logs.",
    (
        Rule(_ARGO, "workflows", ("get",), "how the job's steps ended, for the final status"),
        Rule("", "pods", ("list",), "wait until no worker is alive, and see how each ended (out of memory, lost node)"),
        Rule("", "pods/log", ("get",), "save the end of each container's log in the store"),
    ),
    account=contract.CLEANUP_ACCOUNT,
)
USER: Final = Role(
    "batchflow-user",
    "People and programs that run the command line; bind it to them.",
    (
        Rule(_ARGO, "workflows", ("create",), "submit, resume"),
        Rule(_ARGO, "workflows", ("get", "list"), "get, logs; doctor looks for workflows without a job"),
        Rule(_ARGO, "workflows", ("patch",), "stop"),
        Rule(_ARGO, "workflows", ("delete",), "delete, prune"),
        Rule("", "pods", ("list",), "get shows how many workers run, and what they wait for"),
        Rule("", "pods", ("delete",), "end a replica that goes on though its workflow was deleted"),
        Rule("", "pods/log", ("get",), "logs"),
        Rule("", "configmaps", ("get",), "the store, the image and the version of the steps here", (contract.CONFIG_MAP,)),
    ),
)
ROLES: Final = (EXECUTOR, CLEANUP, USER)
# Whoever creates workflows can have any Secret of the namespace in a pod, so this opens nothing more.
LOOKUP: Final = Role(
    "batchflow-lookup",
    "The gateway refuses a job deployment that names what is not there. Without this Role its first replica fails.",
    (
        Rule("", "secrets", ("get",), "that a secret exists: only its metadata is asked for"),
        Rule("", "persistentvolumeclaims", ("get",), "that a shared volume exists"),
    ),
    account=contract.GATEWAY,
)
