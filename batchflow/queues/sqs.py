"""SQS FIFO queues in high-throughput mode, by boto3; endpoint, region and credentials come from the standard AWS_* variables."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from batchflow import aws
from batchflow.errors import BatchflowError, InvalidInput, NotFound, Unreachable
from batchflow.queues.limits import MAX_WAIT_S, calls, check_count, check_name, refused
from batchflow.queues.protocol import MAX_ENTRIES, Delivery, Depth, Queue, Refused
from batchflow.records import Message
from batchflow.settings import CALL_TIMEOUT_S

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_sqs import SQSClient

__all__ = ["SqsQueue", "SqsQueues"]

RETENTION_S: Final = 14 * 24 * 3600  # the longest that SQS keeps a message
LISTED: Final = 1000  # queues in an answer; without a number, ListQueues never says that there are more
ACCOUNT_TIMEOUT_S: Final = 5
# Three tries to extend a delivery, of which none is answered, take less than the 60 s that it is hidden.
LONGEST_TIMEOUT_S: Final = 10.0
# A queue can be used a second after it was made, says AWS (CreateQueue); until then some of its servers may not know it.
NEW_S: Final = 10.0

_ARN: Final = re.compile(r"arn:aws[a-z-]*:sqs:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<name>[A-Za-z0-9_.-]+)")
_GONE: Final = {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
_EXISTS: Final = {"QueueNameExists", "QueueAlreadyExists"}
_RECENTLY_DELETED: Final = {"QueueDeletedRecently", "AWS.SimpleQueueService.QueueDeletedRecently"}
_DENIED: Final = {"AccessDenied", "AccessDeniedException", "InvalidSecurity", "KmsAccessDenied", "KMS.AccessDeniedException"}
_PERMISSIONS: Final = {"CreateQueue": "sqs:CreateQueue and sqs:TagQueue"}  # of operations that need others than their name says
_PERMANENT: Final = {
    "BatchRequestTooLong",
    "InvalidAddress",
    "InvalidAttributeName",
    "InvalidAttributeValue",
    "InvalidMessageContents",
    "InvalidParameterValue",
    "MissingParameter",
    "UnsupportedOperation",
}


class SqsQueues:
    """The account's queues. Threads share it and its queues: a client takes 60 ms to make and is thread-safe."""

    def __init__(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """`timeout_s`: how long an answer is waited for, 10 s at most."""
        self._timeout_s = min(timeout_s, LONGEST_TIMEOUT_S)

    @cached_property
    def _client(self) -> SQSClient:
        """At first use: a queue's ARN says its region itself."""
        return self._connect()

    def _connect(self, region: str | None = None) -> SQSClient:
        """`region`: None for that of the AWS_* variables."""
        try:
            client: SQSClient = aws.connect("sqs", region, self._timeout_s)
        except NoRegionError as error:
            raise InvalidInput("the region of SQS is not known", where="AWS_REGION", hint="set it, for example to us-west-2") from error
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
            raise InvalidInput(f"SQS can't be used: {error}", hint="check the AWS_* variables") from error
        return client

    def create(self, name: str, *, visibility_s: int, tags: Mapping[str, str]) -> Queue:
        attributes: dict[Any, str] = {
            "FifoQueue": "true",
            "FifoThroughputLimit": "perMessageGroupId",
            "DeduplicationScope": "messageGroup",
            "MessageRetentionPeriod": str(RETENTION_S),
            "VisibilityTimeout": str(visibility_s),
        }
        with _translated("CreateQueue", check_name(name)):
            try:
                url = self._client.create_queue(QueueName=name, Attributes=attributes, tags=dict(tags))["QueueUrl"]
            except ClientError as error:
                if not _codes(error) & _EXISTS:
                    raise
                # It is there with other attributes, such as another step's visibility; each receive says its own.
                url = self._client.get_queue_url(QueueName=name)["QueueUrl"]
        return SqsQueue(self._client, url, new_until=time.monotonic() + NEW_S)

    def open(self, url: str) -> Queue:
        return SqsQueue(self._client, url)

    def find(self, name: str) -> Queue | None:
        try:
            with _translated("GetQueueUrl", check_name(name)):
                return SqsQueue(self._client, self._client.get_queue_url(QueueName=name)["QueueUrl"])
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[str]:
        with _translated("ListQueues", prefix):
            pages = self._client.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": LISTED})
            for page in pages:
                names = (url.rpartition("/")[2] for url in page.get("QueueUrls", ()))
                yield from (name for name in names if name.endswith(".fifo"))

    def open_arn(self, arn: str) -> Queue:
        named = _parsed(arn)
        client = self._connect(named["region"])
        with _translated("GetQueueUrl", arn):
            url = client.get_queue_url(QueueName=check_name(named["name"]), QueueOwnerAWSAccountId=named["account"])["QueueUrl"]
        return SqsQueue(client, url)

    def has_arn(self, arn: str) -> bool:
        """As in the Protocol. A queue of another account that is not shared with us is said not to exist, so nobody knows."""
        try:
            self.open_arn(arn)
        except NotFound as error:
            named = _parsed(arn)
            if _account(named["region"]) in (named["account"], None):
                return False
            raise Unreachable("another account's queue is not there, or not shared with us", where=arn) from error
        return True

    def remove(self, url: str) -> None:
        try:
            with _translated("DeleteQueue", url):
                self._client.delete_queue(QueueUrl=url)
        except NotFound:
            pass


class SqsQueue:
    """One queue. Closing it leaves the client, which its service's other queues use."""

    def __init__(self, client: SQSClient, url: str, *, new_until: float = 0.0) -> None:
        self._client = client
        self._url = url
        self._new_until = new_until
        config: Any = client.meta.config
        self._longest_wait_s = min(int(config.read_timeout / 2), MAX_WAIT_S)

    @property
    def url(self) -> str:
        return self._url

    def send(self, messages: Sequence[Message]) -> list[Refused]:
        """As in the Protocol; what is more than SQS takes at once goes in several calls, one after the other."""
        check_count(len(messages))
        bad = refused(messages)
        never = {id(entry.message) for entry in bad}
        for call in calls([m for m in messages if id(m) not in never]):
            with _translated("SendMessageBatch", self._url, is_new=time.monotonic() < self._new_until):
                response = self._client.send_message_batch(QueueUrl=self._url, Entries=[_entry(i, m) for i, m in enumerate(call)])
            bad += _not_sent(call, response)
        return bad

    def receive(self, limit: int, wait_s: float, visibility_s: int) -> list[Delivery]:
        """As in the Protocol; SQS waits for whole seconds: at least 1 s, and at most 20 s or half of the time that a call may take."""
        check_count(limit)
        with _translated("ReceiveMessage", self._url):
            response = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=min(math.ceil(wait_s), self._longest_wait_s),
                VisibilityTimeout=visibility_s,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId", "MessageDeduplicationId"],
                # When the answer is lost, botocore's next try gets the same messages again instead of leaving them hidden.
                ReceiveRequestAttemptId=str(uuid.uuid4()),
            )
        return [_delivery(found) for found in response.get("Messages", [])]

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        failed: list[Any] = []
        for call in _tens(deliveries):
            entries: list[Any] = [{"Id": str(i), "ReceiptHandle": d.receipt} for i, d in enumerate(call)]
            with _translated("DeleteMessageBatch", self._url):
                failed += self._client.delete_message_batch(QueueUrl=self._url, Entries=entries).get("Failed", [])
        self._check("DeleteMessageBatch", failed)

    def extend(self, deliveries: Sequence[Delivery], visibility_s: int) -> None:
        failed: list[Any] = []
        for call in _tens(deliveries):
            entries: list[Any] = [{"Id": str(i), "ReceiptHandle": d.receipt, "VisibilityTimeout": visibility_s} for i, d in enumerate(call)]
            with _translated("ChangeMessageVisibilityBatch", self._url):
                failed += self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries).get("Failed", [])
        self._check("ChangeMessageVisibilityBatch", failed)

    def depth(self) -> Depth:
        with _translated("GetQueueAttributes", self._url):
            attributes: Mapping[Any, str] = self._client.get_queue_attributes(
                QueueUrl=self._url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            )["Attributes"]
        return Depth(int(attributes["ApproximateNumberOfMessages"]), int(attributes["ApproximateNumberOfMessagesNotVisible"]))

    def close(self) -> None:
        pass

    def _check(self, operation: str, failed: Sequence[Any]) -> None:
        """Raises Unreachable for an entry that failed for another reason than a stale receipt."""
        for entry in failed:
            text = f"{entry['Code']}: {entry.get('Message', '')}"
            # ReceiptHandleIsInvalid; MessageNotInflight; InvalidParameterValue with "… for parameter ReceiptHandle is invalid".
            if "ReceiptHandle" not in text and "MessageNotInflight" not in text:
                raise Unreachable(f"{operation} failed for a message: {text}", where=self._url)


