"""Events of a queue service that wake the dispatcher, so that it need not ask.

A `Listener` receives them in a thread of its own; `Arrivals`, which the dispatcher's thread owns,
knows which of them are of this process's jobs, and whether they can be relied on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import Unreachable
from .request import JobSnapshot

logger = logging.getLogger("miniwdl-cloud.push")

LONGEST_RECEIVE = 5
"""Seconds that one receive waits; a closed listener ends after so long."""
VERDICT_WITHIN = 8.0
"""Seconds that the dispatcher may take to look at events."""
LATE = 10.0
"""Seconds that the event of an end may come after polling has seen it; then it counts as missed."""
LAG = 2.0
"""Seconds from which on events come so late that looking is as fast, as when very many come."""
BULK = 150
"""Jobs under way above which events are left alone: each costs a fifth of a call and more, while a
look shows a hundred jobs."""
EXPIRED = 120.0
"""Seconds after which events that were left alone are gone: the retention of the deployment's
queue. Until then they would have to be received before any new ones."""
CROWD = 10
"""Events of other processes' jobs, received at once and none of ours among them, that mean that the
source is full of them."""
CROWD_PAUSE_MOST = 30.0
"""Seconds up to which receiving then pauses, from one second on, twice as long each time."""
GATHER = 0.1
"""Seconds between two receives while several events come at a time, so that one brings more."""
DISTRUST = 60.0
"""Seconds after a missed event during which polling goes on as if there were no events; twice as
many after each further one."""
DISTRUST_MOST = 3600.0
"""Seconds up to which they become more."""


@dataclass(frozen=True)
class JobEvent:
    """A job changed its state.

    Parameters
    ----------
    snapshot
        The job after the change.
    name
        Name of the job; of a child, that of its array job.
    receipt
        What the source knows the event by.
    age_s
        Seconds since the event was sent.
    receives
        How often it was received, by whomever.
    """

    snapshot: JobSnapshot
    name: str
    receipt: str
    age_s: float = 0.0
    receives: int = 1


class EventSource(Protocol):
    """Where events come from. Methods raise the errors of `miniwdl_cloud.errors`."""

    def receive(self, wait_s: int) -> Sequence[JobEvent]:
        """Events, as soon as there are any; none after ``wait_s`` seconds."""

    def settle(self, ours: Sequence[JobEvent], others: Sequence[JobEvent]) -> None:
        """Forget events that were for this process, soon, and let others have theirs, at once."""

    def flush(self) -> None:
        """Do what was put off."""


class Arrivals:
    """Which events are ours, and whether they come. The dispatcher's thread owns it.

    Parameters
    ----------
    clock
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._names: set[str] = set()
        self._awaited: dict[str, dict[str, JobSnapshot]] = {}
        self._owed: dict[str, float] = {}
        self._distrust_s = DISTRUST
        self._distrusted_until = clock()
        self._complained = False
        self._lagging = False
        self._trusted = False
        self._in_bulk = False
        self._resume_at = clock()

    @property
    def healthy(self) -> bool:
        """Whether events come, and soon enough that nobody needs to look."""
        return self._trusted and not self._lagging

    def worth_receiving(self, jobs: int) -> bool:
        """Whether to receive events while so many jobs are under way."""
        now = self._clock()
        if jobs > BULK:
            self._in_bulk = True
            self._trusted = self._lagging = False
            self._owed.clear()
        elif self._in_bulk and jobs <= BULK / 2:
            self._in_bulk = False
            self._resume_at = now + EXPIRED
        return jobs > 0 and not self._in_bulk and now >= self._resume_at

    def crowded(self) -> None:
        """The source is full of other processes' events: ours will be late."""
        self._lagging = True

    def expect(self, name: str) -> None:
        """A job of this name is going to be submitted."""
        self._names.add(name)
        self._awaited[name] = {}

    def submitted(self, names: Sequence[str]) -> dict[str, JobSnapshot]:
        """Jobs of these names have their ids now; returns what events told of them before."""
        early: dict[str, JobSnapshot] = {}
        for name in names:
            early.update(self._awaited.pop(name, {}))
        return early

    def is_ours(self, event: JobEvent) -> bool:
        """Take note of an event, and say whether it is of a job of this process."""
        if event.name not in self._names:
            return False
        snapshot = event.snapshot
        if event.name in self._awaited:
            # Faster than the answer to its submission. Events come in any order.
            early = self._awaited[event.name]
            known = early.get(snapshot.job_id)
            if known is None or not known.state.ended:
                early[snapshot.job_id] = snapshot
        if snapshot.state.ended:
            self._owed.pop(snapshot.job_id, None)
        self._lagging = event.age_s > LAG
        if self._clock() >= self._distrusted_until and not self._in_bulk:
            self._trusted = True
        return True

    def ended_unannounced(self, job_id: str) -> None:
        """Polling saw the end of a job of which no event has told."""
        now = self._clock()
        if not self._lagging and not self._in_bulk and now >= self._resume_at:
            self._owed[job_id] = now + LATE

    def check(self, now: float) -> float:
        """See whether events are missing; returns when to come back."""
        if self._lagging:
            # It may well be among those that are still to be received.
            self._owed.clear()
        # In the order in which they fall due.
        for job_id, due in self._owed.items():
            if due > now:
                return due
            self.distrust(f"none told of the end of job {job_id}")
            break
        return float("inf")

    def distrust(self, why: str) -> None:
        """Go on by polling; once more with events when they come again after a while."""
        self._trusted = self._lagging = False
        self._distrusted_until = self._clock() + self._distrust_s
        self._distrust_s = min(DISTRUST_MOST, self._distrust_s * 2)
        self._owed.clear()
        if not self._complained:
            self._complained = True
            logger.warning("events of the queue service do not arrive, polling instead: %s", why)


