"""The Handler of every faulted job: does what the items say, and keeps a log of its own, which is the truth that batchflow is judged by.

`config`: `log`, the path of the log; `hook`, ok or raises; `hook_s`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class Handler:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def handle_batch(self, payload: list[dict[str, Any]]) -> None:
        first = payload[0]
        self.note("began", first["n"])
        time.sleep(first["seconds"])
        if self.times_raised(first["n"]) < first["fails"]:
            self.note("raised", first["n"])
            raise ValueError(f"item {first['n']} fails")
        self.note("ended", first["n"])

    def on_job_complete(self) -> None:
        self.note("hook_began")
        time.sleep(self.config["hook_s"])
        if self.config["hook"] == "raises":
            self.note("hook_raised")
            raise ValueError("the hook fails")
        self.note("hook_ended")

    def note(self, event: str, item: int | None = None) -> None:
        """`batch` is its first item. One write for each line, so that a kill leaves it whole or not at all."""
        line = json.dumps({"event": event, "batch": item, "at": time.time(), "pid": os.getpid()}).encode() + b"\n"
        log = os.open(self.config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(log, line)
        finally:
            os.close(log)

    def times_raised(self, item: int) -> int:
        whole, _, _ = Path(self.config["log"]).read_bytes().rpartition(b"\n")  # another thread may be writing the last line
        return sum(note["event"] == "raised" and note["batch"] == item for note in map(json.loads, whole.splitlines()))
