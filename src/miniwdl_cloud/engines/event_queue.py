"""Batch's job state changes, from the deployment's event queue in SQS.

Several workflow jobs may share the queue, and SQS gives each message to one of them. So whoever
receives an event of another's job gives it back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from ..aws.sqs import BATCH_MAX, Message, SqsQueue
from ..jobs.push import JobEvent
from .batch_queue import snapshot_of

HOLD = 10
"""Seconds for which nobody else receives events that we are looking at."""
DELETE_WITHIN = 1.0
"""Seconds for which events that are done with wait for others, to be deleted by one call. `HOLD`
allows for these and for the longest receive after them."""
FOREIGN_AGE = 15.0
"""Seconds after which nobody is expected to want an event any more: its owner has ended."""
FOREIGN_RECEIVES = 20
"""Receives after which an event is given up, so that it does not go round for ever."""
FOREIGN_AT_ONCE = 5
"""Receives up to which an event is given back for at once; later, after a second."""


class BatchEventQueue:
    """Implements `jobs.push.EventSource` over SQS messages made by EventBridge.

    Parameters
    ----------
    queue
        The queue.
    clock
        Seconds since the epoch.
    """

    def __init__(self, queue: SqsQueue, clock: Callable[[], float] = time.time) -> None:
        self._queue = queue
        self._clock = clock
        self._done: list[str] = []
        self._oldest_done = 0.0

    def receive(self, wait_s: int) -> Sequence[JobEvent]:
        """Up to ten events; messages that are none are deleted."""
        if self._done and self._clock() - self._oldest_done >= DELETE_WITHIN:
            self.flush()
        events, strange = [], []
        for message in self._queue.receive(wait_s, HOLD):
            event = self._event(message)
            if event is None:
                strange.append(message.receipt)
            else:
                events.append(event)
        self._forget(strange)
        return events

    def settle(self, ours: Sequence[JobEvent], others: Sequence[JobEvent]) -> None:
        """Delete our events, and others' that nobody seems to want; give back the rest."""
        done = [event.receipt for event in ours]
        at_once, later = [], []
        for event in others:
            if event.age_s > FOREIGN_AGE or event.receives >= FOREIGN_RECEIVES:
                done.append(event.receipt)
            elif event.receives <= FOREIGN_AT_ONCE:
                at_once.append(event.receipt)
            else:
                later.append(event.receipt)
        # Others wait for these.
        self._queue.give_back(at_once, 0)
        self._queue.give_back(later, 1)
        self._forget(done)

    def flush(self) -> None:
        """Delete what is done with and not deleted yet."""
        done, self._done = self._done, []
        self._queue.delete(done)

    def _forget(self, receipts: Sequence[str]) -> None:
        if not self._done:
            self._oldest_done = self._clock()
        self._done += receipts
        # What fills calls goes at once.
        full = len(self._done) - len(self._done) % BATCH_MAX
        now, self._done = self._done[:full], self._done[full:]
        self._queue.delete(now)

    def _event(self, message: Message) -> JobEvent | None:
        try:
            detail = json.loads(message.body)["detail"]
            snapshot = snapshot_of(detail)
            name = str(detail["jobName"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        age = max(0.0, self._clock() - message.sent)
        return JobEvent(snapshot, name, message.receipt, age, message.receives)
