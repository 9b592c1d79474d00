"""Standard queues of moto's SQS at the speed of events from thousands of jobs.

moto looks at every message of a queue several times for each one that it hands out or deletes, and
loses one that arrives while it deletes another. `install` replaces that for standard queues; the
rest of moto's SQS stays. It leans on moto's internals, so moto's version is pinned.
"""

from __future__ import annotations

import copy
import time
import uuid
from typing import Any

from moto.core.utils import unix_time_millis
from moto.sqs.exceptions import ReceiptHandleIsInvalid
from moto.sqs.models import Message, Queue, SQSBackend, _filter_message_attributes

LONGEST_NAP = 1.0
"""Seconds after which a waiting receive looks for messages whose time has come."""


def put(queue: Any, body: str) -> None:
    """Put a message into a queue."""
    message = Message(str(uuid.uuid4()), body)
    message.mark_sent()
    with queue._messages_lock:
        _drop_expired(queue)
        queue.add_message(message)


def install() -> None:
    """Replace what is slow. Doing it again changes nothing."""
    if getattr(SQSBackend.receive_message, "is_ours", False):
        return
    receive_any, change_any = SQSBackend.receive_message, SQSBackend.change_message_visibility

    def receive_message(
        self: Any,
        queue_name: str,
        count: int,
        wait_seconds_timeout: int,
        visibility_timeout: int,
        message_attribute_names: list[str] | None = None,
    ) -> list[Any]:
        queue = self.get_queue(queue_name)
        names = message_attribute_names or []
        if queue.fifo_queue or queue.dead_letter_queue is not None:
            found = receive_any(
                self, queue_name, count, wait_seconds_timeout, visibility_timeout, names
            )
            return list(found)
        return _receive(queue, count, wait_seconds_timeout, visibility_timeout, names)

    def change_message_visibility(
        self: Any, queue_name: str, receipt_handle: str, visibility_timeout: int
    ) -> None:
        queue = self.get_queue(queue_name)
        with queue._messages_lock:
            change_any(self, queue_name, receipt_handle, visibility_timeout)
            queue._messages_lock.notify_all()

    receive_message.is_ours = True  # type: ignore[attr-defined]
    SQSBackend.receive_message = receive_message
    SQSBackend.change_message_visibility = change_message_visibility
    Queue.delete_message = _delete


def _receive(queue: Any, count: int, wait_s: int, hold_s: int, attributes: list[str]) -> list[Any]:
    until = time.monotonic() + wait_s
    with queue._messages_lock:
        while True:
            found = _take(queue, count, hold_s, attributes)
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            queue._messages_lock.wait(min(left, LONGEST_NAP))


def _take(queue: Any, count: int, hold_s: int, attributes: list[str]) -> list[Any]:
    _drop_expired(queue)
    now = unix_time_millis()
    taken = []
    for message in queue._messages:
        if now >= message.visible_at and now >= message.delayed_until:
            message.mark_received(visibility_timeout=hold_s)
            queue.pending_messages.add(message)
            # As it is now: its receipt and its count change when it is received again.
            handed_out = copy.copy(message)
            _filter_message_attributes(handed_out, attributes)
            taken.append(handed_out)
            if len(taken) == count:
                break
    return taken


def _delete(queue: Any, receipt_handle: str) -> None:
    with queue._messages_lock:
        if receipt_handle in queue.deleted_messages:
            return
        for index, message in enumerate(queue._messages):
            if message.had_receipt_handle(receipt_handle):
                del queue._messages[index]
                queue.pending_messages.discard(message)
                queue.deleted_messages.update(message.all_receipt_handles)
                return
    raise ReceiptHandleIsInvalid()


def _drop_expired(queue: Any) -> None:
    """Drop messages older than the queue's retention, which moto keeps."""
    oldest = unix_time_millis() - queue.message_retention_period * 1000
    expired = 0
    # They stand in the order in which they were sent.
    for message in queue._messages:
        if message.sent_timestamp >= oldest:
            break
        queue.pending_messages.discard(message)
        expired += 1
    del queue._messages[:expired]
