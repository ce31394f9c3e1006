"""What fails is logged once as long as it fails in the same way."""

from __future__ import annotations

import pytest

from batchflow.deployments.attempts import Attempts
from batchflow.errors import Unreachable


def fail() -> None:
    raise Unreachable("no answer")


def test_it_is_told_once_and_again_after_it_succeeded_or_was_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    attempts = Attempts()
    for _ in range(3):
        assert attempts.made("a", fail) is None
    assert len(caplog.records) == 1
    assert attempts.made("a", lambda: "done") == "done"
    attempts.made("a", fail)
    assert len(caplog.records) == 2
    attempts.keep_only(["a"])
    attempts.made("a", fail)
    assert len(caplog.records) == 2
    attempts.keep_only([])
    attempts.made("a", fail)
    assert len(caplog.records) == 3
