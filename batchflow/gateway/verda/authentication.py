"""Verda's token endpoint (spec/verda.md section 2.1)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from batchflow.errors import InvalidInput
from batchflow.gateway.accesstokens import ACCESS_S, ApiClient, Use, client_of, make_token
from batchflow.gateway.body import parse_object, read_body
from batchflow.gateway.credentials import Credentials
from batchflow.gateway.verda.answers import problem

__all__ = ["TokenEndpoint"]

_MAX_BODY_BYTES: Final = 2**16  # of somebody whom nobody knows yet; it stays in memory
_MAX_FIELDS: Final = 100
_SCOPE: Final = "cloud-api-v1"
_ANYBODY: Final = ApiClient("anybody", "", "")  # where there are no credentials, nothing asks for its tokens


class TokenEndpoint:
    """Gives tokens to the clients of the credentials; without credentials to whoever may ask here."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    async def __call__(self, request: Request) -> Response:
        async with read_body(request, _MAX_BODY_BYTES) as body:
            body.seek(0)
            fields = _fields(request.headers.get("content-type", ""), body.read())
        client = self._client(fields)
        if client is None:
            return problem(401, "no such client, or its secret or token is not valid")
        now = time.time()
        tokens = {
            "access_token": make_token(client, Use.ACCESS, now=now),
            "token_type": "Bearer",
            "expires_in": ACCESS_S,
            "refresh_token": make_token(client, Use.REFRESH, now=now),
            "scope": _SCOPE,
        }
        return JSONResponse(tokens, headers={"Cache-Control": "no-store"})

    def _client(self, fields: Mapping[str, Any]) -> ApiClient | None:
        """Whose request it is; raises InvalidInput if it is of no known form."""
        grant_type = _text(fields, "grant_type")
        if grant_type == "client_credentials":
            client_id, secret = _text(fields, "client_id"), _text(fields, "client_secret")
            return self._credentials.authenticated(client_id, secret) if self._credentials else _ANYBODY
        if grant_type == "refresh_token":
            token = _text(fields, "refresh_token")
            return client_of(token, Use.REFRESH, self._credentials.client, now=time.time()) if self._credentials else _ANYBODY
        raise InvalidInput("grant_type should be client_credentials or refresh_token")


def _fields(content_type: str, body: bytes) -> Mapping[str, Any]:
    """Of a form, if the body is said to be one, else of JSON."""
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS))
        except ValueError:
            raise InvalidInput("the body is not a valid form") from None
    return parse_object(body)


def _text(fields: Mapping[str, Any], name: str) -> str:
    text = fields.get(name)
    if not isinstance(text, str) or not text:
        raise InvalidInput(f"{name} should be a string that is not empty")
    return text
