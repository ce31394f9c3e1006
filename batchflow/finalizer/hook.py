"""The completion hook: `POST /on-job-complete` to the handler, and what its answer means (spec/cortex.md section 3)."""

from __future__ import annotations

import http.client
import logging
import time
from threading import Event, Thread
from typing import Final

from batchflow import contract
from batchflow.errors import Unreachable
from batchflow.exchange import Client
from batchflow.records import HookAnswer, JobRef

__all__ = ["ask_hook"]

_log = logging.getLogger(__name__)

OK: Final = 200
NO_HOOK: Final = 404  # the server has none: as good as done
CUT_OFF: Final = (0, 503)  # what a hook answers, perhaps, because its server was told to stop
_LOOK_AGAIN_S: Final = 0.1


def ask_hook(job: JobRef, port: int, *, timeout_s: float, grace_s: float, stop: Event) -> HookAnswer | None:
    """The hook's answer, whatever it was; `status` is 0 if there was none within `timeout_s` or the connection broke.

    None if `stop` was set and no answer came within `grace_s` after that (or the connection broke then): the answer is not known.
    Raises Unreachable if nobody listened, so that the hook did not run.
    """
    answers: list[HookAnswer | Unreachable] = []

    def ask() -> None:
        try:
            answers.append(_post(job, port, timeout_s))
        except Unreachable as error:
            answers.append(error)

    # A thread, so that we can leave while the hook still runs.
    asking = Thread(target=ask, name="hook", daemon=True)
    asking.start()
    while asking.is_alive() and not stop.is_set():
        asking.join(_LOOK_AGAIN_S)
    if stop.is_set():
        asking.join(grace_s)
    if not answers:
        return None
    answer = answers[0]
    if isinstance(answer, Unreachable):
        raise answer
    if answer.status in CUT_OFF and stop.wait(contract.SIGTERM_FOLLOWS_S):
        return None
    _log.info("the hook answered", extra={"status": answer.status} | ({"error": answer.error} if answer.error else {}))
    return answer


def _post(job: JobRef, port: int, timeout_s: float) -> HookAnswer:
    client = Client(port)
    headers = {"Content-Type": "application/json", contract.HEADER_JOB: job.job_id}
    try:
        reply = client.ask("POST", contract.HOOK_PATH, headers, contract.HOOK_BODY, time.monotonic() + timeout_s)
    except ConnectionRefusedError as error:
        raise Unreachable("the handler went away before the hook", where=f"{contract.HANDLER_HOST}:{port}") from error
    except TimeoutError:
        return HookAnswer(job.run, 0, ok=False, error=f"no answer within {timeout_s:g} s")
    except (OSError, http.client.HTTPException) as error:
        return HookAnswer(job.run, 0, ok=False, error=f"the connection broke: {error or type(error).__name__}")
    finally:
        client.close()
    ok = reply.status in (OK, NO_HOOK)
    return HookAnswer(job.run, reply.status, ok=ok, error="" if ok else reply.reason)
