"""Access tokens: given for a client's secret, good on every gateway that reads the same file, and dead with the client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from batchflow.gateway.accesstokens import ApiClient, Use, make_token
from tests.acceptance.command import Json, Terminal
from tests.acceptance.gateway.kit import Gateway, serving
from tests.acceptance.gateway.verda_kit import (
    DEPLOYMENTS,
    OUR_KEY,
    OURS,
    SECRETS,
    THEIRS,
    TOKEN_PATH,
    access_token,
    credentials_of,
    is_problem,
    tokens_of,
    write,
)

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def file(shell: Terminal) -> Path:
    return write(shell.folder / "credentials.yaml")


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    file = write(shared_shell.folder / "credentials.yaml")
    with serving(shared_shell, token="", BATCHFLOW_CREDENTIALS=str(file)) as opened:
        yield opened
        told = opened.log() + opened.out.read_text()
        assert not [secret for secret in SECRETS if secret in told]


def opens(gateway: Gateway, token: str) -> bool:
    answer = gateway.get(DEPLOYMENTS, token=token)
    if answer.status != 200:
        is_problem(answer, 401, both=True)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    return answer.status == 200


def test_a_token_has_the_five_keys_and_opens_the_management_api(gateway: Gateway) -> None:
    answer = gateway.post(TOKEN_PATH, credentials_of(OURS))
    tokens = answer.ok()
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 3600, "cloud-api-v1")
    assert answer.headers["Cache-Control"] == "no-store"
    assert opens(gateway, tokens["access_token"]) and tokens["access_token"] not in gateway.log()


def test_a_form_is_taken_as_well(gateway: Gateway) -> None:
    answer = gateway.request("POST", TOKEN_PATH, urlencode(credentials_of(OURS)).encode(), headers=FORM)
    assert opens(gateway, answer.ok()["access_token"])


@pytest.mark.parametrize("more", [{}, {"client_id": OURS["id"], "client_secret": OURS["secret"]}])
def test_a_refresh_token_gives_new_tokens(gateway: Gateway, more: Json) -> None:
    refresh = tokens_of(gateway)["refresh_token"]
    for _ in range(2):
        tokens = gateway.post(TOKEN_PATH, {"grant_type": "refresh_token", "refresh_token": refresh, **more}).ok()
        assert opens(gateway, tokens["access_token"])
        refresh = tokens["refresh_token"]


GOOD = credentials_of(OURS)
ODD_BODIES: dict[str, tuple[str, bytes]] = {
    "empty": ("application/json", b""),
    "an empty form": ("application/x-www-form-urlencoded", b""),
    "no JSON": ("application/json", b"grant_type=client_credentials"),
    "half": ("application/json", json.dumps(GOOD).encode()[:-1]),
    "not UTF-8": ("application/json", b'{"grant_type": "\xff\xfe"}'),
    "a form that is not UTF-8": ("application/x-www-form-urlencoded", b"grant_type=%ff&client_id=\xff"),
    "a form of very many fields": ("application/x-www-form-urlencoded", b"a=b&" * 10_000),
    "a list": ("application/json", json.dumps([GOOD]).encode()),
    "null": ("application/json", b"null"),
    "an unknown grant": ("application/json", json.dumps({**GOOD, "grant_type": "password"}).encode()),
    "a grant that is none": ("application/json", json.dumps({**GOOD, "grant_type": ["client_credentials"]}).encode()),
    "no grant": ("application/json", json.dumps({**GOOD, "grant_type": None}).encode()),
    "no secret": ("application/json", json.dumps({**GOOD, "client_secret": None}).encode()),
    "an empty secret": ("application/json", json.dumps({**GOOD, "client_secret": ""}).encode()),
    "an id that is a number": ("application/json", json.dumps({**GOOD, "client_id": 1}).encode()),
    "no refresh token": ("application/json", b'{"grant_type": "refresh_token"}'),
    "a refresh token that is a map": ("application/json", b'{"grant_type": "refresh_token", "refresh_token": {}}'),
    "nested deeply": ("application/json", b"[" * 60_000),
    "a very long number": ("application/json", b'{"grant_type": ' + b"1" * 10_000 + b"}"),
    "NaN": ("application/json", b'{"grant_type": NaN}'),
    "too large": ("application/json", json.dumps({**GOOD, "more": "a" * 2**17}).encode()),
    "a type of another world": ("multipart/form-data; boundary=", b"--\r\n"),
    "a type that is none": ("; charset=\x80", b""),
}


@pytest.mark.parametrize("name", ODD_BODIES)
def test_what_is_no_request_for_a_token_is_refused(gateway: Gateway, name: str) -> None:
    content_type, body = ODD_BODIES[name]
    is_problem(gateway.request("POST", TOKEN_PATH, body, headers={"Content-Type": content_type}), 400)


def test_without_a_content_type_json_is_expected(gateway: Gateway) -> None:
    assert gateway.request("POST", TOKEN_PATH, json.dumps(GOOD).encode()).status == 200
    is_problem(gateway.request("POST", TOKEN_PATH, b""), 400)


BAD_CLIENTS = [
    {"client_id": "nobody"},
    {"client_secret": OURS["secret"][:-1]},
    {"client_secret": OURS["secret"].upper()},
    {"client_id": THEIRS["id"]},
    {"client_id": OURS["id"], "client_secret": THEIRS["secret"]},
    {"client_secret": "\ud800"},
    {"client_id": "\udcff\0", "client_secret": "\udcff"},
    {"client_id": "nobody", "client_secret": "\0"},
]


@pytest.mark.parametrize("wrong", BAD_CLIENTS, ids=str)
def test_a_wrong_secret_gets_the_answer_of_an_unknown_client(gateway: Gateway, wrong: Json) -> None:
    unknown = gateway.post(TOKEN_PATH, {**GOOD, "client_id": "someone", "client_secret": "else"})
    answer = gateway.post(TOKEN_PATH, {**GOOD, **wrong})
    is_problem(answer, 401)
    assert answer.same_as(unknown)


def client(**changes: str) -> ApiClient:
    return ApiClient(**{**OURS, **changes})


HOUR_S = 3600.0


@pytest.mark.parametrize(
    ("token", "good"),
    [
        (lambda now: make_token(client(), Use.ACCESS, now=now), True),
        (lambda now: make_token(client(), Use.ACCESS, now=now - HOUR_S - 20), True),  # the SDK uses it to the last moment of its own clock
        (lambda now: make_token(client(), Use.ACCESS, now=now - HOUR_S - 70), False),
        (lambda now: make_token(client(), Use.REFRESH, now=now), False),
        (lambda now: make_token(client(secret=THEIRS["secret"]), Use.ACCESS, now=now), False),
        (lambda now: make_token(client(id=THEIRS["id"]), Use.ACCESS, now=now), False),
        (lambda now: make_token(client(id="nobody"), Use.ACCESS, now=now), False),
        (lambda now: make_token(client(), Use.ACCESS, now=now) + "=", False),
        (lambda now: make_token(client(), Use.ACCESS, now=now)[:-1], False),
        (lambda now: make_token(client(), Use.ACCESS, now=now).partition(".")[0] + ".", False),
        (lambda now: make_token(client(), Use.ACCESS, now=now).partition(".")[0], False),
        (lambda now: "." + make_token(client(), Use.ACCESS, now=now).partition(".")[2], False),
        (lambda now: OURS["secret"], False),
        (lambda now: OURS["id"], False),
    ],
)
def test_only_what_was_signed_with_the_clients_secret_opens_and_only_for_its_time(
    gateway: Gateway, token: Callable[[float], str], good: bool
) -> None:
    assert opens(gateway, token(time.time())) is good


@pytest.mark.parametrize(
    ("make", "good"),
    [
        (lambda now: make_token(client(), Use.REFRESH, now=now - 23 * HOUR_S), True),
        (lambda now: make_token(client(), Use.REFRESH, now=now - 25 * HOUR_S), False),
        (lambda now: make_token(client(), Use.ACCESS, now=now), False),
        (lambda now: "a.b", False),
        (lambda now: "\ud800.\udcff", False),
        (lambda now: make_token(client(), Use.REFRESH, now=now).partition(".")[0] + ".\ud800", False),
    ],
)
def test_only_a_refresh_token_of_the_last_day_refreshes(gateway: Gateway, make: Callable[[float], str], good: bool) -> None:
    answer = gateway.post(TOKEN_PATH, {"grant_type": "refresh_token", "refresh_token": make(time.time())})
    if good:
        assert opens(gateway, answer.ok()["access_token"])
    else:
        is_problem(answer, 401)


def test_a_client_that_is_removed_or_gets_another_secret_is_out_at_once(shell: Terminal, file: Path) -> None:
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        ours, theirs = tokens_of(gateway), access_token(gateway, THEIRS)
        refresh = {"grant_type": "refresh_token", "refresh_token": ours["refresh_token"]}
        write(file, clients=[{**OURS, "secret": "another-secret-0123456789"}, THEIRS])
        assert [opens(gateway, token) for token in (ours["access_token"], theirs)] == [False, True]
        is_problem(gateway.post(TOKEN_PATH, refresh), 401)
        is_problem(gateway.post(TOKEN_PATH, credentials_of(OURS)), 401)
        write(file, clients=[OURS])
        assert [opens(gateway, token) for token in (ours["access_token"], theirs)] == [True, False]
        write(file, clients=[])
        assert not opens(gateway, ours["access_token"])
        is_problem(gateway.post(TOKEN_PATH, refresh), 401)


def test_a_token_is_good_on_every_gateway_of_the_file_and_after_a_restart(shell: Terminal, file: Path) -> None:
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as one, serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as other:
        tokens = tokens_of(one)
        assert opens(other, tokens["access_token"])
        refreshed = other.post(TOKEN_PATH, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).ok()
        one.stop()
        one.start()
        assert opens(one, tokens["access_token"]) and opens(one, refreshed["access_token"])


def test_without_credentials_whoever_may_ask_gets_a_token_that_nobody_asks_for(shell: Terminal) -> None:
    with serving(shell) as gateway:
        tokens = tokens_of(gateway, {"id": "any", "secret": "any"})
        refreshed = gateway.post(TOKEN_PATH, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).ok()
        assert all(gateway.get(DEPLOYMENTS, token=token).ok() == [] for token in (refreshed["access_token"], "anything", ""))
        is_problem(gateway.post(TOKEN_PATH, {}), 400)
        is_problem(gateway.post(TOKEN_PATH, GOOD, headers={"Host": "rebound.example"}), 403, both=True)


def test_a_page_in_a_browser_gets_no_token(gateway: Gateway) -> None:
    is_problem(gateway.post(TOKEN_PATH, GOOD, headers={"Origin": "https://attacker.example"}), 403, both=True)


def test_an_authorization_beside_the_clients_own_does_not_matter(gateway: Gateway) -> None:
    for token in ("nonsense", OUR_KEY["key"]):
        assert gateway.post(TOKEN_PATH, GOOD, token=token).status == 200
