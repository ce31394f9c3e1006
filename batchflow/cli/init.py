"""`batchflow init`: renders templates/project."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2

import batchflow
from batchflow.errors import Conflict, Internal, InvalidInput
from batchflow.spec.api import MAX_API_NAME

__all__ = ["templates_directory", "write_project"]


def write_project(directory: Path) -> list[Path]:
    """Write the scaffold into a new or empty directory; the api is named after it. Returns the files written."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Conflict("is not an empty directory", where=str(directory), hint="name a new one")
    source = templates_directory() / "project"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(source), undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    name = _api_name(directory)
    try:
        return [
            _write(directory / template.name.removesuffix(".j2"), environment.get_template(template.name).render(api=name))
            for template in sorted(source.iterdir())
        ]
    except OSError as error:
        raise InvalidInput(f"can't be written: {error.strerror}", where=str(directory), hint="name another directory") from error


def _write(target: Path, text: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def templates_directory() -> Path:
    """In a wheel the templates are within the package; in a checkout beside it."""
    package = Path(batchflow.__file__).parent
    for place in (package / "templates", package.parent / "templates"):
        if place.is_dir():
            return place
    raise Internal("the templates are not installed", where=str(package))


def _api_name(directory: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-").lstrip("0123456789-")
    name = name[:MAX_API_NAME].rstrip("-")
    if not name:
        raise InvalidInput("gives no name for the api", where=str(directory), hint="use a directory whose name has a letter")
    return name
