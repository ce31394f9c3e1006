"""One suite for every queue service: making, finding and removing queues."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchflow.errors import InvalidInput, NotFound
from batchflow.queues import sqs
from batchflow.queues.protocol import Queue, Queues
from batchflow.records import Message

THREE = [Message(f"[{number}]", str(number), str(number)) for number in range(3)]


def test_creating_a_queue_again_finds_it_with_its_messages(queues: Queues, queue: Queue, name: str) -> None:
    queue.send(THREE[:1])
    for visibility_s in (60, 30):
        again = queues.create(name, visibility_s=visibility_s, tags={})
        assert again.url == queue.url
    assert [d.message for d in again.receive(10, 2, 60)] == THREE[:1]
    again.close()


def test_threads_that_create_a_queue_at_once_get_the_same_one(queues: Queues, name: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: queues.create(name, visibility_s=60, tags={}), range(8)))
    assert len({queue.url for queue in made}) == 1
    for number, queue in enumerate(made):
        assert queue.send([Message("[1]", str(number), str(number))]) == []
    assert made[0].depth().visible == 8
    for queue in made:
        queue.close()
    queues.remove(made[0].url)


def test_a_queue_is_opened_by_its_url_name_and_arn(queues: Queues, queue: Queue, name: str, backend: str) -> None:
    account = "000000000000" if backend == "elasticmq" else "123456789012"
    queue.send(THREE)
    by_name = queues.find(name)
    assert by_name is not None
    for other in (by_name, queues.open(queue.url), queues.open_arn(f"arn:aws:sqs:us-east-1:{account}:{name}")):
        assert other.url == queue.url
        assert len(other.receive(1, 2, 60)) == 1
        other.close()


def test_a_name_that_is_not_there_is_not_found(queues: Queues, name: str) -> None:
    assert queues.find(name) is None


def test_queues_are_listed_by_the_start_of_their_names(queues: Queues) -> None:
    start = f"list_{uuid.uuid4().hex[:8]}"
    names = {f"{start}_{number}.fifo" for number in range(3)}
    urls = [queues.create(name, visibility_s=60, tags={}).url for name in sorted(names)]
    assert set(queues.list(start)) == names
    assert set(queues.list(f"{start}_1")) == {f"{start}_1.fifo"}
    assert names <= set(queues.list(""))
    for url in urls:
        queues.remove(url)
    assert list(queues.list(start)) == []


def test_more_queues_than_an_answer_holds_are_all_listed(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", moto)
    monkeypatch.setattr(sqs, "LISTED", 2)
    queues = sqs.SqsQueues()
    names = {f"many_{uuid.uuid4().hex[:8]}_{number}.fifo" for number in range(5)}
    for name in names:
        queues.create(name, visibility_s=60, tags={})
    assert names <= set(queues.list("many_"))


@pytest.mark.parametrize("bad", ["plain", "a b.fifo", "../x.fifo", ".fifo", "x" * 76 + ".fifo"])
def test_a_bad_name_is_refused(queues: Queues, bad: str) -> None:
    for call in (lambda: queues.create(bad, visibility_s=60, tags={}), lambda: queues.find(bad)):
        with pytest.raises(InvalidInput, match="is not the name of a FIFO queue"):
            call()


@pytest.mark.parametrize(
    "bad", ["failed.fifo", "arn:aws:sqs:us-east-1:123456789012:../../x.fifo", "arn:aws:sqs:us-east-1:123456789012:plain"]
)
def test_a_bad_arn_is_refused(queues: Queues, bad: str) -> None:
    with pytest.raises(InvalidInput):
        queues.open_arn(bad)


def test_a_removed_queue_is_not_found_by_those_that_use_it_nor_by_those_that_open_it(queues: Queues, name: str) -> None:
    # Not the one that `create` returned: of a queue as new as that SQS may just not know yet.
    queue = queues.open(queues.create(name, visibility_s=60, tags={}).url)
    queue.send(THREE[:1])
    held = queue.receive(1, wait_s=1, visibility_s=60)
    queues.remove(queue.url)
    queues.remove(queue.url)
    for user in (queue, queues.open(queue.url)):
        for call in (
            lambda user=user: user.send(THREE[1:2]),
            lambda user=user: user.receive(1, 0, 60),
            lambda user=user: user.depth(),
            lambda user=user: user.delete(held),
            lambda user=user: user.extend(held, 60),
        ):
            with pytest.raises(NotFound):
                call()
        user.close()
    assert queues.find(name) is None
