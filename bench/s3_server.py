"""An S3 server over HTTP that holds the inputs which the bench reads from S3: moto's, but that it answers listings of the keys itself.

    python -m bench.s3_server LINES KEYS [FOLDER]

prints its port once s3://bench/plain/lines.jsonl and s3://bench/gzip/lines.jsonl.gz have LINES items each; s3://bench/keys/ seems to have
KEYS objects, which can only be listed. What is below FOLDER is below s3://bench/store/. It ends when its stdin is closed.
"""

from __future__ import annotations

import gzip
import logging
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

from bench.items import item_lines

__all__ = ["BUCKET", "KEYS", "LINES", "LINES_GZIP", "STORE"]

BUCKET = "bench"
LINES = "plain/lines.jsonl"
LINES_GZIP = "gzip/lines.jsonl.gz"
KEYS = "keys/"
STORE = "store/"
LINE_BYTES = 64
REGION = "us-east-1"
PAGE_KEYS = 1_000  # S3's own
OBJECT = (
    "<Contents><Key>{}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
    "<Size>0</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Listed:
    """Answers ListObjectsV2 below KEYS, a page in some ms; moto takes 300 ms for each, which would be all that is measured."""

    def __init__(self, app: Any, keys: int) -> None:
        self._app = app
        self._keys = keys

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        query = parse_qs(environ["QUERY_STRING"])
        if "list-type" not in query or query.get("prefix") != [KEYS]:
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        body = self._page(int(query.get("continuation-token", ["0"])[0])).encode()
        start_response("200 OK", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    def _page(self, start: int) -> str:
        """The keys from number `start` on; the token of a page is the number of its first key."""
        end = min(start + PAGE_KEYS, self._keys)
        following = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < self._keys else ""
        objects = "".join(OBJECT.format(f"{KEYS}{number:07d}.png") for number in range(start, end))
        more = "true" if following else "false"
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{BUCKET}</Name><Prefix>{KEYS}</Prefix>'
            f"<KeyCount>{end - start}</KeyCount><MaxKeys>{PAGE_KEYS}</MaxKeys><IsTruncated>{more}</IsTruncated>{following}{objects}"
            "</ListBucketResult>"
        )


def fill(lines: int, folder: Path | None) -> None:
    """In this process, not by HTTP."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    content = b"".join(line + b"\n" for line in item_lines(lines, LINE_BYTES - 1))
    backend.create_bucket(BUCKET, REGION)
    backend.put_object(BUCKET, LINES, content)
    backend.put_object(BUCKET, LINES_GZIP, gzip.compress(content, 1))
    if folder:
        for file in (path for path in folder.rglob("*") if path.is_file()):
            backend.put_object(BUCKET, f"{STORE}{file.relative_to(folder)}", file.read_bytes(), disable_notification=True)


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line each request
    fill(int(sys.argv[1]), Path(sys.argv[3]) if sys.argv[3:] else None)
    app = Listed(DomainDispatcherApplication(create_backend_app), int(sys.argv[2]))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
