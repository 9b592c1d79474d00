"""Amazon SQS: receiving from one queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .error_mapping import map_errors
from .session import AwsSession

BATCH_MAX = 10
"""Messages in one call (API reference, ReceiveMessage and DeleteMessageBatch)."""


@dataclass(frozen=True)
class Message:
    """A message received.

    Parameters
    ----------
    body
        Its text.
    receipt
        What it is deleted or given back with.
    sent
        When it was sent, in seconds since the epoch.
    receives
        How often it was received, this time included.
    """

    body: str
    receipt: str
    sent: float
    receives: int


class SqsQueue:
    """One SQS queue, to receive from.

    Every method raises the errors of `miniwdl_cloud.errors` that `aws.error_mapping` makes of
    botocore's.

    Parameters
    ----------
    session
        Where the client comes from.
    url
        The queue's URL.
    """

    def __init__(self, session: AwsSession, url: str) -> None:
        self._client = session.client("sqs")
        self._url = url

    def receive(self, wait_s: int, hold_s: int) -> list[Message]:
        """Up to ten messages, as soon as there is one.

        Parameters
        ----------
        wait_s
            Seconds to wait for a first one; at most 20.
        hold_s
            Seconds for which nobody else receives them.
        """
        with map_errors(f"receiving from the SQS queue {self._url}"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=BATCH_MAX,
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=hold_s,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        return [_message(found) for found in answer.get("Messages", ())]

    def delete(self, receipts: Sequence[str]) -> None:
        """Delete messages; one that is gone already counts as deleted."""
        with map_errors(f"deleting from the SQS queue {self._url}"):
            self._in_batches(self._client.delete_message_batch, receipts, {})

    def give_back(self, receipts: Sequence[str], after_s: int) -> None:
        """Let others receive messages again.

        Parameters
        ----------
        after_s
            Seconds until then.
        """
        with map_errors(f"giving messages back to the SQS queue {self._url}"):
            self._in_batches(
                self._client.change_message_visibility_batch,
                receipts,
                {"VisibilityTimeout": after_s},
            )

    def _in_batches(
        self, call: Callable[..., Any], receipts: Sequence[str], more: dict[str, Any]
    ) -> None:
        # What fails for a single message is left: it is received again when its time is up.
        for start in range(0, len(receipts), BATCH_MAX):
            entries = [
                {"Id": str(i), "ReceiptHandle": receipt, **more}
                for i, receipt in enumerate(receipts[start : start + BATCH_MAX])
            ]
            call(QueueUrl=self._url, Entries=entries)


def _message(found: dict[str, Any]) -> Message:
    attributes = found.get("Attributes", {})
    return Message(
        body=found["Body"],
        receipt=found["ReceiptHandle"],
        sent=int(attributes.get("SentTimestamp", 0)) / 1000,
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
    )
