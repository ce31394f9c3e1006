"""Reads a Workflow as Argo (and the local engine) writes it: its phase, and the latest try of each step and worker.

Field names and texts: spec/argo.md, section "Status"; all seen in tests/recordings, which were made on a real cluster.
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from batchflow import contract

__all__ = [
    "DEADLINE_WORDS",
    "FAILED_PHASES",
    "SHUTDOWN_WORDS",
    "TERMINAL_PHASES",
    "Try",
    "ended",
    "entrypoint_problem",
    "finished_at",
    "has_begun",
    "is_out_of_reach",
    "is_stopped",
    "is_telling",
    "messages",
    "nodes",
    "tries",
]

FAILED_PHASES: Final = frozenset({"Failed", "Error"})
TERMINAL_PHASES: Final = FAILED_PHASES | {"Succeeded"}
# What Argo, and kubelet for it, say at the workflow's deadline. Other deadlines are in their messages too: of a pull, of a request.
DEADLINE_WORDS: Final = ("Step exceeded its deadline", "retry exceeded workflow deadline", "Pod was active on the node longer than")
SHUTDOWN_WORDS: Final = ("Stopped with strategy", "workflow shutdown with strategy")
# Other words of Argo's that explain nothing.
_EMPTY_WORDS: Final = ("retryStrategy.expression evaluated to false", "No more retries left", "Backoff for", "child '", "PodInitializing")
# workflow/controller/workflowpod.go of Argo 3.4 to 3.7; after the address of a page comes the registry's answer, or why there is none.
_NO_ENTRYPOINT: Final = re.compile(
    r'failed to look-up entrypoint/cmd for image "(?P<image>[^"]*)".*?#emissary-emissary: (?P<cause>.*)', re.DOTALL
)
_FAN_OUT: Final = re.compile(r"\((?P<index>\d+):")  # of a display name: `work(3:3)`

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Try:
    """Where a step, or one worker, is: at its latest try.

    Attributes:
        name: as people know it: `worker 3`, `enqueue`.
        step: of contract.py.
        phase: the step's own, so Running also between two tries.
        node: the try's own node; empty before the first.
    """

    name: str
    step: str
    phase: str
    node: Json


def nodes(workflow: Json) -> dict[str, Any]:
    """`status.nodes`, also when Argo has compressed it (above 1 MiB)."""
    status = workflow.get("status", {})
    if compressed := status.get("compressedNodes"):
        return dict(orjson.loads(gzip.decompress(base64.b64decode(compressed))))
    return dict(status.get("nodes") or {})


def is_out_of_reach(workflow: Json) -> bool:
    """Whether Argo keeps the nodes in its database (`nodeStatusOffLoad`), from which only its own server gives them."""
    return bool(workflow.get("status", {}).get("offloadNodeStatusVersion")) and not nodes(workflow)


def ended(workflow: Json) -> bool:
    """Whether it has come to its end; after a deadline, cleanup may still run (Argo gives its node up, not its pod)."""
    return workflow.get("status", {}).get("phase") in TERMINAL_PHASES


def finished_at(workflow: Json) -> str | None:
    """When it ended, RFC 3339; None while it runs."""
    return workflow.get("status", {}).get("finishedAt") or None


def is_stopped(workflow: Json) -> bool:
    """Whether somebody asked for its end, by whatever command."""
    return workflow.get("spec", {}).get("shutdown") in ("Stop", "Terminate")


def messages(workflow: Json) -> list[str]:
    """Everything that Argo says about it."""
    said = [workflow.get("status", {}).get("message"), *(node.get("message") for node in nodes(workflow).values())]
    return [text for text in said if text]


def is_telling(message: str | None) -> bool:
    """Whether it says more than that something ended, or was made to end."""
    return bool(message) and not str(message).startswith((*DEADLINE_WORDS, *SHUTDOWN_WORDS, *_EMPTY_WORDS))


def entrypoint_problem(workflow: Json) -> str:
    """Why Argo makes no pod of an image without a command: it can't look the image's entrypoint up; "" if that is not so.

    Where the registry does not answer at all (refused, timed out), Argo goes on trying until the workflow's deadline, and says so in a
    node that is still pending; any other answer ends the workflow with an error.
    """
    found = next(filter(None, map(_NO_ENTRYPOINT.search, messages(workflow))), None)
    if found is None:
        return ""
    what = f"Argo can't look up the entrypoint of image {found['image']} in its registry ({found['cause'].strip()})"
    return f"{what}; name the command: entrypoint_overrides with enabled: true and an entrypoint"


def has_begun(workflow: Json, step: str, running: Collection[str] = ()) -> bool:
    """Whether a pod of that step has ever run: a step's own node says Running as soon as there is one.

    `running`: the ids of nodes whose pods do, which Argo may not have seen yet.
    """
    pods = (node for node in nodes(workflow).values() if node.get("type") == "Pod" and node.get("templateName") == step)
    return any(
        node.get("phase") in ("Running", "Succeeded") or "exitCode" in (node.get("outputs") or {}) or node["id"] in running for node in pods
    )


def tries(workflow: Json) -> list[Try]:
    """One of each step and worker, in the order in which they came."""
    every = nodes(workflow)
    steps = sorted((node for node in every.values() if node.get("type") == "Retry"), key=_order)
    return [_latest(node, every) for node in steps]


def _latest(node: Json, every: Json) -> Try:
    step = str(node.get("templateName", ""))
    name = step if (index := _index(node)) is None else f"worker {index}"
    children = list(_children(node, every))
    return Try(name, step, str(node.get("phase", "")), children[-1] if children else {})


def _children(node: Json, every: Json) -> Iterator[Json]:
    return (every[child] for child in node.get("children", ()) if child in every)


def _index(node: Json) -> int | None:
    """A worker's place in the fan-out."""
    match = _FAN_OUT.search(str(node.get("displayName", "")))
    return int(match["index"]) if match and node.get("templateName") == contract.STEP_WORK else None


def _order(node: Json) -> tuple[str, int]:
    return str(node.get("startedAt") or ""), _index(node) or 0
