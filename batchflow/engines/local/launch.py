"""A container's command, environment and folder on this machine: pure."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchflow.contract import ENV_GRACE, ENV_PORT, ENV_PROGRESS, ENV_VENVS, POD_ROOTS
from batchflow.engines.local.manifest import Container
from batchflow.settings import Settings

__all__ = ["Host", "Launch", "PodPlace", "launch", "remap"]

# Variables whose values may be paths in a pod.
_PATH_VARIABLES: Final = ("BATCHFLOW_", "CORTEX_")
_SETTINGS: Final = "BATCHFLOW_"

# Kubernetes' expansion of command, args and env values: `$(NAME)`, and `$$` for a dollar.
# https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]*)\))")


@dataclass(frozen=True, slots=True)
class Host:
    """This machine, as containers see it. `environ` is the user's; `directory` is where the user's containers start."""

    settings: Settings
    environ: Mapping[str, str]
    directory: Path


@dataclass(frozen=True, slots=True)
class PodPlace:
    """What is a pod's own. `variables`: Argo's, such as `{{retries}}`, with their values."""

    name: str
    folder: Path
    port: int
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Launch:
    """All that is needed to start a container's process."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: Path
    log: Path


def launch(container: Container, pod: PodPlace, host: Host) -> Launch:
    """How to start the container here.

    Our containers get the engine's whole environment and the settings, which stand for the ConfigMap; the user's get the user's
    environment without our settings. Both get what the manifest says, and then what only this engine can know.
    """
    settings = host.settings.to_env()
    given = {
        ENV_PORT: str(pod.port),
        ENV_VENVS: str(Path(host.settings.cache_dir, "venvs")),
        ENV_GRACE: settings[ENV_GRACE],
        ENV_PROGRESS: str(pod.folder / "progress"),
    }
    declared = {**(settings if container.ours else {}), **given}
    for name, value in container.env:
        if name not in given:
            declared[name] = pod.name if value is None else _value(name, value, pod, declared)
    ambient = {name: value for name, value in host.environ.items() if container.ours or not name.startswith(_SETTINGS)}
    # Python keeps lines back when stdout is a file; they would come late, or be lost by a kill.
    env = {"PYTHONUNBUFFERED": "1", **ambient, **declared}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    folder = remap(_substitute(container.working_dir, pod), pod.folder) or (pod.folder if container.ours else host.directory)
    return Launch(
        argv=tuple(_expand(_substitute(word, pod), declared) for word in container.command),
        env=env,
        directory=Path(folder),
        log=pod.folder / "logs" / f"{container.name}.log",
    )


def remap(path: str, folder: Path) -> str:
    """A path below one of contract.POD_ROOTS, moved below `folder`; any other unchanged."""
    inside = any(path == root or path.startswith(f"{root}/") for root in POD_ROOTS)
    return f"{folder}{path}" if inside else path


def _value(name: str, value: str, pod: PodPlace, declared: Mapping[str, str]) -> str:
    value = _substitute(value, pod)
    if name.startswith(_PATH_VARIABLES):
        value = remap(value, pod.folder)
    return _expand(value, declared)


def _substitute(text: str, pod: PodPlace) -> str:
    for variable, value in pod.variables.items():
        text = text.replace(variable, value)
    return text


def _expand(text: str, env: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: "$" if match[1] is None else env.get(match[1], match[0]), text)