def _parsed(arn: str) -> re.Match[str]:
    """Its region, account and name; raises InvalidInput."""
    match = _ARN.fullmatch(arn)
    if not match:
        raise InvalidInput(f'"{arn}" is not the ARN of a queue', hint="an example: arn:aws:sqs:us-west-2:123456789012:failed.fifo")
    return match


def _account(region: str) -> str | None:
    """Ours; None if AWS does not say, as where SQS is not AWS's own."""
    config = Config(connect_timeout=ACCOUNT_TIMEOUT_S, read_timeout=ACCOUNT_TIMEOUT_S, retries={"total_max_attempts": 1})
    try:
        return str(boto3.session.Session().client("sts", region_name=region, config=config).get_caller_identity()["Account"])
    except (BotoCoreError, ClientError):
        return None


def _entry(number: int, message: Message) -> Any:
    return {
        "Id": str(number),
        "MessageBody": message.body,
        "MessageGroupId": message.group,
        "MessageDeduplicationId": message.dedup,
        "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()},
    }


def _not_sent(call: Sequence[Message], response: Mapping[str, Any]) -> Iterator[Refused]:
    """Those of a call that the answer does not say to be in the queue."""
    sent = {entry["Id"] for entry in response.get("Successful", ())}
    failed = {entry["Id"]: entry for entry in response.get("Failed", ())}
    for number, message in enumerate(call):
        if str(number) in failed:
            entry = failed[str(number)]
            permanent = entry["SenderFault"] and "Throttled" not in entry["Code"]
            yield Refused(message, f"{entry['Code']}: {entry.get('Message', '')}", permanent)
        elif str(number) not in sent:
            yield Refused(message, "SQS does not say what became of it", permanent=False)


