"""A file of job deployments: one, or a list of them, each in Verda's schema with `kind: JobDeployment`."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

from batchflow.errors import InvalidInput, SeveralErrors
from batchflow.spec.computeresource import Rules
from batchflow.spec.jobdeployment import KIND, parse_job_deployment
from batchflow.spec.reader import MAX_TOLD, Document, Findings
from batchflow.spec.scalars import Keys

__all__ = ["check_job_deployments", "job_deployments"]


def job_deployments(document: Document) -> list[Document]:
    """The job deployments that a file holds, unchecked, a document each; none if it holds something else: apis, most likely.

    Raises InvalidInput if it holds both, or one map that has another kind, or none, by mistake.
    """
    value = document.value
    if isinstance(value, dict):
        kind = value.get("kind")
        if "containers" in value and kind is None:
            raise document.place.error("has no kind", hint=f"add kind: {KIND}")
        if kind != KIND and isinstance(kind, str) and get_close_matches(kind, [KIND]):
            raise document.place.at("kind").error(f'"{kind}" is not supported', hint=f'did you mean "{KIND}"?')
        return [document] if kind == KIND else []
    elements = value if isinstance(value, list) else []
    ours = [isinstance(element, dict) and element.get("kind") == KIND for element in elements]
    if any(ours) and not all(ours):
        raise document.place.at(ours.index(False)).error(
            f"is not of kind {KIND}, as others in this file are", hint="put it into another file"
        )
    return [_element(document, index) for index in range(len(elements))] if any(ours) else []


def check_job_deployments(documents: list[Document], rules: Rules) -> None:
    """See that all can be used, and that none has an unknown key or the name of another.

    Raises InvalidInput with file and line; SeveralErrors names every unknown key, and the first other rule that each breaks.
    """
    errors: list[InvalidInput] = []
    names: set[str] = set()
    for document in documents:
        findings = Findings()
        try:
            name = parse_job_deployment(replace(document, findings=findings), rules, strict=True).name
            if name in names:
                raise document.place.at("name").error(f'"{name}" is there twice')
            names.add(name)
            errors += findings.errors()
        except InvalidInput as error:
            errors += [*findings.errors(), error]
    if len(errors) > 1:
        raise SeveralErrors(errors[:MAX_TOLD], where=documents[0].name)
    if errors:
        raise errors[0]


def _element(document: Document, index: int) -> Document:
    def line(keys: Keys) -> int:
        return document.line((index, *keys))

    return Document(document.value[index], document.name, line=line)
