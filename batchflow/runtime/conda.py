"""The project's conda packages, installed into a conda environment of their own. The image, or this machine, must have conda."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

from .environments import ensure as ensure_environment
from .environments import statements
from .installer import Installer
from .reasons import StartError

__all__ = ["ensure"]

_CHANNEL = "conda-forge"
_PYTHON = re.compile(r"(?:\S+::)?python(?![\w.-])")
_EXPLICIT = "@EXPLICIT"  # a list of files, which conda takes only by itself
_OLDEST = (3, 8)


def ensure(packages: Path, environments: Path, installer: Installer) -> Path | None:
    """The prefix of an environment with these packages and a Python; None if the file names nothing. Raises StartError with the reason.

    The Python is the one that the file asks for, else one of the same minor version as this.
    """
    wanted = list(statements(packages))
    if not wanted:
        return None
    conda, what = _executable(packages.name, installer), packages.name
    python = [] if any(map(_PYTHON.match, wanted)) or _EXPLICIT in wanted else [f"python={sys.version_info[0]}.{sys.version_info[1]}"]

    def build(prefix: Path, lock_fd: int) -> None:
        channels = _channels(conda, installer, what)
        create = [conda, "create", "--yes", "--quiet", "--prefix", str(prefix), *channels, "--file", str(packages), *python]
        installer.run(create, what, lock_fd=lock_fd)
        _check_python(prefix, installer, what)

    made_with = "\n".join([os.path.realpath(conda), sysconfig.get_platform(), *python, *wanted])
    return ensure_environment(environments, "conda-" + hashlib.sha256(made_with.encode()).hexdigest()[:32], build)


def _executable(what: str, installer: Installer) -> str:
    for name in ("conda", "mamba"):
        path = shutil.which(name, path=installer.environ.get("PATH"))
        if path:
            return path
    raise StartError(
        f"{what}: there is no conda here; use an image that has conda (on your own machine, install it), "
        "or bring the packages in the image or in requirements.txt, and remove the file"
    )


def _channels(conda: str, installer: Installer, what: str) -> list[str]:
    """conda-forge behind the configured channels, as Cortex appended it; nobody's configuration is changed."""
    if os.path.basename(conda) != "conda":  # mamba has conda-forge by itself, and other words to ask for its settings
        return ["--channel", _CHANNEL]
    shown = installer.ask([conda, "config", "--show", "channels", "--json"], what)
    try:
        configured = [str(channel) for channel in json.loads(shown)["channels"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StartError(f"{what}: conda's channels can't be read from {shown!r}") from error
    ordered = [*configured, *([_CHANNEL] if _CHANNEL not in configured else [])]
    return ["--override-channels", *(word for channel in ordered for word in ("--channel", channel))]


def _check_python(prefix: Path, installer: Installer, what: str) -> None:
    python = prefix / "bin" / "python3"
    if not python.exists():
        raise StartError(f"{what}: installs no python; add python to it")
    shown = installer.ask([str(python), "-I", "-c", "import sys; print(*sys.version_info[:2])"], what)
    version = tuple(map(int, shown.split()))
    if version < _OLDEST:
        raise StartError(f"{what}: installs Python {'.'.join(map(str, version))}; a handler needs {'.'.join(map(str, _OLDEST))} or newer")
