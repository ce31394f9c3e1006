"""A gateway for each module whose tests leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.command import Terminal
from tests.acceptance.verda.kit import Verda, serving_verda


@pytest.fixture(scope="module")
def verda(shared_shell: Terminal) -> Iterator[Verda]:
    with serving_verda(shared_shell) as opened:
        yield opened
