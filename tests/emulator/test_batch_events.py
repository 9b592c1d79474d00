"""Batch's events in the embedded AWS: what Batch tells EventBridge, and what reaches a queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from batch_helper import Batch, make_client, unique, wait_until

from miniwdl_cloud.emulator.server import LocalCloud


class EventQueue:
    """An SQS queue that rules send to, and what came into it."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.events = make_client(cloud, "events")
        self.sqs = make_client(cloud, "sqs")
        self.name = unique("events")
        self.url = self.sqs.create_queue(QueueName=self.name)["QueueUrl"]
        self.arn = f"arn:aws:sqs:{cloud.region}:123456789012:{self.name}"
        self.rules: list[str] = []
        self.received: list[dict[str, Any]] = []

    def rule(self, pattern: dict[str, Any], allow: bool = True, **target: Any) -> None:
        """Send what matches a pattern here; with ``allow``, the queue's policy lets it in."""
        name = unique("rule")
        self.rules.append(name)
        arn = self.events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
        self.events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": self.arn, **target}])
        if allow:
            statement = {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": self.arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": arn}},
            }
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": policy})

    def receive(self) -> list[dict[str, Any]]:
        """All events so far."""
        answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            self.received.append(json.loads(message["Body"]))
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return self.received

    def statuses(self, job_id: str) -> list[str]:
        """The statuses of a job that events told of, in order."""
        return [e["detail"]["status"] for e in self.receive() if e["detail"]["jobId"] == job_id]

    def remove_rules(self) -> None:
        """Nothing more shall come."""
        for name in self.rules:
            self.events.remove_targets(Rule=name, Ids=["1"])
            self.events.delete_rule(Name=name)


@pytest.fixture
def events(cloud: LocalCloud) -> Iterator[EventQueue]:
    """An event queue without any rule."""
    queue = EventQueue(cloud)
    yield queue
    queue.remove_rules()


ALL = {"source": ["aws.batch"], "detail-type": ["Batch Job State Change"]}


def test_each_change_but_the_submission_is_told(
    batch: Batch, queue: str, events: EventQueue
) -> None:
    """Events tell of every status after SUBMITTED, in Batch's order (Batch user guide, "Job state
    change events")."""
    events.rule(ALL)
    job_id = batch.run(queue, "true")["jobId"]
    wait_until(lambda: "SUCCEEDED" in events.statuses(job_id), "the last event")
    assert events.statuses(job_id) == ["PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED"]


def test_an_event_looks_as_eventbridge_makes_it(
    batch: Batch, queue: str, events: EventQueue, cloud: LocalCloud
) -> None:
    """The envelope is EventBridge's; the detail is what DescribeJobs says."""
    events.rule({**ALL, "detail": {"status": ["FAILED"]}})
    detail = batch.run(queue, "false")
    (event,) = wait_until(events.receive, "the event")
    assert {name: event[name] for name in ("version", "source", "detail-type", "account")} == {
        "version": "0",
        "source": "aws.batch",
        "detail-type": "Batch Job State Change",
        "account": "123456789012",
    }
    assert event["region"] == cloud.region
    assert event["resources"] == [detail["jobArn"]]
    assert event["time"].endswith("Z")
    for name in ("jobId", "jobName", "jobQueue", "status", "statusReason", "attempts"):
        assert event["detail"][name] == detail[name]
    assert event["detail"]["container"]["exitCode"] == 1


def test_arrays_and_their_children_are_told_of(
    batch: Batch, queue: str, events: EventQueue
) -> None:
    """An array job has events of its own, and each child too, with its index."""
    events.rule({**ALL, "detail": {"status": ["SUCCEEDED", "FAILED"]}})
    definition = batch.definition("true")
    array = batch.submit(definition, queue, arrayProperties={"size": 3})
    wait_until(lambda: events.statuses(array) == ["SUCCEEDED"], "the array's event")
    children = {
        e["detail"]["jobId"]: e["detail"]["arrayProperties"]["index"]
        for e in events.receive()
        if e["detail"]["jobId"] != array
    }
    assert children == {f"{array}:{i}": i for i in range(3)}


def test_patterns_are_matched(batch: Batch, events: EventQueue) -> None:
    """A rule of one queue hears nothing of another; content filters work too."""
    mine, other = batch.queue(), batch.queue()
    arn = batch.api.describe_job_queues(jobQueues=[mine])["jobQueues"][0]["jobQueueArn"]
    events.rule({**ALL, "detail": {"jobQueue": [arn], "status": [{"prefix": "SUCC"}]}})
    batch.run(other, "true")
    job_id = batch.run(mine, "true")["jobId"]
    wait_until(events.receive, "the event")
    assert [e["detail"]["jobId"] for e in events.receive()] == [job_id]


def test_a_queue_lets_in_what_its_policy_allows(
    batch: Batch, queue: str, events: EventQueue
) -> None:
    """Without a policy that names EventBridge and the rule nothing arrives, as on AWS."""
    forbidden = EventQueue(batch.cloud)
    try:
        forbidden.rule(ALL, allow=False)
        events.rule(ALL)
        job_id = batch.run(queue, "true")["jobId"]
        wait_until(lambda: "SUCCEEDED" in events.statuses(job_id), "the last event")
        assert forbidden.receive() == []
    finally:
        forbidden.remove_rules()


def test_a_target_with_an_input_path_is_left_to_moto(
    batch: Batch, queue: str, events: EventQueue
) -> None:
    """What a rule makes of an event is what arrives."""
    transformer = {"InputPathsMap": {"job": "$.detail.jobId"}, "InputTemplate": '{"job": "<job>"}'}
    events.rule({**ALL, "detail": {"status": ["SUCCEEDED"]}}, InputTransformer=transformer)
    job_id = batch.run(queue, "true")["jobId"]
    assert wait_until(events.receive, "the event") == [{"job": job_id}]
