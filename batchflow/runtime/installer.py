"""Runs what installs the project's dependencies: its output is shown as it comes, or, at level warning and above, only if it fails."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .reasons import StartError

__all__ = ["Installer"]

_SHOW_EVERY_S = 0.2
_LAST_LINES = 3
_PIECE_BYTES = 65_536


@dataclass(frozen=True)
class Installer:
    """Commands run in `project` with the variables `environ`, and nothing on their stdin. They raise StartError beginning with `what`."""

    project: Path
    environ: Mapping[str, str]
    quiet: bool

    def run(self, command: Sequence[str], what: str, *, silent: bool = False, lock_fd: int | None = None) -> None:
        """Run it to its end; the error has its last words. `silent`: its output is not for people, at any level.

        A child that outlives us goes on holding `lock_fd`, so nobody builds in the same place meanwhile.
        """
        show = not (silent or self.quiet)
        # A file, and no pipe: a server that a script leaves running holds it open, and may write to it for ever.
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=str(self.project),
                    env=dict(self.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=() if lock_fd is None else (lock_fd,),
                )
            except OSError as error:
                raise StartError(f"{what}: {command[0]} can't be run: {error.strerror}") from error
            try:
                status = _wait(process, output.fileno(), show=show)
            except BaseException:
                process.kill()
                raise
            text = os.pread(output.fileno(), os.fstat(output.fileno()).st_size, 0).decode("utf-8", "replace")
        if show and text and not text.endswith("\n"):
            print()
        if status and not show:
            print(text.rstrip("\n"))
        if status:
            raise StartError(f"{what}: {_last_words(text, status)}")

    def ask(self, command: Sequence[str], what: str) -> str:
        """Its stdout."""
        asked = subprocess.run(
            command,
            cwd=str(self.project),
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        if asked.returncode:
            raise StartError(f"{what}: {_last_words(asked.stdout + asked.stderr, asked.returncode)}")
        return asked.stdout


def _wait(process: subprocess.Popen[bytes], output: int, *, show: bool) -> int:
    shown = 0
    while True:
        status = None
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(_SHOW_EVERY_S)
        piece = os.pread(output, _PIECE_BYTES, shown) if show else b""  # not read: the file's position is the command's, too
        while piece:
            sys.stdout.buffer.write(piece)
            shown += len(piece)
            piece = os.pread(output, _PIECE_BYTES, shown)
        if status is not None:
            return status


def _last_words(text: str, status: int) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    # pip's last error is the short one; those before it may list every version that there is
    errors = [line for line in lines if line.startswith("ERROR:")]
    if errors:
        return errors[-1]
    ended = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
    return ": ".join([ended, *([" ".join(lines[-_LAST_LINES:])] if lines else [])])
