"""What the project needs before its class can be loaded, in Cortex's order: `.env`, shell script, conda, pip, `.env` again.

Source: spec/cortex.md section 2, Start-up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import conda, dotenv, virtualenv
from .installer import Installer
from .settings import Settings

__all__ = ["DEFAULT_FILES", "Interpreter", "install"]

_QUIET_LEVELS = ("WARNING", "ERROR")
DEFAULT_FILES = {"shell": "dependencies.sh", "conda": "conda-packages.txt", "pip": "requirements.txt"}


@dataclass(frozen=True)
class Interpreter:
    """The Python that has the project's packages, and the variables that it must run with."""

    python: str
    environ: Mapping[str, str]


def install(settings: Settings, paths: Mapping[str, str], environ: Mapping[str, str]) -> Interpreter:
    """Run and install what the project has; `paths` are those of the api's `dependencies`, and a file that is missing is none.

    The shell script runs each time; environments are kept. Raises StartError with the reason of the first that fails.
    """
    project, environments = Path(settings.project), Path(settings.venvs)
    files = {kind: project / (paths.get(kind) or default) for kind, default in DEFAULT_FILES.items()}
    installer = Installer(project, _with_dotenv(project, environ), quiet=settings.log_level in _QUIET_LEVELS)
    if files["shell"].is_file():
        installer.run(["bash", "-e", str(files["shell"])], files["shell"].name)
    python, own = sys.executable, {}
    folders = []
    prefix = conda.ensure(files["conda"], environments, installer)
    if prefix:
        python, own["CONDA_PREFIX"] = str(prefix / "bin" / "python3"), str(prefix)
        folders.append(str(prefix / "bin"))
    folder = virtualenv.ensure(files["pip"], environments, installer, python)
    if folder:
        python, own["VIRTUAL_ENV"] = str(folder / "bin" / "python3"), str(folder)
        folders.insert(0, str(folder / "bin"))
    if folders:
        own["PATH"] = os.pathsep.join([*folders, environ.get("PATH", os.defpath)])
    return Interpreter(python, _with_dotenv(project, {**environ, **own}))


def _with_dotenv(project: Path, environ: Mapping[str, str]) -> dict[str, str]:
    file = project / ".env"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return {**environ, **dotenv.parse(text, environ)}
