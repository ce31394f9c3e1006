"""The start, step by step, then serving until SIGTERM. It listens only when the handler is constructed: a port that listens is ready."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from .dependencies import install as install_dependencies
from .executor import Executor
from .handler import api_entry, load
from .reasons import StartError, format_error, start_reason
from .server import Server
from .service import Service
from .settings import Settings
from .streams import install as install_streams

__all__ = ["main"]

_EXIT_START_FAILED = 1
_EXIT_TERMINATED = 143
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A pod's other containers start once kubelet has seen this one run, which it looks for every second. One that ends sooner may never be
# seen, and the dequeuer, which would tell why, never start.
_SEEN_WITHIN_S = 5
_ENVIRONMENT_READY = "BATCHFLOW_ENVIRONMENT_READY"  # set for the process that goes on with the dependencies installed
_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # where this package lies


class _Terminated(BaseException):
    """SIGTERM before there was anything to finish."""


def main() -> int:
    """Returns the exit code: 0 after SIGTERM, 1 if the handler can't be started, 143 after SIGTERM before it was."""
    settings = Settings.from_env(os.environ)
    labels = install_streams()
    faulthandler.enable(sys.stderr.fileno())
    _on_stop(_terminate)
    try:
        _enter_environment(settings)
        _add_python_path(settings.python_path)
        handler = load(settings)
        executor = Executor(settings.max_concurrency)
        service = Service(handler, executor, labels, project=settings.project, timeout_s=settings.batch_timeout_s)
        server = Server(settings.port, service)
        _stop_at_once(server, executor)  # before it listens: from then on SIGTERM is no failure
        server.start()
    except _Terminated:
        return _EXIT_TERMINATED
    except BaseException as error:
        _report(error, settings)
        if os.getpid() == 1:  # in a container
            with suppress(_Terminated):
                time.sleep(_SEEN_WITHIN_S)
        return _EXIT_START_FAILED
    executor.run()  # the main thread runs batches from now on, until SIGTERM; what is in hand then is finished
    server.wait_answered()
    return 0


def _enter_environment(settings: Settings) -> None:
    """Install what the project depends on; where there is anything, or a `.env`, the process goes on as a Python that has it."""
    if os.environ.pop(_ENVIRONMENT_READY, None):
        return
    paths = api_entry(settings)[1].get("dependencies") or {}
    interpreter = install_dependencies(settings, paths, os.environ)
    if (interpreter.python, interpreter.environ) == (sys.executable, os.environ):
        return
    sys.stdout.flush()
    environ = {**interpreter.environ, "PYTHONPATH": _with_runtime(interpreter.environ.get("PYTHONPATH")), _ENVIRONMENT_READY: "1"}
    os.execve(interpreter.python, [interpreter.python, "-m", str(__package__)], environ)


def _with_runtime(python_path: str | None) -> str:
    """The runtime itself must be found, too, where `.env` says another PYTHONPATH."""
    folders = (python_path or "").split(os.pathsep)
    return os.pathsep.join(filter(None, folders if _FOLDER in folders else [_FOLDER, *folders]))


def _add_python_path(folder: str) -> None:
    """For this process, and for those that the user's code starts."""
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), folder]))


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise _Terminated


def _on_stop(action: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, action)


def _stop_at_once(server: Server, executor: Executor) -> None:
    """When a signal comes, stop both, even while the main thread is in C code of the user's, where no handler of Python's would run.

    Processes that the user's code forks die of SIGTERM as ever, or a pool could not end its own.
    """

    def stop() -> None:
        server.close_listener()
        executor.stop()

    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while True:
            if set(os.read(reader, 64)).intersection(_STOP_SIGNALS):
                stop()

    def restore() -> None:
        signal.set_wakeup_fd(-1)
        _on_stop(signal.SIG_DFL)

    os.register_at_fork(after_in_child=restore)
    threading.Thread(target=watch, name="signals", daemon=True).start()
    _on_stop(lambda signum, frame: stop())  # asyncio may have taken the wake-up over
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


def _report(error: BaseException, settings: Settings) -> None:
    """To people on stderr; to the dequeuer in a file, which must not make things worse."""
    print(str(error) if isinstance(error, StartError) else format_error(error).rstrip("\n"), file=sys.stderr)
    line = json.dumps({"reason": start_reason(error, settings.project), "time": time.time()}) + "\n"
    with suppress(OSError):
        os.makedirs(os.path.dirname(settings.failures), exist_ok=True)
        with open(settings.failures, "a", encoding="utf-8") as file:
            file.write(line)
