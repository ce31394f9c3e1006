"""A container's command, environment and folder on this machine: pure."""

from __future__ import annotations

import os
import sys
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchflow.contract import ENV_GRACE, ENV_HEALTH_PATH, ENV_PROGRESS, ENV_VENVS, POD_ROOTS
from batchflow.engines.local.environment import FieldRef, KeyRef, Value, expand
from batchflow.engines.local.manifest import Container
from batchflow.settings import Settings

__all__ = ["Host", "Launch", "PodPlace", "launch", "remap", "search_path"]

# Variables whose values may be paths in a pod; the one that holds a URL's path is none of them.
_PATH_VARIABLES: Final = ("BATCHFLOW_", "CORTEX_")
_SETTINGS: Final = "BATCHFLOW_"

# This machine, as its own pods' node.
_HOST_IP: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Host:
    """This machine, as containers see it. `environ` is the user's; `directory` is where the user's containers start."""

    settings: Settings
    environ: Mapping[str, str]
    directory: Path


@dataclass(frozen=True, slots=True)
class PodPlace:
    """What is a pod's own. `ports`: by the variable that names it. `variables`: Argo's, such as `{{retries}}`, with their values."""

    name: str
    folder: Path
    ports: Mapping[str, int]
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
        **{name: str(port) for name, port in pod.ports.items()},
        ENV_VENVS: str(Path(host.settings.cache_dir, "venvs")),
        ENV_GRACE: settings[ENV_GRACE],
        ENV_PROGRESS: str(pod.folder / "progress"),
    }
    ambient = {name: value for name, value in host.environ.items() if container.ours or not name.startswith(_SETTINGS)}
    declared = {**(settings if container.ours else {}), **given}
    # Kubernetes expands what a container declares, in its order, after what its Secrets hold: the user's shell stands for those.
    known = ChainMap(declared, ambient if container.secrets else {})
    for name, value in container.env:
        found = None if name in given else _value(name, value, pod, host, known)
        if found is not None:
            declared[name] = found
    # Python keeps lines back when stdout is a file; they would come late, or be lost by a kill.
    env = {"PYTHONUNBUFFERED": "1", **ambient, **declared}
    env["PATH"] = search_path(env)
    folder = remap(_substitute(container.working_dir, pod), pod.folder) or (pod.folder if container.ours else host.directory)
    return Launch(
        argv=tuple(expand(_substitute(word, pod), known) for word in container.command),
        env=env,
        directory=Path(folder),
        log=pod.folder / "logs" / f"{container.name}.log",
    )


def remap(path: str, folder: Path) -> str:
    """A path below one of contract.POD_ROOTS, moved below `folder`; any other unchanged."""
    inside = any(path == root or path.startswith(f"{root}/") for root in POD_ROOTS)
    return f"{folder}{path}" if inside else path


def search_path(env: Mapping[str, str]) -> str:
    """PATH of a container with these variables: first the Python that runs batchflow."""
    return os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])


def _value(name: str, value: Value, pod: PodPlace, host: Host, known: Mapping[str, str]) -> str | None:
    """None: an optional one that is not there."""
    if isinstance(value, KeyRef):
        return value.find(host.environ)
    if isinstance(value, FieldRef):
        return pod.name if value.path == "metadata.name" else _HOST_IP
    text = _substitute(value, pod)
    is_path = name.startswith(_PATH_VARIABLES) and name != ENV_HEALTH_PATH
    return expand(remap(text, pod.folder) if is_path else text, known)


def _substitute(text: str, pod: PodPlace) -> str:
    for variable, value in pod.variables.items():
        text = text.replace(variable, value)
    return text
