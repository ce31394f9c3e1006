"""Runs one container's command in a process group of its own: `python -I -S guard.py CHANNEL COMMAND ARG…`.

CHANNEL is a socket whose other end only the engine has. The command's process id, which is its group's too, is written to it.
When the command ends, or the channel closes (the engine is gone, even by SIGKILL), the guard kills the whole group, and on Linux
every other process that descends from the command, whatever its group or session: nothing that the command started outlives it.
Elsewhere what left the group (setsid) is not found. If somebody kills the guard itself, the engine kills the group; on Linux the command
ends with the guard in any case. SIGTERM goes on to the command alone. The guard exits as the command does: its exit code, or 128 + the
signal that ended it; 126 or 127 if it could not be started.

Standard library only, and of it only what starts fast (contextlib takes 3 ms). Linux and macOS.
"""

import _thread
import os
import signal
import sys

# Python ignores these two for itself; a command must not inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
# linux/prctl.h
_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36


def _run_command(channel: int, command: list[str], guard: int) -> None:
    """Become the command; in the forked child only."""
    os.setsid()
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:  # it died before we asked to be told
        os._exit(126)
    os.write(channel, b"%d\n" % os.getpid())  # before exec, so that the engine knows of every command that ever ran
    for number in (signal.SIGTERM, *_IGNORED_BY_PYTHON):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"batchflow: can't start {command[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _prctl(option: int, value: int) -> None:
    """On Linux only, and only with a Python that has ctypes, and a libc."""
    if sys.platform == "linux":
        try:
            import ctypes

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            return


def _wait(child: int) -> int:
    """The child's exit code; whatever else ended meanwhile was adopted, and is buried."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _kill_adopted() -> None:
    """Kill the children that are left, and theirs, which their death makes ours, until there are none."""
    while any([_kill(pid) for pid in _children()]):  # a list: all of them
        os.waitpid(-1, 0)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # not Linux, or built without it
        return []


def _kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Whether there was one, or a group (-pid), to send it to, and it was not another user's (of sudo, say)."""
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def _kill_on_close(channel: int, child: int) -> None:
    try:
        os.read(channel, 1)
    finally:
        _kill(child)  # what it started follows, as whenever it ends


def main() -> None:
    """Never returns."""
    channel, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(channel, False)
    _prctl(_SET_CHILD_SUBREAPER, 1)  # the parent of every descendant that loses its own
    # Blocked until there is a child to send it to, and for good in the thread: a signal must interrupt waitpid below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            _run_command(channel, command, guard)
        finally:
            os._exit(126)  # the engine was gone already

    def forward(*_: object) -> None:
        _kill(child, signal.SIGTERM)

    _thread.start_new_thread(_kill_on_close, (channel, child))
    signal.signal(signal.SIGTERM, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    code = _wait(child)
    _kill(-child)
    _kill_adopted()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
