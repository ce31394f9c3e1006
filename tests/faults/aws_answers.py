"""What AWS answers when it refuses a call, and which operation a request is: for SQS's JSON protocol and for S3's REST."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

__all__ = ["SQS_BATCHES", "Answer", "error", "failed_entry", "operation", "throttled"]

Answer = tuple[int, str, Sequence[tuple[str, str]], bytes]  # status, reason, headers, body

# The operations that answer 200 with a list of the entries that failed.
SQS_BATCHES: Final = ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")

_TARGET: Final = "AmazonSQS."
# SQS throttles in two ways: the common errors of AWS's services, and its own error.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
_SQS_THROTTLES: Final = ((400, "ThrottlingException", "Rate exceeded"), (403, "RequestThrottled", "Request is throttled."))
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_BatchResultErrorEntry.html
_SQS_FAILURES: Final = (("InternalError", False), ("ServiceUnavailable", False), ("RequestThrottled", True))


def operation(method: str, path: str, headers: Mapping[str, str]) -> str:
    """The operation's name as AWS has it, such as `SendMessageBatch` or `PutObject`; raises ValueError for one that is not known here."""
    target = headers.get("X-Amz-Target", "")
    if target.startswith(_TARGET):
        return target.removeprefix(_TARGET)
    url = urlsplit(path)
    return _s3_operation(method, "/" in url.path.strip("/"), parse_qs(url.query, keep_blank_values=True))


def _s3_operation(method: str, of_object: bool, query: Mapping[str, Sequence[str]]) -> str:
    if of_object and method == "PUT":
        return "UploadPart" if "uploadId" in query else "PutObject"
    if of_object and method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
    if of_object and method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    if of_object:
        return {"GET": "GetObject", "HEAD": "HeadObject"}[method]
    if method == "POST":
        return "DeleteObjects"
    return {"GET": "ListObjectsV2", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}[method]


def throttled(of_sqs: bool, random: Random) -> Answer:
    """The refusal of a call that is one too many."""
    return _sqs(*random.choice(_SQS_THROTTLES)) if of_sqs else _s3(503, "SlowDown", "Please reduce your request rate.")


def error(of_sqs: bool, random: Random) -> Answer:
    """The service's own fault."""
    if of_sqs:
        return _sqs(*random.choice(((500, "InternalFailure", "An internal error."), (503, "ServiceUnavailable", "Try again later."))))
    return _s3(500, "InternalError", "We encountered an internal error. Please try again.")


def failed_entry(entry: Mapping[str, Any], random: Random) -> dict[str, Any]:
    """An entry of a batch call as one of the failed."""
    code, sender_fault = random.choice(_SQS_FAILURES)
    return {"Id": entry["Id"], "Code": code, "SenderFault": sender_fault, "Message": "Injected."}


def _sqs(status: int, code: str, message: str) -> Answer:
    """With the header by which clients of the older query protocol know the error."""
    side = "Sender" if status < 500 else "Receiver"
    headers = (("Content-Type", "application/x-amz-json-1.0"), ("x-amzn-query-error", f"{code};{side}"))
    return status, code, headers, json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message}).encode()


def _s3(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message><RequestId>0</RequestId></Error>'
    return status, code, (("Content-Type", "application/xml"),), body.encode()
