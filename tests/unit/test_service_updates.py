"""Changes of a job deployment that are made at the same time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from batchflow.deployments.service import Deployments
from batchflow.engines.local.engine import LocalEngine
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.spec.reader import document_of
from batchflow.store.open import open_store

DOCUMENT = {
    "name": "app",
    "containers": [{"image": "app:1", "exposed_port": 8000, "entrypoint_overrides": {"enabled": True, "entrypoint": ["python"]}}],
    "compute": {"name": "CPUNode", "size": 1},
    "scaling": {"max_replica_count": 1, "queue_message_ttl_seconds": 600, "deadline_seconds": 600},
}


class Busy(LocalEngine):
    """While it checks the next deployment, another client changes that."""

    meanwhile: Any = None

    def check(self, workflow: dict[str, Any]) -> None:
        super().check(workflow)
        if self.meanwhile:
            act, self.meanwhile = self.meanwhile, None
            act()


def test_of_two_changes_made_at_once_none_is_lost(tmp_path: Path) -> None:
    settings = Settings(engine="local", store=str(tmp_path / "store"), local_dir=str(tmp_path / "local"), cache_dir=str(tmp_path / "cache"))
    engine = Busy(settings, os.environ)
    service = Deployments(open_store(settings.store), engine, settings, Rules(deadline_minimum_s=1))
    service.create(document_of(DOCUMENT))
    engine.meanwhile = lambda: service.update("app", {"scaling": {"max_replica_count": 7}})
    service.update("app", {"scaling": {"deadline_seconds": 900}})
    scaling = service.scaling("app")
    assert (scaling["max_replica_count"], scaling["deadline_seconds"]) == (7, 900)
