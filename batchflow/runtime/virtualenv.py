"""The project's requirements, installed by pip into a virtual environment."""

from __future__ import annotations

import hashlib
import os
import re
import site
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from .environments import ensure as ensure_environment
from .environments import statements
from .installer import Installer

__all__ = ["ensure"]

_NESTED = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s+|=)?(\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)\b")
_SKIPPED_FOLDERS = {"__pycache__", ".git"}


def ensure(requirements: Path, environments: Path, installer: Installer, python: str) -> Path | None:
    """The folder of an environment with these requirements, on top of `python`'s own packages; None if they name nothing.

    Raises StartError with pip's reason.
    """
    if not any(statements(requirements)):
        return None

    def build(folder: Path, lock_fd: int) -> None:
        _build(folder, requirements, installer, python, lock_fd)

    return ensure_environment(environments, _key(requirements, installer.project, python), build)


def _key(requirements: Path, project: Path, python: str) -> str:
    """Of everything that decides what pip would install, as far as it is in the project."""
    digest = hashlib.sha256()
    made_with = [sys.version, python, os.path.realpath(python), sys.prefix, sysconfig.get_platform()]
    digest.update("\n".join(made_with).encode())
    _add_requirements(digest, requirements, project, set())
    return digest.hexdigest()[:32]


def _add_requirements(digest: hashlib._Hash, requirements: Path, project: Path, seen: set[Path]) -> None:
    if requirements in seen:
        return
    seen.add(requirements)
    for statement in statements(requirements):
        digest.update(statement.encode() + b"\n")
        nested = _NESTED.match(statement)
        if nested:
            _add_requirements(digest, requirements.parent / nested.group(1), project, seen)
            continue
        if _EDITABLE.match(statement):
            digest.update(os.fsencode(project))  # the environment will point there
        for word in statement.split():
            _add_files(digest, project / re.sub(r"\[.*\]$", "", word))


def _add_files(digest: hashlib._Hash, path: Path) -> None:
    """A requirement may be a file or folder of the project, such as `./wheels/x.whl`."""
    paths = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []
    for file in paths:
        if not _SKIPPED_FOLDERS.intersection(file.parts):
            digest.update(os.fsencode(file.relative_to(path.parent)) + hashlib.sha256(file.read_bytes()).digest())


def _build(folder: Path, requirements: Path, installer: Installer, below: str, lock_fd: int) -> None:
    # Without pip of its own: the one below is seen through system-site-packages, and copying one takes seconds.
    make = [below, "-I", "-m", "venv", "--system-site-packages", "--symlinks", "--without-pip", str(folder)]
    installer.run(make, "a virtual environment can't be made", silent=True, lock_fd=lock_fd)
    python = str(folder / "bin" / "python3")
    if below == sys.executable:
        _inherit(python)
    pip = [python, "-I", "-m", "pip"]  # -I: the project's own modules must not shadow pip's
    if subprocess.run([python, "-I", "-c", "import pip"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        installer.run([python, "-I", "-m", "ensurepip"], "pip can't be had", silent=True, lock_fd=lock_fd)
    install = [*pip, "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "-r", str(requirements)]
    installer.run(install, requirements.name, lock_fd=lock_fd)


def _inherit(python: str) -> None:
    """Let the new environment see the packages of the one that runs this, as an image may keep its own in a virtual environment.

    Not those of batchflow's own environment, where a laptop's handlers start: they are no part of what a pod would have.
    """
    if sys.prefix == sys.base_prefix or find_spec("batchflow"):
        return
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = subprocess.run([python, "-I", "-c", script], check=True, stdout=subprocess.PIPE).stdout.decode().strip()
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    Path(target, "batchflow-inherited.pth").write_text("\n".join(sorted(folders)) + "\n")