def _delivery(found: Mapping[str, Any]) -> Delivery:
    system = found["Attributes"]
    attributes = {name: value["StringValue"] for name, value in found.get("MessageAttributes", {}).items() if "StringValue" in value}
    message = Message(found["Body"], system["MessageGroupId"], system["MessageDeduplicationId"], attributes)
    return Delivery(message, found["ReceiptHandle"], int(system["ApproximateReceiveCount"]))


def _tens(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    return (deliveries[start : start + MAX_ENTRIES] for start in range(0, len(deliveries), MAX_ENTRIES))


def _codes(error: ClientError) -> set[str]:
    """Both names of the error: those of SQS's JSON protocol and of its older query protocol differ."""
    details: Mapping[str, Any] = error.response.get("Error", {})
    return {str(details[key]) for key in ("Code", "QueryErrorCode") if key in details}


@contextmanager
def _translated(operation: str, queue: str, *, is_new: bool = False) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if is_new and _codes(error) & _GONE:
            raise Unreachable("SQS does not know the queue yet", where=queue) from error
        raise _named_error(error, operation, queue) from error
    except NoCredentialsError as error:
        raise Unreachable(
            f"{operation}: no AWS credentials", where=queue, hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except BotoCoreError as error:
        raise Unreachable(f"{operation} failed: {error}", where=queue) from error


def _named_error(error: ClientError, operation: str, queue: str) -> BatchflowError:
    codes = _codes(error)
    if codes & _GONE:
        return NotFound("the queue does not exist", where=queue)
    if codes & _RECENTLY_DELETED:
        return Unreachable("a queue of this name was deleted just now", where=queue, hint="SQS allows it again after 60 seconds")
    if codes & _DENIED and not error.operation_name.startswith("AssumeRole"):  # else the role itself is out of reach
        permission = _PERMISSIONS.get(operation) or "sqs:" + operation.removesuffix("Batch")
        return Unreachable(f"{operation} is denied", where=queue, hint=f"allow {permission} (and the key, if the queue is encrypted)")
    kind = InvalidInput if codes & _PERMANENT else Unreachable
    return kind(f"{operation} failed: {error}", where=queue)
