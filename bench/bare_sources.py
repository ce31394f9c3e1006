"""Where a bare sender's batches come from: lines are put together as they are, nobody looks whether they are JSON.

    lines FILE BATCH_SIZE [BATCHES]             a file
    lines s3://BUCKET/KEY BATCH_SIZE [BATCHES]  an object, streamed by boto3; `.gz` is decompressed
    keys s3://BUCKET/PREFIX BATCH_SIZE [BATCHES]  each object's path, by list_objects_v2

With BATCHES it stops after so many.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

__all__ = ["bodies"]

CHUNK_BYTES = 1 << 20


def bodies(kind: str, url: str, batch_size: str, batches: str = "") -> Iterator[str]:
    """Bodies of messages, JSON arrays; nothing is read before the first is asked for."""
    if url.startswith("s3://"):
        import boto3

        client = boto3.session.Session().client("s3")
        found = _object_lines(client, url) if kind == "lines" else _keys(client, url)
    else:
        found = _file_lines(url)
    return islice(_joined(found, int(batch_size)), int(batches) if batches else sys.maxsize)


def _joined(items: Iterator[bytes], batch_size: int) -> Iterator[str]:
    while some := list(islice(items, batch_size)):
        yield f"[{b','.join(some).decode()}]"


def _file_lines(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from (line[:-1] for line in file)


def _object_lines(client: Any, url: str) -> Iterator[bytes]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    body = client.get_object(Bucket=bucket, Key=key)["Body"]
    if key.endswith(".gz"):
        yield from (line[:-1] for line in gzip.GzipFile(fileobj=body))
    else:
        yield from body.iter_lines(CHUNK_BYTES)


def _keys(client: Any, url: str) -> Iterator[bytes]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            yield json.dumps(f"s3://{bucket}/{found['Key']}").encode()
