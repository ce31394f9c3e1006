"""Environments that are built once and used by every worker that may.

One lies beside its lock, and counts only with its marker, which is written last; so a killed builder leaves nothing that is taken for
whole, and of several workers that start together one builds while the others wait.
"""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["ensure", "statements"]

_MARKER = ".complete"


def ensure(environments: Path, key: str, build: Callable[[Path, int], None]) -> Path:
    """The folder of the environment that `key` names by what it is made of, built if there is none.

    `build` gets the folder, which is not there yet, and the lock's descriptor, to be handed to the processes that it starts.
    """
    folder = environments / key
    if (folder / _MARKER).exists():
        return folder
    environments.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _MARKER).exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder, lock.fileno())
            (folder / _MARKER).touch()
    return folder


def statements(file: Path) -> Iterator[str]:
    """The lines of a list of packages that say something; none if there is no such file."""
    for line in file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else ():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if text:
            yield text
