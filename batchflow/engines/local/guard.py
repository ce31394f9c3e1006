"""Runs one container's command in a process group of its own: `python -I -S guard.py CHANNEL COMMAND ARG…`.

CHANNEL is a socket whose other end only the engine has. The command's process id, which is its group's too, is written to it.
When the command ends, or the channel closes (the engine is gone, even by SIGKILL), the guard kills the whole group: nothing that
the command started outlives it. SIGTERM goes on to the command alone. The guard exits as the command does: its exit code, or
128 + the signal that ended it; 126 or 127 if it could not be started.

Standard library only, and of it only what starts fast. Linux and macOS.
"""

import _thread
import contextlib
import os
import signal
import sys

# Python ignores these two for itself; a command must not inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def _run_command(channel: int, command: list[str]) -> None:
    """Become the command; in the forked child only."""
    os.setsid()
    os.write(channel, b"%d\n" % os.getpid())  # before exec, so that the engine knows of every command that ever ran
    for number in (signal.SIGTERM, *_IGNORED_BY_PYTHON):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"batchflow: can't start {command[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _kill_on_close(channel: int, child: int) -> None:
    try:
        os.read(channel, 1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # its group follows, as whenever it ends


def main() -> None:
    """Never returns."""
    channel, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(channel, False)
    # Blocked until there is a child to send it to, and for good in the thread: a signal must interrupt waitpid below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if child == 0:
        try:
            _run_command(channel, command)
        finally:
            os._exit(126)  # the engine was gone already

    def forward(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)

    _thread.start_new_thread(_kill_on_close, (channel, child))
    signal.signal(signal.SIGTERM, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says the latter of zombies
        os.killpg(child, signal.SIGKILL)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