class Listener:
    """Receives events in a thread of its own.

    Parameters
    ----------
    source
        Where they come from.
    hand_over
        Given events, returns those that are of other processes' jobs; `None` if there was no time
        to look.
    failed
        Told of an error.
    """

    def __init__(
        self,
        source: EventSource,
        hand_over: Callable[[Sequence[JobEvent]], Sequence[JobEvent] | None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._source = source
        self._hand_over = hand_over
        self._failed = failed
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._crowd_pause = 1.0
        self._thread = threading.Thread(
            target=self._run, name="miniwdl-cloud-listener", daemon=True
        )

    def start(self) -> None:
        """Start the thread; it receives once events are wanted."""
        self._thread.start()

    def want(self, wanted: bool) -> None:
        """Whether there are jobs to hear of. Without, events are left to other processes."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    def close(self) -> None:
        """Let the thread end: at once if it is idle, else when its receive returns."""
        self._closing.set()
        self._wanted.set()

    def join(self, timeout_s: float) -> bool:
        """Await the thread's end; says whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        troubles = 0
        while not self._closing.is_set():
            try:
                # Closing sets both, this one first.
                if self._wanted.is_set() and not self._closing.is_set():
                    self._receive()
                else:
                    self._source.flush()
                troubles = 0
            except Unreachable as exn:
                troubles += 1
                self._failed(exn)
                self._closing.wait(min(30.0, 2.0**troubles))
            except Exception as exn:
                # No permission, no such queue: it will not get better by itself.
                self._failed(exn)
                return
            self._wanted.wait(timeout=1.0)

    def _receive(self) -> None:
        events = self._source.receive(LONGEST_RECEIVE)
        if not events:
            self._crowd_pause = 1.0
            return
        others = self._hand_over(events)
        if others is None:
            # They come again when their time is up; polling may be faster.
            return
        receipts = {event.receipt for event in others}
        self._source.settle([e for e in events if e.receipt not in receipts], others)
        if len(others) == len(events) >= CROWD:
            self._closing.wait(self._crowd_pause)
            self._crowd_pause = min(CROWD_PAUSE_MOST, self._crowd_pause * 2)
            return
        self._crowd_pause = 1.0
        if len(events) > 1:
            self._closing.wait(GATHER)
