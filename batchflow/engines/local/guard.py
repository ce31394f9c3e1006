"""Runs one container's command: `python -I -S guard.py CHANNEL COMMAND ARG…`, at the head of a process group of its own.

CHANNEL is a socket whose other end only the engine has. The guard writes the command's process id to it, and when it closes
(the engine is gone, even by SIGKILL) the guard kills the whole group. SIGTERM goes on to the command alone. The guard exits
as the command does: its exit code, or 128 + the signal that ended it; 126 or 127 if it could not be started.

Standard library only, and of it only what starts fast. Linux and macOS.
"""

import _thread
import contextlib
import os
import signal
import sys

# Python ignores these two for itself; a command must not inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def _run_command(command: list[str]) -> None:
    """Become the command; in the forked child only."""
    for number in (signal.SIGTERM, *_IGNORED_BY_PYTHON):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"batchflow: can't start {command[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _kill_group_on_close(channel: int) -> None:
    try:
        os.read(channel, 1)
    finally:
        os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """Never returns."""
    channel, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(channel, False)
    # Blocked until there is a child to send it to, and for good in the thread: a signal must interrupt waitpid below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if child == 0:
        _run_command(command)
    _thread.start_new_thread(_kill_group_on_close, (channel,))

    def forward(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    with contextlib.suppress(OSError):  # the engine is gone; the thread sees that too
        os.write(channel, b"%d\n" % child)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
