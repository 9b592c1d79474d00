"""What a person sees of a fleet: its workers, what they do, and what waits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import NotFound, UsageError
from .policy import Availability
from .scaling import Capacity
from .swarm import Node, Snapshot
from .tree import FleetTree

RECENT_S = 3600.0
"""Seconds for which a worker that is not in the swarm any more is shown."""
ALIVE_S = 120.0
"""Seconds after its last heartbeat for which a worker is taken to live."""
GIB = 2**30


@dataclass(frozen=True)
class WorkerStatus:
    """A worker.

    Parameters
    ----------
    host, address, instance_id
        Its names; the last two are empty where they are not known.
    state
        ready, paused, draining, drained, down, joining, lost or ended, and why it ended.
    kind
        burst or persistent; empty where it never said.
    tasks, reserved, capacity
        How many tasks it has, what they reserve, and all that it has.
    load
        Its load average of a minute.
    beat_age_s
        Seconds since its last heartbeat.
    """

    host: str
    address: str
    instance_id: str
    state: str
    kind: str
    tasks: int
    reserved: Capacity
    capacity: Capacity
    load: float | None
    beat_age_s: float | None


@dataclass(frozen=True)
class FleetStatus:
    """A fleet.

    Parameters
    ----------
    workers
        Its workers, by name.
    waiting, waiting_for
        How many tasks wait for a worker, and what they reserve in all.
    used, size
        Bytes of the shared filesystem.
    """

    workers: tuple[WorkerStatus, ...]
    waiting: int
    waiting_for: Capacity
    used: int
    size: int

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints; ``version`` changes when a member changes its meaning or goes."""
        return {"version": 1, **asdict(self)}


def fleet_status(snapshot: Snapshot, tree: FleetTree) -> FleetStatus:
    """What there is to be seen.

    Parameters
    ----------
    snapshot, tree
        The swarm and the fleet's directory.
    """
    now = time.time()
    hosts = {host: tree.worker(host) for host in tree.hosts()}
    facts = {host: files.facts() for host, files in hosts.items()}
    workers, seen = [], set()
    for node in snapshot.nodes:
        if node.manager:
            continue
        # An earlier machine of the same name may be there still, as a node that is down.
        known = facts.get(node.host, {})
        own = known if known.get("node_id") == node.node_id else {}
        if own:
            seen.add(node.host)
        beat = hosts[node.host].beat_time() if own else None
        reason = hosts[node.host].shutdown_reason() if own else None
        age_s = None if beat is None else now - beat
        workers.append(_of_node(node, snapshot, own, reason, age_s))
    for host, files in hosts.items():
        beat = files.beat_time()
        if host not in seen and beat is not None and now - beat < RECENT_S:
            reason = files.shutdown_reason()
            state = "joining" if now - beat < ALIVE_S else "lost"
            state = state if reason is None else f"ended: {reason}"
            workers.append(_outside(host, state, facts[host], now - beat))
    room = os.statvfs(tree.directory)
    total = Capacity()
    for one in snapshot.waiting:
        total = total + one
    return FleetStatus(
        tuple(sorted(workers, key=lambda one: (one.host, one.state))),
        len(snapshot.waiting),
        total,
        (room.f_blocks - room.f_bfree) * room.f_frsize,
        room.f_blocks * room.f_frsize,
    )


def _of_node(
    node: Node,
    snapshot: Snapshot,
    facts: dict[str, Any],
    reason: str | None,
    age_s: float | None,
) -> WorkerStatus:
    # Nobody knows what became of the tasks of a node that is down; they are run elsewhere.
    up = node.state == "ready"
    tasks = len(snapshot.tasks_of(node)) if up else 0
    state = node.state
    if up and node.availability is Availability.PAUSE:
        state = "paused"
    elif up and node.availability is Availability.DRAIN:
        state = "draining" if tasks else "drained"
    elif reason is not None:
        state = f"ended: {reason}"
    return WorkerStatus(
        node.host,
        node.address,
        facts.get("instance_id") or "",
        state,
        _kind(facts),
        tasks,
        snapshot.reserved(node) if up else Capacity(),
        node.capacity,
        facts.get("load"),
        age_s,
    )


def _outside(host: str, state: str, facts: dict[str, Any], age_s: float) -> WorkerStatus:
    nothing = Capacity()
    instance = facts.get("instance_id") or ""
    return WorkerStatus(host, "", instance, state, _kind(facts), 0, nothing, nothing, None, age_s)


def _kind(facts: dict[str, Any]) -> str:
    if "burst" not in facts:
        return ""
    return "burst" if facts["burst"] else "persistent"


def lines(status: FleetStatus) -> Iterator[str]:
    """The fleet as text."""
    head = ("WORKER", "STATE", "KIND", "TASKS", "CPUS", "GIB", "LOAD", "HEARTBEAT")
    yield from _columns([head, *(_cells(worker) for worker in status.workers)])
    if not status.workers:
        yield "no workers"
    cpus, gib = status.waiting_for.nano_cpus / 1e9, status.waiting_for.memory / GIB
    waiting = f"{status.waiting:,} tasks wait for a worker"
    yield f"{waiting}: {cpus:g} CPUs, {gib:.1f} GiB" if status.waiting else "no tasks wait"
    share = status.used / status.size if status.size else 0.0
    yield f"shared filesystem: {share:.0%} of {status.size / GIB:,.0f} GiB used"


def _cells(worker: WorkerStatus) -> tuple[str, ...]:
    cpus = f"{worker.reserved.nano_cpus / 1e9:g}/{worker.capacity.nano_cpus / 1e9:g}"
    gib = f"{worker.reserved.memory / GIB:.1f}/{worker.capacity.memory / GIB:.1f}"
    return (
        worker.host,
        worker.state,
        worker.kind or "-",
        str(worker.tasks),
        cpus,
        gib,
        "-" if worker.load is None else f"{worker.load:.2f}",
        "-" if worker.beat_age_s is None else f"{max(0.0, worker.beat_age_s):.0f} s ago",
    )


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def find_worker(snapshot: Snapshot, name: str) -> Node:
    """The worker that a person means by a host name, or its beginning, or an address.

    Raises
    ------
    NotFound, UsageError
        There is none, or there are several.
    """
    workers = [n for n in snapshot.nodes if not n.manager]
    exact = [n for n in workers if name in (n.host, n.address, n.node_id)]
    found = exact or [n for n in workers if n.host.startswith(name)]
    # A machine that was replaced by another of its name is not meant.
    found = [n for n in found if n.state == "ready"] or found
    if not found:
        known = ", ".join(sorted({n.host for n in workers})) or "none"
        raise NotFound(f"There is no worker '{name}' in the swarm; there are: {known}.")
    if len(found) > 1:
        raise UsageError(
            f"'{name}' may be {' or '.join(sorted(n.host for n in found))}; write more of it."
        )
    return found[0]
