"""What a worker does next, from what it sees: a pure decision, taken anew at each beat.

Nothing here remembers, waits or calls. Everything that ends a machine is in `decide`, and each of
its lines has its row in ``tests/unit/fleet/test_policy.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What a worker does."""

    STAY = "stay"
    JOIN = "join"
    """Join the swarm."""
    REJOIN = "rejoin"
    """Leave a swarm that does not know this worker any more, and join."""
    SHUTDOWN = "shutdown"
    """Leave the swarm and end the machine."""


class Availability(Enum):
    """What the manager should let the swarm do with a node, in Docker's words."""

    ACTIVE = "active"
    PAUSE = "pause"
    """No further tasks; those that run go on."""
    DRAIN = "drain"
    """No tasks: those that run are stopped, and miniwdl runs them again elsewhere."""


class Notice(Enum):
    """Who is about to take the machine away."""

    SPOT = "spot interruption notice"
    SCALE_IN = "the auto scaling group ends this machine"


@dataclass(frozen=True)
class Limits:
    """How long a worker waits, in seconds.

    Parameters
    ----------
    burst
        Whether this is a burst worker, which leaves when idle.
    idle_s
        How long a burst worker stays without tasks.
    orphan_s
        How long a worker stays outside of the swarm.
    drain_s
        How long tasks have to end after a notice; the notice itself gives two minutes (EC2 User
        Guide, "Spot Instance interruption notices").
    rejoin_s
        How long a worker that the manager does not list waits before it joins anew.
    pause_s
        How long a worker waits for the manager to send it no more tasks before it leaves anyway.
    """

    burst: bool = False
    idle_s: float = 1800.0
    orphan_s: float = 1800.0
    drain_s: float = 60.0
    rejoin_s: float = 60.0
    pause_s: float = 60.0


@dataclass(frozen=True)
class Observation:
    """What a worker sees.

    Parameters
    ----------
    docker
        Docker's ``LocalNodeState`` (``inactive``, ``pending``, ``active``, ``error``, ``locked``),
        or ``unknown`` where the engine does not answer.
    shared
        Whether the shared filesystem can be read and written.
    listed
        Whether the manager's list has this node as ready; ``None`` without a list of recent times.
    manager_answers
        Whether a manager's port takes connections. It counts only without a list: after
        `docker node rm`, and after the manager's loss, a worker's own Docker Engine goes on saying
        that it is active (seen with Docker Engine 20.10).
    since_member_s
        Seconds since this worker was last a member, or since it began to look.
    since_join_s
        Seconds since it last joined the swarm; the manager's list has it only some time later.
    tasks
        Tasks that it has, those that are being started among them.
    idle_s
        Seconds since it last had any.
    availability
        What the manager's list says of this node; ``None`` if it says nothing.
    wish, wish_s
        What this worker last asked the manager for, and how many seconds ago.
    notice, rebalance
        What instance metadata says: the end of the machine, or that it is likelier than others'.
    induced
        Whether a stress test wants this machine gone.
    """

    docker: str = "active"
    shared: bool = True
    listed: bool | None = True
    manager_answers: bool = True
    since_member_s: float = 0.0
    since_join_s: float = math.inf
    tasks: int = 0
    idle_s: float = 0.0
    availability: Availability | None = Availability.ACTIVE
    wish: Availability = Availability.ACTIVE
    wish_s: float = 0.0
    notice: Notice | None = None
    rebalance: bool = False
    induced: bool = False

    @property
    def member(self) -> bool:
        """Whether this worker can get tasks of the swarm and do them."""
        known = self.manager_answers if self.listed is None else self.listed
        return self.docker == "active" and self.shared and known


@dataclass(frozen=True)
class Decision:
    """What a worker is to do.

    Parameters
    ----------
    action
        The deed.
    reason
        Why, for log and heartbeat; empty where nothing is to be said.
    wish
        What the manager should do with the node meanwhile.
    replace
        Of a shutdown: whether the auto scaling group should start another machine instead.
    abrupt
        Of a shutdown: without leaving the swarm first, as a loss would be.
    """

    action: Action
    reason: str = ""
    wish: Availability = Availability.ACTIVE
    replace: bool = False
    abrupt: bool = False


def decide(limits: Limits, seen: Observation) -> Decision:
    """What a worker does next.

    Parameters
    ----------
    limits
        How long it waits for what.
    seen
        What it sees now.
    """
    if seen.induced:
        return Decision(Action.SHUTDOWN, "induced", replace=True, abrupt=True)
    if seen.notice is not None:
        return _after_notice(limits, seen, seen.notice)
    if not seen.member:
        return _outside(limits, seen)
    if limits.burst and seen.tasks == 0 and seen.idle_s >= limits.idle_s:
        return _leave_when_empty(limits, seen, "idle", replace=False)
    if seen.rebalance:
        return _leave_when_empty(limits, seen, "rebalance recommendation", replace=True)
    return Decision(Action.STAY)


def _after_notice(limits: Limits, seen: Observation, notice: Notice) -> Decision:
    waited = seen.wish is Availability.DRAIN and seen.wish_s >= limits.drain_s
    wish = Availability.DRAIN
    # A group that ends a machine has counted it out already; a lost spot machine is replaced.
    if seen.tasks == 0 or waited:
        return Decision(Action.SHUTDOWN, notice.value, wish, replace=True)
    return Decision(Action.STAY, f"{notice.value}: tasks are to move on", wish)


def _outside(limits: Limits, seen: Observation) -> Decision:
    if seen.since_member_s >= limits.orphan_s:
        return Decision(Action.SHUTDOWN, "orphaned", replace=False)
    if not seen.shared:
        return Decision(Action.STAY, "the shared filesystem does not answer")
    if seen.docker == "inactive":
        return Decision(Action.JOIN, "not in the swarm")
    forgotten = seen.docker == "active" and seen.listed is False
    waited = min(seen.since_member_s, seen.since_join_s) >= limits.rejoin_s
    if waited and (forgotten or seen.docker in ("error", "locked")):
        return Decision(Action.REJOIN, "the manager does not know this worker any more")
    return Decision(Action.STAY, f"waiting for the swarm (Docker says {seen.docker})")


def _leave_when_empty(limits: Limits, seen: Observation, reason: str, replace: bool) -> Decision:
    """First no further tasks, then the end: no task comes to a machine that is going."""
    wish = Availability.PAUSE
    paused = seen.availability in (Availability.PAUSE, Availability.DRAIN)
    unheard = seen.wish is wish and seen.wish_s >= limits.pause_s
    if seen.tasks == 0 and (paused or unheard):
        return Decision(Action.SHUTDOWN, reason, wish, replace=replace)
    return Decision(Action.STAY, f"{reason}: no further tasks", wish)
