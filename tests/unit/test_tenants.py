"""A namespace that can't be served."""

from __future__ import annotations

import pytest

from batchflow.errors import Unreachable
from batchflow.gateway.tenants import Tenants
from batchflow.settings import Settings


def test_a_store_that_the_settings_name_badly_is_not_the_requests_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    tenants = Tenants(Settings(engine="local", store="s3://bucket/jobs"), {}, url="http://127.0.0.1:8888")
    with pytest.raises(Unreachable, match="S3 can't be used: Invalid endpoint: nonsense; check the AWS_"):
        tenants.tenant(tenants.own, "")
