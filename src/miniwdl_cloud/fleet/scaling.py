"""How many burst workers there should be, from what waits in the swarm: a pure decision.

Only ever more: workers leave by themselves when idle (`policy`), so nothing here can flap. What
waits has to wait for a while, machines that are coming count as if they were there, and after each
change nothing is asked for a while.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Capacity:
    """What a task reserves, or what a worker has left.

    Parameters
    ----------
    nano_cpus
        CPUs, in Docker's billionths.
    memory
        Bytes.
    """

    nano_cpus: int = 0
    memory: int = 0

    def holds(self, other: Capacity) -> bool:
        """Whether there is room for this much."""
        return self.nano_cpus >= other.nano_cpus and self.memory >= other.memory

    def __add__(self, other: Capacity) -> Capacity:
        return Capacity(self.nano_cpus + other.nano_cpus, self.memory + other.memory)

    def __sub__(self, other: Capacity) -> Capacity:
        return Capacity(self.nano_cpus - other.nano_cpus, self.memory - other.memory)


@dataclass(frozen=True)
class Demand:
    """What is asked of the fleet now.

    Parameters
    ----------
    waiting
        What each waiting task reserves.
    free
        What each worker that takes tasks has left.
    worker
        What a whole burst worker has; ``None`` where none was seen yet.
    desired
        The desired capacity of the burst group.
    bound
        The most that it may become.
    coming
        Machines that the group is to have and that are not in the swarm yet.
    """

    waiting: Sequence[Capacity]
    free: Sequence[Capacity]
    worker: Capacity | None
    desired: int
    bound: int
    coming: int


@dataclass(frozen=True)
class Scaling:
    """What becomes of the burst group.

    Parameters
    ----------
    desired
        Its new desired capacity; ``None`` leaves it.
    reason
        Why, for the log.
    """

    desired: int | None
    reason: str


@dataclass(frozen=True)
class Shortage:
    """What of the waiting tasks has no room.

    Parameters
    ----------
    workers
        Further workers that would give them room.
    tasks
        Tasks that need these.
    too_large
        Tasks that no burst worker has room for.
    """

    workers: int
    tasks: int
    too_large: int


def shortage(demand: Demand) -> Shortage:
    """How many further workers what waits would need: the largest first, each to the first worker
    with room for it, as a bound on what the swarm's own scheduler does."""
    if demand.worker is None:
        # The first that comes shows how large they are.
        known = len(demand.waiting) > 0 and demand.coming == 0
        return Shortage(1 if known else 0, len(demand.waiting), 0)
    rooms = [*demand.free, *[demand.worker] * demand.coming]
    there = len(rooms)
    too_large, placed_in_new = 0, 0
    for task in sorted(demand.waiting, key=lambda task: _share(task, demand.worker), reverse=True):
        index = next((i for i, room in enumerate(rooms) if room.holds(task)), None)
        if index is None:
            if not demand.worker.holds(task):
                too_large += 1
                continue
            index = len(rooms)
            rooms.append(demand.worker)
        rooms[index] = rooms[index] - task
        placed_in_new += index >= there
    return Shortage(len(rooms) - there, placed_in_new, too_large)


def _share(task: Capacity, worker: Capacity | None) -> float:
    """The part of a worker that a task takes."""
    if worker is None:
        return 0.0
    cpus = task.nano_cpus / worker.nano_cpus if worker.nano_cpus else math.inf
    memory = task.memory / worker.memory if worker.memory else math.inf
    return max(cpus, memory)


class Scaler:
    """Decides over time: what waits only for a moment starts no machine.

    Parameters
    ----------
    wait_s
        Seconds that tasks have to have been without room, and that pass between two changes.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._short_since: float | None = None
        self._changed_at: float | None = None

    def decide(self, now: float, demand: Demand) -> Scaling:
        """What to do about the burst group.

        Parameters
        ----------
        now
            Seconds of any clock that does not jump.
        demand
            What is asked of the fleet now.
        """
        short = shortage(demand)
        if short.workers == 0:
            self._short_since = None
            return Scaling(None, self._why_not(demand, short))
        if self._short_since is None:
            self._short_since = now
        text = f"{short.tasks} waiting tasks would take {short.workers} more workers"
        if demand.desired >= demand.bound:
            return Scaling(None, f"{text}, but {demand.bound} is the bound")
        if now - self._short_since < self._wait_s:
            return Scaling(None, f"{text}; not for {self._wait_s:g} s yet")
        if self._changed_at is not None and now - self._changed_at < self._wait_s:
            return Scaling(None, f"{text}; the last change is less than {self._wait_s:g} s ago")
        desired = min(demand.desired + short.workers, demand.bound)
        return Scaling(desired, f"{text}: {demand.desired} -> {desired} (bound {demand.bound})")

    def changed(self, now: float) -> None:
        """Note that the desired capacity was changed."""
        self._changed_at = now

    @staticmethod
    def _why_not(demand: Demand, short: Shortage) -> str:
        if short.too_large:
            return f"{short.too_large} waiting tasks are too large for any burst worker"
        if not demand.waiting:
            return "nothing waits"
        coming = f", {demand.coming} of which are coming" if demand.coming else ""
        return f"{len(demand.waiting)} waiting tasks have room on the workers{coming}"
