"""Users' buckets on moto's server, and a gateway that finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from tests.acceptance.command import HANG_S, Terminal
from tests.acceptance.gateway.kit import Gateway, serving


@contextmanager
def serving_with_s3(shell: Terminal, moto: str, *arguments: str, **environ: str) -> Iterator[Gateway]:
    """A gateway that finds users' buckets on moto's server."""
    s3 = {"AWS_ENDPOINT_URL_S3": moto, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with serving(shell, *arguments, **s3, **environ) as gateway:
        yield gateway


def s3_put(moto: str, path: str, body: bytes = b"") -> None:
    """A bucket, or an object: `bucket/key`."""
    host, _, port = moto.removeprefix("http://").partition(":")
    connection = HTTPConnection(host, int(port), timeout=HANG_S)
    try:
        connection.request("PUT", f"/{path}", body)
        answer = connection.getresponse()
        assert answer.status in (200, 409), answer.read()
    finally:
        connection.close()
