"""Batch's events in SQS messages, and what becomes of those that are others'."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from miniwdl_cloud.aws.sqs import Message
from miniwdl_cloud.engines.event_queue import (
    DELETE_WITHIN,
    FOREIGN_AGE,
    FOREIGN_RECEIVES,
    BatchEventQueue,
)
from miniwdl_cloud.jobs.push import JobEvent
from miniwdl_cloud.jobs.request import JobSnapshot, JobState

NOW = 1_700_000_000.0


class Queue:
    """An SQS queue that notes what is done."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.deleted: list[str] = []
        self.deletes = 0
        self.given_back: dict[str, int] = {}

    def receive(self, wait_s: int, hold_s: int) -> list[Message]:
        return self.messages

    def delete(self, receipts: Sequence[str]) -> None:
        self.deleted += receipts
        self.deletes += bool(receipts)

    def give_back(self, receipts: Sequence[str], after_s: int) -> None:
        self.given_back.update(dict.fromkeys(receipts, after_s))


def _source(queue: Queue) -> BatchEventQueue:
    return BatchEventQueue(queue, lambda: NOW)  # type: ignore[arg-type]


def _body(**detail: Any) -> str:
    return json.dumps({"source": "aws.batch", "detail": detail})


def _foreign(receipt: str, age_s: float = 0.1, receives: int = 1) -> JobEvent:
    return JobEvent(JobSnapshot("j", JobState.RUNNING), "j", receipt, age_s, receives)


def test_an_event_becomes_a_snapshot() -> None:
    """The event's detail is read as a job of DescribeJobs."""
    body = _body(
        jobId="abc:3",
        jobName="align",
        status="FAILED",
        container={"exitCode": 1, "reason": "why", "logStreamName": "log"},
        arrayProperties={"index": 3},
    )
    (event,) = _source(Queue(Message(body, "r", NOW - 2.5, 4))).receive(5)
    assert (event.name, event.receipt, event.age_s, event.receives) == ("align", "r", 2.5, 4)
    snapshot = event.snapshot
    assert (snapshot.job_id, snapshot.state) == ("abc:3", JobState.FAILED)
    assert (snapshot.exit_code, snapshot.reason, snapshot.log_stream) == (1, "why", "log")


def test_strange_messages_are_deleted() -> None:
    """What is no event of a job is removed, and disturbs nothing."""
    bodies = ["hello", "[]", "{}", '{"detail": null}', _body(jobName="no id")]
    good = Message(_body(jobId="j", jobName="n", status="RUNNING"), "good", NOW, 1)
    queue = Queue(*(Message(body, body, NOW, 1) for body in bodies), good)
    source = _source(queue)
    assert [event.receipt for event in source.receive(5)] == ["good"]
    source.flush()
    assert queue.deleted == bodies


def test_ours_are_deleted_and_others_given_back() -> None:
    """An event of another's job is given back, at once at first, then after a second."""
    queue = Queue()
    source = _source(queue)
    source.settle([_foreign("mine")], [_foreign("new"), _foreign("again", receives=6)])
    source.flush()
    assert queue.deleted == ["mine"]
    assert queue.given_back == {"new": 0, "again": 1}


def test_events_that_nobody_wants_are_dropped() -> None:
    """Too old, or come back too often: their owner has ended."""
    queue = Queue()
    old = _foreign("old", age_s=FOREIGN_AGE + 1)
    often = _foreign("often", receives=FOREIGN_RECEIVES)
    source = _source(queue)
    source.settle([], [old, often])
    source.flush()
    assert queue.deleted == ["old", "often"]
    assert queue.given_back == {}


def test_events_are_deleted_ten_at_a_time() -> None:
    """Single events wait for others for a second, so that one call deletes them; ten go at once."""
    queue, now = Queue(), NOW
    source = BatchEventQueue(queue, lambda: now)  # type: ignore[arg-type]
    for n in range(25):
        source.settle([_foreign(str(n))], [])
    assert (len(queue.deleted), queue.deletes) == (20, 2)
    source.receive(5)
    assert queue.deletes == 2
    now += DELETE_WITHIN
    source.receive(5)
    assert (queue.deleted, queue.deletes) == ([str(n) for n in range(25)], 3)
    source.flush()
    assert queue.deletes == 3
