"""The other side of a status on S3: list the objects below a prefix, and read each.

    python -m bench.bare_objects BUCKET PREFIX

The last line is {"count"}.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

THREADS = 16


def main() -> None:
    bucket, prefix = sys.argv[1:]
    client = boto3.session.Session().client("s3", config=Config(max_pool_connections=THREADS))
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]

    def read(key: str) -> bytes:
        content: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    with ThreadPoolExecutor(THREADS) as threads:
        records = [json.loads(data) for data in threads.map(read, keys)]
    print(json.dumps({"count": len(records)}), flush=True)


if __name__ == "__main__":
    main()
