"""The smallest Handler: greets every name, and says so when all are greeted."""

from __future__ import annotations

from typing import Any


class Handler:
    def __init__(self, config: dict[str, Any], job_spec: dict[str, Any]) -> None:
        self.greeting = config["greeting"]
        self.job = job_spec

    def handle_batch(self, payload: list[str], batch_id: str) -> None:
        for name in payload:
            print(f"{self.greeting}, {name}!")

    def on_job_complete(self) -> None:
        print(f"everybody in {self.job['total_batch_count']} batches was greeted")
