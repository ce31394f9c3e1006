"""A run's folder: where its files are, how they are written, and whether its engine is alive.

In <local_dir>/<workflow>/ are

- workflow.json: the manifest, and once the engine runs its status
- pods.json: the pods, in the order in which they were made
- engine.lock: locked (flock) as long as the engine lives; holds its process id
- engine.log: what the engine itself had to say
- stop: its presence asks the engine to stop
- pods/<pod>/mnt, cortex, …: what its containers see under contract.POD_ROOTS
- pods/<pod>/progress: ARGO_PROGRESS_FILE
- pods/<pod>/logs/<container>.log
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from batchflow.errors import InvalidInput

__all__ = ["RunFolder"]


# Kubernetes: a name that can be a label's value too, as Argo makes of a workflow's.
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class RunFolder:
    """The files of the run of one workflow; the folder need not exist. A name that can't be one never becomes a path."""

    def __init__(self, root: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f'"{name}" can\'t be the name of a workflow', where="metadata.name")
        self.name = name
        self.path = path = root / name
        self.engine_log = path / "engine.log"
        self._workflow = path / "workflow.json"
        self._pods = path / "pods.json"
        self._stop = path / "stop"
        self._lock = path / "engine.lock"
        self._removed = root / f".{name}"  # no name of a workflow

    def pod(self, name: str) -> Path:
        return self.path / "pods" / name

    def logs(self, pod: str) -> Path:
        return self.pod(pod) / "logs"

    def log(self, pod: str, container: str) -> Path:
        return self.logs(pod) / f"{container}.log"

    def workflow(self) -> dict[str, Any] | None:
        """None if nothing was submitted here."""
        workflow: dict[str, Any] | None = _read(self._workflow)
        return workflow

    def pods(self) -> list[dict[str, Any]]:
        return _read(self._pods) or []

    def save_workflow(self, data: bytes) -> None:
        _write(self._workflow, data)

    def save_pods(self, data: bytes) -> None:
        _write(self._pods, data)

    def request_stop(self) -> None:
        """Also before the run begins."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._stop.touch()

    @property
    def stop_requested(self) -> bool:
        return self._stop.exists()

    def remove(self) -> bool:
        """Remove the folder, and what a removal that was cut off has left; False, and nothing done, while an engine lives."""
        if self.path.exists():
            lock = self.try_lock()
            if lock is None:
                return False
            try:
                shutil.rmtree(self._removed, ignore_errors=True)
                self.path.rename(self._removed)  # from here on the run is gone for every reader
            finally:
                os.close(lock)
        with suppress(FileNotFoundError):  # never there, or somebody else removes it too
            shutil.rmtree(self._removed)
        return True

    def try_lock(self) -> int | None:
        """Lock the run for the engine: an open file whose lock lives as long as any copy of it; None if it is locked already."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        return file

    @property
    def locked(self) -> bool:
        """Whether an engine lives (or is just being started)."""
        try:
            file = os.open(self._lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False


def _read(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Replace the file whole; only one process at a time writes it (the one that holds the lock)."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)
