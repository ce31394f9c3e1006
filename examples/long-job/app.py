"""A replica's server: it takes one job, works, answers, and exits. The exit code says how the job went."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.base import RequestResponseEndpoint


def work(duration: float, failed: bool) -> dict[str, Any]:
    """Here the work would be done."""
    print(f"working for {duration:g} s", flush=True)
    began = time.monotonic()
    time.sleep(duration)
    if failed:
        raise HTTPException(500, "the job failed, as it was told to")
    return {
        "success": True,
        "message": "the job is done",
        "executionTime": round(time.monotonic() - began, 3),
        "timestamp": datetime.now(UTC).isoformat(),
    }


@asynccontextmanager
async def stops_at_once(app: FastAPI) -> AsyncIterator[None]:
    """At the deadline comes SIGTERM. Uvicorn would first wait for the job in hand, and 30 s later SIGKILL would come."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    yield


def create_app(finish: Callable[[int], None]) -> FastAPI:
    """`finish` ends the server, once the answer is out, with an exit code."""
    app = FastAPI(title="long-job", lifespan=stops_at_once)
    job_taken = Lock()

    @app.middleware("http")
    async def take_one_request(request: Request, answer: RequestResponseEndpoint) -> Response:
        """Whatever is asked first is the job, also what is refused with 404 or 422: no other comes, and nobody else ends this replica."""
        if request.url.path == "/health":
            return await answer(request)
        if not job_taken.acquire(blocking=False):
            return JSONResponse({"detail": "this replica has its job already"}, 503)
        exit_code = 1
        try:
            response = await answer(request)
            exit_code = 0 if response.status_code < 400 else 1
            return response
        finally:
            finish(exit_code)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "busy" if job_taken.locked() else "ok"}

    @app.post("/job")
    def job(duration: float = 10, failed: bool = False) -> dict[str, Any]:  # not async: it runs in a thread, and /health answers meanwhile
        return work(duration, failed)

    return app


class Replica:
    """The server, and the exit code that its job gave it."""

    def __init__(self, port: int) -> None:
        self._server = uvicorn.Server(uvicorn.Config(create_app(self._finish), host="0.0.0.0", port=port))
        self._exit_code = 0

    def run(self) -> int:
        """Serve until the job is done."""
        self._server.run()
        return self._exit_code

    def _finish(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._server.should_exit = True  # uvicorn sends what is under way, and then ends


if __name__ == "__main__":
    sys.exit(Replica(int(os.environ.get("PORT", "8000"))).run())
