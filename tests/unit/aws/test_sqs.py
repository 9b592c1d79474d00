"""Amazon SQS: requests and answers against botocore's model."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import Stubber

from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.aws.sqs import Message, SqsQueue
from miniwdl_cloud.errors import AccessDenied, MiniwdlCloudError, NotFound, Throttled

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"


class Stubbed:
    """A queue whose client answers what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        session = AwsSession("eu-west-1", {"total_max_attempts": 1})
        self.queue = SqsQueue(session, URL)
        self.stub = Stubber(session.client("sqs"))
        self.stub.activate()


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Stubbed:
    """A stubbed queue."""
    return Stubbed(monkeypatch)


def test_receive(sqs: Stubbed) -> None:
    """Ten messages are asked for, with what tells their age and how often they came."""
    found: dict[str, Any] = {
        "Body": "{}",
        "ReceiptHandle": "r",
        "MessageId": "m",
        "Attributes": {"SentTimestamp": "1700000000500", "ApproximateReceiveCount": "3"},
    }
    sqs.stub.add_response(
        "receive_message",
        {"Messages": [found]},
        {
            "QueueUrl": URL,
            "MaxNumberOfMessages": 10,
            "WaitTimeSeconds": 5,
            "VisibilityTimeout": 10,
            "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
        },
    )
    assert sqs.queue.receive(5, 10) == [Message("{}", "r", 1700000000.5, 3)]


def test_receive_nothing(sqs: Stubbed) -> None:
    """An answer without messages is an empty one."""
    sqs.stub.add_response("receive_message", {})
    assert sqs.queue.receive(0, 10) == []


def test_delete_in_batches_of_ten(sqs: Stubbed) -> None:
    """Twelve messages are deleted by two calls; none by no call."""
    for start, end in ((0, 10), (10, 12)):
        sqs.stub.add_response(
            "delete_message_batch",
            {"Successful": [], "Failed": []},
            {
                "QueueUrl": URL,
                "Entries": [
                    {"Id": str(i), "ReceiptHandle": f"r{n}"}
                    for i, n in enumerate(range(start, end))
                ],
            },
        )
    sqs.queue.delete([f"r{i}" for i in range(12)])
    sqs.queue.delete([])
    sqs.stub.assert_no_pending_responses()


def test_give_back(sqs: Stubbed) -> None:
    """Messages given back become visible to others after the time said."""
    sqs.stub.add_response(
        "change_message_visibility_batch",
        {"Successful": [{"Id": "0"}], "Failed": []},
        {
            "QueueUrl": URL,
            "Entries": [{"Id": "0", "ReceiptHandle": "r", "VisibilityTimeout": 1}],
        },
    )
    sqs.queue.give_back(["r"], 1)
    sqs.stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("QueueDoesNotExist", NotFound),
        ("AWS.SimpleQueueService.NonExistentQueue", NotFound),
        ("AccessDenied", AccessDenied),
        ("RequestThrottled", Throttled),
    ],
)
def test_errors(sqs: Stubbed, code: str, kind: type[MiniwdlCloudError]) -> None:
    """Errors are ours, and name the queue."""
    sqs.stub.add_client_error("receive_message", code, "no", 400)
    with pytest.raises(kind) as caught:
        sqs.queue.receive(0, 10)
    assert URL in str(caught.value)
