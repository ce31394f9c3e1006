"""A gateway for each module whose tests leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.command import Terminal
from tests.acceptance.gateway.kit import Gateway, pod
from tests.acceptance.gateway.s3 import serving_with_s3


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal, moto: str) -> Iterator[Gateway]:
    """Two apis are deployed: `plain`, and `renamed` with an endpoint of its own."""
    with serving_with_s3(shared_shell, moto) as opened:
        opened.deploy(pod("plain"), pod("renamed", networking={"endpoint": "some/other_path.v1"})).ok()
        yield opened
