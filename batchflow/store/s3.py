"""Job records and users' files on S3, by boto3; endpoint, region and credentials come from the standard AWS_* variables."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from batchflow import aws
from batchflow.errors import BatchflowError, InvalidInput, NotFound, Unreachable
from batchflow.settings import CALL_TIMEOUT_S
from batchflow.store.protocol import SourceFile, check_folder, check_key
from batchflow.store.streams import GuardedStream, changed

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Files", "S3Store", "connect"]

# DeleteObjects: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
MAX_DELETE_KEYS: Final = 1000
# A larger file is stored in parts. S3 takes 10,000, of at least 5 MiB: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PART_BYTES: Final = 8 << 20
MAX_PARTS: Final = 5_000
# Quota "object key names": https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES: Final = 1024
# PutObject with If-None-Match answers 409 when it meets another write of the key: to be tried again, says
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
CONFLICT_WAITS_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)

_PATH: Final = re.compile(r"s3://(?P<bucket>[A-Za-z0-9._-]{3,255})(?:/(?P<key>.*))?", re.DOTALL)
_NO_KEY: Final = {"NoSuchKey", "404"}
_NO_BUCKET: Final = {"NoSuchBucket"}
_FAILED_CONDITION: Final = {"PreconditionFailed", "412"}
_CONFLICT: Final = {"ConditionalRequestConflict", "409"}
_DENIED: Final = {"AccessDenied", "403"}
_PERMISSIONS: Final = {
    "GetObject": "s3:GetObject and s3:ListBucket",  # without the second S3 denies what does not exist
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "DeleteObjects": "s3:DeleteObject",
}


def connect(timeout_s: float = CALL_TIMEOUT_S) -> S3Client:
    """A client for any number of threads, which waits that long for an answer; raises InvalidInput if the AWS_* variables make none."""
    try:
        client: S3Client = aws.connect("s3", None, timeout_s)
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise InvalidInput(f"S3 can't be used: {error}", hint="check the AWS_* variables") from error
    return client


class S3Store:
    """Processes and threads may share it."""

    def __init__(self, client: S3Client, url: str) -> None:
        """`url`: `s3://bucket` or `s3://bucket/prefix`."""
        self._client = client
        self._bucket, prefix = _split(url.rstrip("/"), "BATCHFLOW_STORE")
        self._prefix = f"{check_key(prefix)}/" if prefix else ""

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, data: bytes) -> None:
        with _translated("PutObject", f"{self.url}/{key}"):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data)

    def put_file(self, key: str, file: BinaryIO, size_bytes: int) -> None:
        """As in the Protocol; the parts of a large one become an object when it was read to its end, or are deleted."""
        part_bytes = max(PART_BYTES, size_bytes // MAX_PARTS)
        config = TransferConfig(
            multipart_threshold=part_bytes,
            multipart_chunksize=part_bytes,
            use_threads=False,  # one part in memory at a time
            preferred_transfer_client="classic",
        )
        with _translated("PutObject", f"{self.url}/{key}"):
            self._client.upload_fileobj(cast(BinaryIO, _Unseekable(file)), self._bucket, self._key(key), Config=config)

    def create(self, key: str, data: bytes) -> bool:
        """As in the Protocol; False also if this very write was done, but its answer lost and the request repeated."""
        with _translated("PutObject", f"{self.url}/{key}"):
            for wait_s in CONFLICT_WAITS_S:
                try:
                    self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data, IfNoneMatch="*")
                except ClientError as error:
                    if _code(error) in _FAILED_CONDITION:
                        return False
                    if _code(error) not in _CONFLICT:
                        raise
                    time.sleep(wait_s)
                else:
                    return True
        raise Unreachable("others keep writing it", where=f"{self.url}/{key}")

    def get(self, key: str) -> bytes | None:
        with _translated("GetObject", f"{self.url}/{key}"):
            try:
                return self._client.get_object(Bucket=self._bucket, Key=self._key(key))["Body"].read()
            except ClientError as error:
                if _code(error) in _NO_KEY:
                    return None
                raise

    def open(self, key: str) -> BinaryIO | None:
        where = f"{self.url}/{key}"
        with _translated("GetObject", where):
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=self._key(key))["Body"]
            except ClientError as error:
                if _code(error) in _NO_KEY:
                    return None
                raise
        return io.BufferedReader(GuardedStream(body, lambda: _translated("GetObject", where)))

    def list(self, prefix: str) -> Iterator[str]:
        folder, slash, _ = prefix.rpartition("/")
        if slash:
            check_key(folder)
        with _translated("ListObjectsV2", f"{self.url}/{prefix}"):
            for file in _listed(self._client, self._bucket, self._prefix + prefix):
                yield file.path.removeprefix(f"s3://{self._bucket}/{self._prefix}")

    def folders(self, prefix: str) -> Iterator[str]:
        check_folder(prefix)
        whole = self._prefix + prefix
        with _translated("ListObjectsV2", f"{self.url}/{prefix}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=whole, Delimiter="/"):
                for found in page.get("CommonPrefixes", []):
                    yield found["Prefix"].removeprefix(whole).removesuffix("/")

    def delete(self, keys: Iterable[str]) -> None:
        left = iter(keys)
        while some := list(islice(left, MAX_DELETE_KEYS)):
            objects: list[Any] = [{"Key": self._key(key)} for key in some]
            with _translated("DeleteObjects", self.url):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            for failed in answer.get("Errors", []):  # of a single object, also a denial
                error = ClientError({"Error": {"Code": failed.get("Code", ""), "Message": failed.get("Message", "")}}, "DeleteObjects")
                raise _named_error(error, "DeleteObjects", f"s3://{self._bucket}/{failed.get('Key', '')}")

    def _key(self, key: str) -> str:
        whole = self._prefix + check_key(key)
        if len(whole.encode()) > MAX_KEY_BYTES:
            raise InvalidInput(f"S3 takes names of up to {MAX_KEY_BYTES} bytes", where=f"{self.url}/{key}", hint="use shorter ones")
        return whole


class _Unseekable:
    """Hides that a stream can seek: boto3 then reads it once, from front to end, and knows of the end only by having read it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class S3Files:
    """Users' files below `s3://`, as they are stored; see `sources.StoredFiles`."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    def list(self, prefix: str) -> Iterator[SourceFile]:
        bucket, key = _split(prefix)
        try:
            with _translated("ListObjectsV2", prefix):
                for file in _listed(self._client, bucket, key):
                    if not file.path.endswith("/"):
                        yield file
        except NotFound as error:
            raise InvalidInput(error.what, kind="aws.bucket_not_found") from error

    def open(self, file: SourceFile) -> io.RawIOBase:
        """Every request, also one that follows a broken connection, asks for the content that was listed."""
        import smart_open.s3  # 0.35 s

        bucket, key = _split(file.path)
        condition = {"S3.Client.get_object": {"IfMatch": file.etag}}
        with _as_listed(file.path):
            stored = smart_open.s3.open(bucket, key, "rb", client=self._client, client_kwargs=condition)
        return GuardedStream(stored, lambda: _as_listed(file.path))


def _split(path: str, where: str = "") -> tuple[str, str]:
    """Bucket, and key or prefix."""
    match = _PATH.fullmatch(path)
    if not match:
        raise InvalidInput(f'"{path}" is not a valid s3 path (e.g. s3://bucket/folder/)', where=where, kind="aws.invalid_s3_path")
    return match["bucket"], match["key"] or ""


def _listed(client: S3Client, bucket: str, prefix: str) -> Iterator[SourceFile]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            yield SourceFile(f"s3://{bucket}/{found['Key']}", found["ETag"], found["Size"])


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _as_listed(path: str) -> Iterator[None]:
    """The errors of smart_open, which wraps those of botocore in OSErrors."""
    with _translated("GetObject", path):
        try:
            yield
        except OSError as error:
            cause = getattr(error, "backend_error", None)
            if not isinstance(cause, ClientError):
                raise Unreachable(f"can't be read: {error}", where=path) from error
            if _code(cause) in _FAILED_CONDITION | _NO_KEY:
                raise changed(path) from error
            raise cause from error


@contextmanager
def _translated(operation: str, where: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _named_error(error, operation, where) from error
    except NoCredentialsError as error:
        raise Unreachable(
            f"{operation}: no AWS credentials", where=where, hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except BotoCoreError as error:
        raise Unreachable(f"{operation} failed: {error}", where=where) from error


def _named_error(error: ClientError, operation: str, where: str) -> BatchflowError:
    code = _code(error)
    if code in _NO_BUCKET:
        return NotFound(f'bucket "{_split(where)[0]}" not found', where=where)
    if code in _DENIED and not error.operation_name.startswith("AssumeRole"):  # else the role itself is out of reach
        return Unreachable(f"{operation} is denied", where=where, hint=f"allow {_PERMISSIONS[operation]}")
    return Unreachable(f"{operation} failed: {error}", where=where)
