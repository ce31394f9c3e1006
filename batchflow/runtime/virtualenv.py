"""The project's requirements, installed into a virtual environment that is built once and used by every worker that may.

An environment is named by what it is made of, lies beside its lock, and counts only with its marker, which is written last; so a
killed builder leaves nothing that is taken for whole, and of several workers that start together one builds while the others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from collections import deque
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from .reasons import StartError

__all__ = ["ensure"]

_MARKER = ".complete"
_NESTED = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s+|=)?(\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)\b")
_SKIPPED_FOLDERS = {"__pycache__", ".git"}


def ensure(requirements: Path, project: Path, venvs: Path, *, quiet: bool) -> Path | None:
    """The folder of an environment with these requirements, made if there is none; None if they name nothing.

    pip runs in `project`, and its output is shown as it comes, or, if `quiet`, only when it fails. Raises StartError with pip's reason.
    """
    if not requirements.is_file() or not any(_statements(requirements)):
        return None
    folder = venvs / _key(requirements, project)
    if (folder / _MARKER).exists():
        return folder
    venvs.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _MARKER).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _build(folder, requirements, project, lock.fileno(), quiet=quiet)
            (folder / _MARKER).touch()
    return folder


def _statements(requirements: Path) -> Iterator[str]:
    for line in requirements.read_text(encoding="utf-8-sig").splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if text:
            yield text


def _key(requirements: Path, project: Path) -> str:
    """Of everything that decides what pip would install, as far as it is in the project."""
    digest = hashlib.sha256()
    made_with = [sys.version, os.path.realpath(sys.executable), sys.prefix, sysconfig.get_platform()]
    digest.update("\n".join(made_with).encode())
    _add_requirements(digest, requirements, project, set())
    return digest.hexdigest()[:32]


def _add_requirements(digest: hashlib._Hash, requirements: Path, project: Path, seen: set[Path]) -> None:
    if requirements in seen or not requirements.is_file():
        return
    seen.add(requirements)
    for statement in _statements(requirements):
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


def _build(folder: Path, requirements: Path, project: Path, lock_fd: int, *, quiet: bool) -> None:
    # Without pip of its own: the system's is seen through system-site-packages, and copying one takes seconds.
    venv.EnvBuilder(system_site_packages=True, symlinks=True, with_pip=False).create(folder)
    python = str(folder / "bin" / "python3")
    _inherit(python)
    pip = [python, "-I", "-m", "pip"]  # -I: the project's own modules must not shadow pip's
    if subprocess.run([python, "-I", "-c", "import pip"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        _run([python, "-I", "-m", "ensurepip"], project, lock_fd, quiet=True, what="pip can't be had")
    install = [*pip, "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "-r", str(requirements)]
    _run(install, project, lock_fd, quiet=quiet, what=requirements.name)


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


def _run(command: list[str], project: Path, lock_fd: int, *, quiet: bool, what: str) -> None:
    # A child that outlives us goes on holding the lock, so nobody builds in the same place meanwhile.
    output: deque[str] = deque(maxlen=1000 if quiet else 50)
    process = subprocess.Popen(command, cwd=str(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(lock_fd,))
    try:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line.decode("utf-8", "replace").rstrip())
            if not quiet:
                print(output[-1])
        status = process.wait()
    except BaseException:
        process.kill()
        raise
    if status:
        if quiet:
            print("\n".join(output))
        # pip's last word is the short one; those before it may list every version that there is
        errors = [line for line in output if line.startswith("ERROR:")][-1:] or list(output)[-3:]
        raise StartError(f"{what}: {' '.join(errors) or f'exit status {status}'}")
