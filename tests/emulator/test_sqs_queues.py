"""SQS of the embedded AWS: what moto does, as fast as events come."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from batch_helper import make_client, unique, wait_until

from miniwdl_cloud.emulator.server import LocalCloud


class Queue:
    """A queue, by its HTTP API."""

    def __init__(self, cloud: LocalCloud, **attributes: str) -> None:
        self.sqs = make_client(cloud, "sqs")
        self.url = self.sqs.create_queue(QueueName=unique("q"), Attributes=attributes)["QueueUrl"]

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def receive(self, wait_s: int = 0, hold_s: int = 600) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=hold_s,
            MessageSystemAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def hold(self, message: dict[str, Any], seconds: int) -> None:
        self.sqs.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds
        )

    def delete(self, message: dict[str, Any]) -> None:
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])


@pytest.fixture
def queue(cloud: LocalCloud) -> Queue:
    """An empty queue."""
    return Queue(cloud)


def test_messages_come_by_tens_and_once(queue: Queue) -> None:
    """Up to ten are received at a time, oldest first; meanwhile nobody else receives them."""
    queue.send(*(f"m{i}" for i in range(12)))
    first, second = queue.receive(), queue.receive()
    assert [m["Body"] for m in first + second] == [f"m{i}" for i in range(12)]
    assert [len(first), len(second), len(queue.receive())] == [10, 2, 0]


def test_a_message_given_back_comes_again(queue: Queue) -> None:
    """With its hold ended it is received again, and says how often it was; its old receipt still
    deletes it."""
    queue.send("m")
    (first,) = queue.receive()
    queue.hold(first, 0)
    (again,) = wait_until(queue.receive, "the message")
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    queue.delete(first)
    queue.delete(again)
    assert queue.receive() == []


def test_a_hold_runs_out(queue: Queue) -> None:
    """What is not deleted in time comes again by itself."""
    queue.send("m")
    assert len(queue.receive(hold_s=1)) == 1
    assert len(queue.receive(wait_s=20)) == 1


def test_a_waiting_receive_returns_with_the_first_message(queue: Queue) -> None:
    """Long polling ends when something comes."""
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(queue.receive(wait_s=20)))
    waiting.start()
    queue.send("m")
    waiting.join(timeout=60)
    assert [m["Body"] for m in found] == ["m"]


def test_an_empty_queue_is_waited_for_in_vain(queue: Queue) -> None:
    """Long polling ends without a message, not before its time."""
    began = time.monotonic()
    assert queue.receive(wait_s=1) == []
    assert time.monotonic() - began >= 1


def test_messages_expire(cloud: LocalCloud) -> None:
    """A message older than the queue's retention is gone."""
    from moto.sqs.models import sqs_backends

    queue = Queue(cloud, MessageRetentionPeriod="60")
    queue.send("old", "new")
    held = sqs_backends["123456789012"][cloud.region].queues[queue.url.rpartition("/")[2]]
    held._messages[0].sent_timestamp -= 61_000
    assert [m["Body"] for m in queue.receive()] == ["new"]


def test_no_message_is_lost_among_deletions(queue: Queue) -> None:
    """Messages that arrive while others are deleted all come."""
    bodies = {f"m{i}" for i in range(60)}
    sender = threading.Thread(target=queue.send, args=sorted(bodies))
    sender.start()
    received: set[str] = set()

    def drain() -> bool:
        for message in queue.receive():
            received.add(message["Body"])
            queue.delete(message)
        return received == bodies

    wait_until(drain, "all messages")
    sender.join(timeout=60)
