"""Argo's words in a workflow, where no recording can show them."""

from __future__ import annotations

from typing import Any

import pytest

from batchflow.status.workflow import ended, entrypoint_problem

# As createWorkflowPod of Argo 3.7.3 words it.
WORDS = (
    'failed to look-up entrypoint/cmd for image "registry.example/app:1", you must either explicitly specify the command, or list the '
    "image's command in the index: https://argo-workflows.readthedocs.io/en/latest/workflow-executors/#emissary-emissary: "
)
OLDER = WORDS.replace("argo-workflows.readthedocs.io/en/latest", "argoproj.github.io/argo-workflows")
UNKNOWN = "GET https://registry.example/v2/app/manifests/1: MANIFEST_UNKNOWN: manifest unknown"
REFUSED = 'Get "https://registry.example/v2/": dial tcp 10.0.0.1:443: connect: connection refused'
HINT = "; name the command: entrypoint_overrides with enabled: true and an entrypoint"


def workflow(phase: str, message: str, *nodes: tuple[str, str]) -> dict[str, Any]:
    told = {f"n{i}": {"id": f"n{i}", "phase": phase, "message": text} for i, (phase, text) in enumerate(nodes)}
    return {"status": {"phase": phase, "message": message, "nodes": told}}


@pytest.mark.parametrize("words", [WORDS, OLDER])
def test_an_entrypoint_that_the_registry_does_not_tell_is_an_error_with_a_hint(words: str) -> None:
    group = f"step group deemed errored due to child w[0].replica error: {words}{UNKNOWN}"
    seen = workflow("Error", group, ("Error", f"child 'w-1' errored: {group}"), ("Error", words + UNKNOWN))
    assert ended(seen)
    text = "Argo can't look up the entrypoint of image registry.example/app:1 in its registry (" + UNKNOWN + ")"
    assert entrypoint_problem(seen) == text + HINT


def test_a_registry_that_does_not_answer_is_seen_while_argo_still_asks() -> None:
    seen = workflow("Running", "", ("Running", ""), ("Pending", WORDS + REFUSED))
    assert not ended(seen)
    assert entrypoint_problem(seen).startswith("Argo can't look up the entrypoint of image registry.example/app:1 in its registry (Get ")
    assert "connection refused" in entrypoint_problem(seen)


@pytest.mark.parametrize("message", ["", "main: Error (exit code 1)", "Back-off pulling image registry.example/app:1"])
def test_any_other_end_is_none(message: str) -> None:
    assert entrypoint_problem(workflow("Failed", message, ("Failed", message))) == ""
    assert entrypoint_problem({}) == ""
