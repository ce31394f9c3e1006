"""What of a request's body a namespace may have in hand, and when one that stands still is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from batchflow.errors import InvalidInput
from batchflow.gateway import body as body_module
from batchflow.gateway import share as share_module
from batchflow.gateway.body import read_body
from batchflow.gateway.share import Share

IDLE_S = 0.5


def request(chunks: AsyncIterator[bytes]) -> Request:
    """One whose body is these chunks; an empty one ends it."""

    async def receive() -> dict[str, Any]:
        chunk = await anext(chunks)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def settled() -> None:
    """Until whatever can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_namespace_has_so_many_bodies_in_hand_and_another_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_module, "_BODIES", 3)

    async def check() -> None:
        ours, theirs = Share(), Share()
        begun: list[str] = []
        sent = asyncio.Event()

        async def chunks(who: str) -> AsyncIterator[bytes]:
            begun.append(who)
            yield b"a"
            await sent.wait()
            yield b""

        async def take(share: Share, who: str) -> int:
            async with share.body(request(chunks(who))) as body:
                return body.tell()

        taken = [asyncio.create_task(take(ours, "ours")) for _ in range(5)]
        await settled()
        taken.append(asyncio.create_task(take(theirs, "theirs")))
        await settled()
        assert begun == ["ours"] * 3 + ["theirs"]
        sent.set()
        assert await asyncio.gather(*taken) == [1] * 6
        assert begun.count("ours") == 5

    asyncio.run(check())


def test_a_body_that_comes_slowly_is_taken_and_one_that_stands_still_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "_IDLE_S", IDLE_S)

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(10):
            await asyncio.sleep(IDLE_S / 5)
            yield b"a"
        yield b""

    async def still() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    async def check() -> None:
        async with read_body(request(slow())) as body:
            assert body.tell() == 10
        with pytest.raises(InvalidInput, match="nothing of the request's body came"):
            async with read_body(request(still())):
                pass

    asyncio.run(check())
