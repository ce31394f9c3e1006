"""Which calls a fault hits, and how: rules, and the dice that a seed decides."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from tests.faults import aws_answers
from tests.faults.aws_answers import SQS_BATCHES, Answer

__all__ = ["Dice", "Kind", "Rule"]

Kind = Literal["throttle", "limit", "error", "refuse", "cut", "hang", "slow", "partial", "stale"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of some calls.

    throttle  refused as AWS refuses what is too much: SQS ThrottlingException or RequestThrottled, S3 503 SlowDown
    limit     the same, but only of the calls beyond `per_s` a second, of each operation by itself
    error     500 or 503
    refuse    the connection is reset; the server never sees the call
    cut       the call is done, but the connection ends in the middle of the answer
    hang      no answer for `hang_s`, then the connection ends; if `forwards`, the call is done
    slow      done, but `delay_s` late
    partial   a batch call of SQS: up to half of its entries fail, at least one
    stale     received messages are visible again at once, each of them once: every message is delivered twice
    """

    kind: Kind
    operations: tuple[str, ...] = ()  # such as `SendMessageBatch`, `PutObject`; empty: every
    probability: float = 1.0
    start_s: float = 0.0  # the rule holds from then on, in seconds since it was set
    end_s: float = math.inf
    per_s: float = 300.0
    hang_s: float = 30.0
    forwards: bool = False
    delay_s: float = 1.0


class Dice:
    """Decides about each call of a proxy, and counts. Threads share it."""

    def __init__(self, rules: Sequence[Rule], seed: int) -> None:
        """The first of the rules that a call meets is applied to it."""
        self.calls: Counter[str] = Counter()  # by operation
        self.counts: Counter[str] = Counter()  # by kind
        self._random = Random(seed)
        self._buckets: dict[tuple[Rule, str], _Bucket] = {}
        self._returned: set[str] = set()  # messages that `stale` made visible again
        self._lock = threading.Lock()
        self.replace(rules)

    def replace(self, rules: Sequence[Rule]) -> None:
        """Other rules; their times count from now on."""
        with self._lock:
            self._rules = rules
            self._began = time.monotonic()

    def met(self, operation: str) -> Rule | None:
        """Count a call; the rule that it meets."""
        now = time.monotonic()
        with self._lock:
            self.calls[operation] += 1
            found = next((rule for rule in self._rules if self._meets(rule, operation, now)), None)
            if found and found.kind not in ("partial", "stale"):
                self.counts[found.kind] += 1
            return found

    def refusal(self, rule: Rule, *, of_sqs: bool) -> Answer:
        with self._lock:
            return aws_answers.error(of_sqs, self._random) if rule.kind == "error" else aws_answers.throttled(of_sqs, self._random)

    def part(self, answer: bytes) -> bytes:
        """The beginning of an answer; never all of it."""
        with self._lock:
            return answer[: self._random.randrange(len(answer))]

    def failing(self, entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """What a batch call answers for those of its entries that are to fail."""
        with self._lock:
            shuffled = self._random.sample(list(entries), k=len(list(entries)))
            some = shuffled[: self._random.randint(1, max(1, len(shuffled) // 2))]
            self.counts["partial"] += len(some)
            return [aws_answers.failed_entry(entry, self._random) for entry in some]

    def not_yet_returned(self, messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of a ReceiveMessage that are to be visible again; each is so once."""
        with self._lock:
            new = [found for found in messages if found["MessageId"] not in self._returned]
            self._returned.update(found["MessageId"] for found in new)
            self.counts["stale"] += len(new)
            return new

    def _meets(self, rule: Rule, operation: str, now: float) -> bool:
        if rule.operations and operation not in rule.operations:
            return False
        if not rule.start_s <= now - self._began < rule.end_s:
            return False
        if (rule.kind == "partial" and operation not in SQS_BATCHES) or (rule.kind == "stale" and operation != "ReceiveMessage"):
            return False
        if rule.kind == "limit":
            return not self._buckets.setdefault((rule, operation), _Bucket(rule.per_s, now)).take(now)
        return self._random.random() < rule.probability


class _Bucket:
    """Lets `per_s` calls a second pass, and a second's worth of them at once."""

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._tokens = per_s
        self._at = now

    def take(self, now: float) -> bool:
        self._tokens = min(self._per_s, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
