"""Queues that have no room for jobs of some size at this time: who has to wait, and who tries.

One job of each such kind is tried again now and then; the others wait without a call, and jobs of
other queues and sizes go on as if nothing were.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..errors import NoCapacity
from .handle import Waiting
from .request import Resources
from .state import Unit

logger = logging.getLogger("miniwdl-cloud.dispatcher")

PAUSE = 0.5
"""Seconds between the first refusal and the next try; twice as long after each further one."""
PAUSE_MOST = 5.0
"""Seconds up to which they become longer: room is mostly made by tasks of the same account that
end, and a try is one call."""


@dataclass
class _Shortage:
    """A queue has no room for jobs of a size."""

    reason: str
    pause: float
    next_try: float
    trying: Unit | None = None


class Room:
    """What is known of the room in queues. The dispatcher's thread owns it."""

    def __init__(self) -> None:
        self._shortages: dict[tuple[str, Resources], _Shortage] = {}
        self._told: set[str] = set()

    def opens_at(self, unit: Unit, now: float) -> float:
        """When a unit may be submitted, as far as room goes; ``now`` at the earliest."""
        shortage = self._shortages.get(_kind(unit))
        if shortage is None:
            return now
        _tell(unit, shortage.reason)
        return max(now, shortage.next_try)

    def trying(self, unit: Unit, now: float) -> None:
        """A unit is being submitted."""
        shortage = self._shortages.get(_kind(unit))
        if shortage is not None:
            shortage.trying = unit
            shortage.next_try = now + shortage.pause

    def refused(self, unit: Unit, error: NoCapacity, now: float) -> None:
        """There was no room for a unit. The log tells it once for each queue."""
        shortage = self._shortages.get(_kind(unit))
        if shortage is None:
            shortage = self._shortages[_kind(unit)] = _Shortage(error.message, PAUSE, now + PAUSE)
        elif shortage.trying is unit:
            shortage.pause = min(PAUSE_MOST, 2 * shortage.pause)
            shortage.next_try = now + shortage.pause
        _tell(unit, shortage.reason)
        queue = unit.request.queue
        if queue not in self._told:
            self._told.add(queue)
            logger.warning("no room in %s: %s", queue, error.message)

    def granted(self, unit: Unit) -> None:
        """There was room for a unit."""
        self._shortages.pop(_kind(unit), None)


def _kind(unit: Unit) -> tuple[str, Resources]:
    return unit.request.queue, unit.request.resources


def _tell(unit: Unit, reason: str) -> None:
    if not unit.told_waiting:
        unit.told_waiting = True
        for job in unit.open_jobs:
            job.handle.tell(Waiting(reason))
