"""Verda's API by plain HTTP: credentials, requests and what every error must look like."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.acceptance.command import Json
from tests.acceptance.gateway.kit import Answer, Gateway

OURS = {"id": "ours", "secret": "ours-secret-0123456789", "namespace": "batchflow"}
THEIRS = {"id": "theirs", "secret": "theirs-secret-0123456789", "namespace": "theirs"}
OUR_KEY = {"key": "dc_ours-0123456789", "namespace": "batchflow"}
THEIR_KEY = {"key": "dc_theirs-0123456789", "namespace": "theirs"}
OUR_TOKEN = {"token": "token-ours-0123456789", "namespace": "batchflow"}
ALL: Json = {"tokens": [OUR_TOKEN], "clients": [OURS, THEIRS], "inference_keys": [OUR_KEY, THEIR_KEY]}
SECRETS = (OURS["secret"], THEIRS["secret"], OUR_KEY["key"], THEIR_KEY["key"], OUR_TOKEN["token"])

TOKEN_PATH = "/v1/oauth2/token"
DEPLOYMENTS = "/v1/job-deployments"
CODES = {400: "invalid_request", 401: "unauthorized_request", 403: "forbidden_action", 404: "not_found", 405: "invalid_request"}
CODES |= {409: "conflict", 413: "invalid_request", 500: "server_error", 501: "not_implemented", 503: "service_unavailable"}


def write(file: Path, content: Mapping[str, Any] = ALL, **more: Any) -> Path:
    file.write_text(json.dumps({**content, **more}))
    return file


def credentials_of(client: Mapping[str, str]) -> Json:
    """The body that asks for a client's token."""
    return {"grant_type": "client_credentials", "client_id": client["id"], "client_secret": client["secret"]}


def tokens_of(gateway: Gateway, client: Mapping[str, str] = OURS) -> Json:
    return dict(gateway.post(TOKEN_PATH, credentials_of(client), token="").ok())


def access_token(gateway: Gateway, client: Mapping[str, str] = OURS) -> str:
    return str(tokens_of(gateway, client)["access_token"])


def container(**fields: Any) -> Json:
    """Never asked for its health in these tests; it needs a command, since there are no images on this machine."""
    command = {"enabled": True, "entrypoint": [sys.executable, "-c", "import time; time.sleep(600)"]}
    return {"image": "registry.example/group/Random_Logger:1.0", "exposed_port": 8000, "entrypoint_overrides": command, **fields}


def deployment(name: str, **fields: Any) -> Json:
    return {
        "name": name,
        "containers": [container()],
        "compute": {"name": "General Compute", "size": 1},
        "scaling": {"max_replica_count": 2, "queue_message_ttl_seconds": 300, "deadline_seconds": 600},
        **fields,
    }


def is_problem(answer: Answer, status: int, message: str | None = None, *, both: bool = False) -> None:
    """An error as Verda's SDK decodes it; `both`: one that may be for Cortex's clients, too."""
    assert answer.status == status, f"{answer.status}: {answer.body[:1000]!r}"
    body = answer.json()
    assert set(body) == {"code", "message"} | ({"kind"} if both else set()), body
    assert body["code"] == CODES[status] and isinstance(body["message"], str) and body["message"], body
    assert message is None or body["message"] == message, body
