"""The daemon of the manager: says how to join and who is in the swarm, does what workers ask for,
forgets lost workers, and raises the burst group for tasks that wait."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import MiniwdlCloudError
from ..settings import Settings
from .config import OFF, ON, FleetConfig
from .policy import Availability
from .scaling import Capacity, Demand, Scaler
from .swarm import Snapshot, Swarm
from .tree import FleetTree, Member

if TYPE_CHECKING:
    from ..aws.autoscaling import AutoScaling, Group

logger = logging.getLogger(__name__)

BOOT_S = 900.0
"""Seconds after which an instance that has not joined the swarm is not counted as coming."""


def auto_scaling(settings: Settings, region: str | None = None) -> AutoScaling:
    """EC2 Auto Scaling, as the settings say.

    Parameters
    ----------
    settings
        Where Region and retries come from.
    region
        The Region, if a person said it.

    Raises
    ------
    ConfigurationError
        No Region is known.
    """
    from ..aws.autoscaling import AutoScaling
    from ..aws.session import AwsSession

    # boto3 itself does not read this variable.
    region = region or settings.get(s.REGION) or s.environment().get("AWS_REGION")
    return AutoScaling(AwsSession(region, settings.get(s.BOTO3_RETRIES)))


class Manager:
    """What the manager knows from one beat to the next.

    Parameters
    ----------
    config
        The fleet's settings.
    swarm
        The Docker Engine, a manager of the swarm.
    tree
        The fleet's directory.
    groups
        EC2 Auto Scaling; ``None`` where nothing is to be scaled.
    clock
        Seconds that do not jump.
    """

    def __init__(
        self,
        config: FleetConfig,
        swarm: Swarm,
        tree: FleetTree,
        groups: AutoScaling | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._swarm = swarm
        self._tree = tree
        self._groups = groups
        self._clock = clock
        self._beats = itertools.count(time.time_ns())
        self._down_since: dict[str, float] = {}
        self._burst = BurstGroup(clock)
        self._scaler = Scaler(config.scale_wait_s)
        self._said: dict[str, str] = {}

    def run(self, stop: threading.Event) -> None:
        """Look and act until told to stop."""
        while not stop.is_set():
            self.beat()
            stop.wait(self._config.period_s)

    def beat(self) -> None:
        """Look and act once; what fails is logged, and tried again at the next beat."""
        snapshot = self._step("swarm", self._swarm.snapshot)
        if snapshot is None:
            return
        self._step("list", lambda: self._publish(snapshot))
        self._step("wishes", lambda: self._fulfil(snapshot))
        self._step("lost", lambda: self._forget(snapshot))
        if self._config.scale != OFF:
            self._step("scaling", lambda: self._scale(snapshot))

    def _publish(self, snapshot: Snapshot) -> None:
        self._tree.publish_join(self._swarm.join_info())
        members = {
            node.node_id: Member(node.state, node.availability, len(snapshot.tasks_of(node)))
            for node in snapshot.nodes
        }
        self._tree.publish_members(members, next(self._beats))

    def _fulfil(self, snapshot: Snapshot) -> None:
        """Do what workers ask for. A node that a person has drained is left as it is."""
        nodes = {node.node_id: node for node in snapshot.nodes}
        for host in self._tree.hosts():
            wish = self._tree.worker(host).wish()
            node = nodes.get(wish[1]) if wish else None
            if wish is None or node is None or node.manager or node.state != "ready":
                continue
            wanted = wish[0]
            if wanted is node.availability or node.availability is Availability.DRAIN:
                continue
            self._swarm.set_availability(node.node_id, wanted)
            logger.info("worker %s: availability %s, as it asks", node.host, wanted.value)

    def _forget(self, snapshot: Snapshot) -> None:
        """Remove workers from the swarm that were lost long ago."""
        now = self._clock()
        down = {n.node_id: n for n in snapshot.nodes if n.state == "down" and not n.manager}
        self._down_since = {one: self._down_since.get(one, now) for one in down}
        for node_id, since in self._down_since.items():
            if now - since >= self._config.forget_s:
                self._swarm.forget(node_id)
                logger.info("worker %s was lost, and is forgotten", down[node_id].host)

    def _scale(self, snapshot: Snapshot) -> None:
        if self._groups is None or self._config.burst_group is None:
            return
        group = self._groups.group(self._config.burst_group)
        demand = self._burst.demand(snapshot, self._tree, group, self._config.burst_max)
        decision = self._scaler.decide(self._clock(), demand)
        if decision.desired is None:
            self._say("decision", f"burst group: {decision.reason}")
        elif self._config.scale == ON:
            self._groups.set_desired(group.name, decision.desired)
            self._scaler.changed(self._clock())
            self._say("decision", f"burst group: {decision.reason}")
        else:
            self._say("decision", f"burst group, dry run: {decision.reason}")

    def _step(self, topic: str, work: Callable[[], Any]) -> Any:
        try:
            result = work()
        except (OSError, MiniwdlCloudError) as exn:
            self._say(topic, str(exn), logging.WARNING)
            return None
        self._said.pop(topic, None)
        return result

    def _say(self, topic: str, text: str, level: int = logging.INFO) -> None:
        """Log a sentence once, until it changes."""
        if self._said.get(topic) != text:
            logger.log(level, "%s", text)
        self._said[topic] = text


class BurstGroup:
    """What is asked of the burst group, with what has to be remembered for it.

    Parameters
    ----------
    clock
        Seconds that do not jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_seen: dict[str, float] = {}
        self._worker: Capacity | None = None

    def demand(self, snapshot: Snapshot, tree: FleetTree, group: Group, most: int | None) -> Demand:
        """What is asked of the fleet now.

        Parameters
        ----------
        snapshot, tree, group
            The swarm, the fleet's directory, the burst group.
        most
            A bound below the group's own maximum, if there is one.
        """
        facts = {host: tree.worker(host).facts() for host in tree.hosts()}
        ready = {n.node_id: n for n in snapshot.nodes if n.state == "ready" and not n.manager}
        by_node = {one.get("node_id"): one for one in facts.values()}
        here = {one.get("instance_id") for node, one in by_node.items() if node in ready}
        burst = [
            node.capacity
            for node in ready.values()
            if by_node.get(node.node_id, {}).get("group") == group.name
        ]
        # Workers of other groups tell the size only until a burst worker does.
        if burst:
            self._worker = max(burst)
        elif self._worker is None and ready:
            self._worker = max(node.capacity for node in ready.values())
        return Demand(
            waiting=snapshot.waiting,
            free=snapshot.free(),
            worker=self._worker,
            desired=group.desired,
            bound=group.maximum if most is None else min(group.maximum, most),
            coming=self._coming(group, here),
        )

    def _coming(self, group: Group, here: set[str | None]) -> int:
        """Machines that the group is to have and that are not in the swarm yet: instances that do
        not run yet, and those that have had less than `BOOT_S` to join."""
        now = self._clock()
        self._first_seen = {one: self._first_seen.get(one, now) for one in group.instances}
        on_the_way = [
            one
            for one, since in self._first_seen.items()
            if one not in here and now - since < BOOT_S
        ]
        return max(0, group.desired - len(group.instances)) + len(on_the_way)
