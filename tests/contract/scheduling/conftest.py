"""A namespace for each test, and its scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.scheduling.kit import Driven, Namespace


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Namespace]:
    space = Namespace(tmp_path)
    yield space
    space.kill_engines()


@pytest.fixture
def scheduler(space: Namespace) -> Driven:
    return space.scheduler()
