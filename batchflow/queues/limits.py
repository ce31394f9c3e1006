"""What SQS lets a message be, so that every queue refuses the same ones, before anything is sent.

Quotas: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
Parameters: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from batchflow.errors import Internal, InvalidInput
from batchflow.queues.protocol import MAX_ENTRIES, Refused
from batchflow.records import Message

__all__ = ["MAX_CALL_BYTES", "MAX_VISIBILITY_S", "MAX_WAIT_S", "calls", "check_count", "check_name", "refused", "size_bytes"]

# Quota "message size", of one message and of all messages of a batch together: bodies, attributes' names, types and values.
MAX_CALL_BYTES: Final = 1_048_576
# Quota "message visibility timeout": 12 hours.
MAX_VISIBILITY_S: Final = 43_200
# Quota "message attributes".
MAX_ATTRIBUTES: Final = 10
# ReceiveMessage's WaitTimeSeconds.
MAX_WAIT_S: Final = 20
# CreateQueue's QueueName.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo")
# SendMessage's MessageGroupId and MessageDeduplicationId.
_ID: Final = re.compile(r"[!-~]{1,128}")
# SendMessage's MessageBody: #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF; attribute values likewise.
_NOT_CARRIED: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE_NAME: Final = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9_.-]{0,254}[A-Za-z0-9_-])?")
_ATTRIBUTE_TYPE_BYTES: Final = len("String")
_NAMES_MOST_BYTES: Final = MAX_ATTRIBUTES * (256 + _ATTRIBUTE_TYPE_BYTES)
_UTF8_MOST_BYTES: Final = 4  # of a character


def check_count(count: int) -> None:
    """Raises Internal if one call can't take that many messages."""
    if not 1 <= count <= MAX_ENTRIES:
        raise Internal(f"{count} messages in one call", hint=f"a queue takes and gives 1 to {MAX_ENTRIES}")


def check_name(name: str) -> str:
    """The name, if it is one of a FIFO queue; else raises InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f'"{name}" is not the name of a FIFO queue', hint="at most 75 letters, digits, - or _, then .fifo")
    return name


def size_bytes(message: Message) -> int:
    """What the message counts for in SQS's quota."""
    texts = (message.body, *message.attributes, *message.attributes.values())
    # Nearly every one is ASCII, and every batch of a job passes here.
    bytes_ = sum(map(len, texts)) if all(map(str.isascii, texts)) else sum(map(_utf8_len, texts))
    return bytes_ + _ATTRIBUTE_TYPE_BYTES * len(message.attributes)


def refused(messages: Sequence[Message]) -> list[Refused]:
    """Those that SQS would never take, each with the reason."""
    reasons = ((message, _reason(message)) for message in messages)
    return [Refused(message, reason, permanent=True) for message, reason in reasons if reason]


def calls(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Cut into calls that keep to `MAX_CALL_BYTES`; the order stays."""
    call: list[Message] = []
    total = 0
    for message in messages:
        size = size_bytes(message)
        if call and total + size > MAX_CALL_BYTES:
            yield call
            call, total = [], 0
        call.append(message)
        total += size
    if call:
        yield call


def _reason(message: Message) -> str:
    """Why SQS would refuse it, or an empty string. Every batch of a job passes here: checks run over all texts at once."""
    texts = (message.body, *message.attributes.values())
    if not all(texts):
        return "the body or an attribute is empty"
    joined = "".join(texts)
    if not _carried(joined):
        return "the body or an attribute has a character that SQS can't carry"
    if not (_ID.fullmatch(message.group) and _ID.fullmatch(message.dedup)):
        return "group and dedup id are not 1 to 128 printable ASCII characters"
    if len(message.attributes) > MAX_ATTRIBUTES:
        return f"it has more than {MAX_ATTRIBUTES} attributes"
    if not all(map(_ATTRIBUTE_NAME.fullmatch, message.attributes)):
        return "an attribute's name has other characters than letters, digits, _, - and ., or more than 256"
    if len(joined) * _UTF8_MOST_BYTES > MAX_CALL_BYTES - _NAMES_MOST_BYTES and size_bytes(message) > MAX_CALL_BYTES:
        return f"it has more than {MAX_CALL_BYTES} bytes"
    return ""


def _carried(text: str) -> bool:
    # Nearly every text is plain ASCII in one line: some ten times faster than the search.
    return (text.isascii() and text.isprintable()) or _NOT_CARRIED.search(text) is None


def _utf8_len(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
