"""The daemon of a worker: it looks, decides by `policy` and acts, until the machine ends."""

from __future__ import annotations

import logging
import math
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MiniwdlCloudError
from .config import FleetConfig
from .metadata import Metadata, Signs
from .policy import Action, Availability, Decision, Observation, decide
from .swarm import LocalNode, Swarm, manager_answers
from .tree import FleetTree, Guarded, Member, Shared, read_members

logger = logging.getLogger(__name__)

FILESYSTEM_LIMIT_S = 20.0
COMMAND_LIMIT_S = 60.0
END_LIMIT_S = 600.0
"""Seconds after which a machine that was shut down and is still there is one that lives."""


def run_command(command: Sequence[str]) -> None:
    """Run the command that ends the machine.

    Raises
    ------
    OSError, subprocess.SubprocessError
        It cannot be run, fails, or takes too long.
    """
    subprocess.run(command, check=True, timeout=COMMAND_LIMIT_S, stdin=subprocess.DEVNULL)


@dataclass
class Surroundings:
    """What a worker sees and acts upon; tests have their own.

    Parameters
    ----------
    swarm, tree, metadata
        Docker Engine, the fleet's directory, instance metadata.
    host
        The name of this machine.
    boot_id
        Another text for each start of the machine.
    leave_group
        Terminates the instance of this id, and makes its auto scaling group smaller.
    end_machine
        Runs the command that ends the machine.
    manager_answers
        Whether one of these ``HOST:PORT`` takes a connection.
    clock
        Seconds that do not jump.
    chance
        A number from 0 to 1, for stress tests.
    """

    swarm: Swarm
    tree: FleetTree
    metadata: Metadata
    host: str
    boot_id: str
    leave_group: Callable[[str], None]
    end_machine: Callable[[Sequence[str]], None] = run_command
    manager_answers: Callable[[tuple[str, ...]], bool] = manager_answers
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = field(default=random.random)


class Worker:
    """What a worker knows from one beat to the next.

    Parameters
    ----------
    config
        The fleet's settings.
    around
        What it sees and acts upon.
    """

    def __init__(self, config: FleetConfig, around: Surroundings) -> None:
        self._config = config
        self._around = around
        self._files = around.tree.worker(around.host)
        self._filesystem = Guarded()
        now = around.clock()
        self._last_member = now
        self._last_busy = now
        self._last_join = -math.inf
        self._list = _ManagersList(fresh_s=max(60.0, 6 * config.period_s))
        self._wish = Availability.ACTIVE
        self._wish_since = now
        self._has_wished = False
        self._booted = False
        self._ending: Decision | None = None
        self._instance_id: str | None = None
        self._said: dict[str, str] = {}

    def run(self, stop: threading.Event) -> None:
        """Look and act until the machine ends, or until told to stop."""
        while not stop.is_set():
            if self.beat().action is Action.SHUTDOWN and self._ending is None:
                # Not to be started anew by systemd before the machine is down.
                stop.wait(END_LIMIT_S)
                return
            stop.wait(self._config.period_s)

    def beat(self) -> Decision:
        """Look, decide, act, and give a sign of life; what was decided."""
        if self._ending is not None:
            self._end_machine(self._ending)
            return self._ending or Decision(Action.SHUTDOWN)
        now = self._around.clock()
        local, containers = self._look_at_docker()
        shared = self._read_shared()
        entry, listed = self._list.entry(shared.list_text if shared else "", local.node_id, now)
        tasks = max(containers, entry.tasks if entry else 0)
        if tasks:
            self._last_busy = now
        signs = self._signs()
        seen = Observation(
            docker=local.state,
            shared=shared is not None,
            listed=listed,
            # Nobody has to be asked where the list says it.
            manager_answers=listed is None and self._around.manager_answers(local.managers),
            since_member_s=now - self._last_member,
            since_join_s=now - self._last_join,
            tasks=tasks,
            idle_s=now - self._last_busy,
            availability=entry.availability if entry else None,
            wish=self._wish,
            wish_s=now - self._wish_since,
            notice=signs.notice,
            rebalance=signs.rebalance,
            induced=shared is not None and self._induced(shared.induce_percent),
        )
        if seen.member:
            self._last_member = now
        decision = decide(self._config.limits, seen)
        self._say("decision", decision.reason)
        self._note_wish(decision.wish, entry, now)
        self._give_sign(seen, local.node_id)
        self._act(decision, local, shared)
        return decision

    def _look_at_docker(self) -> tuple[LocalNode, int]:
        try:
            found = self._around.swarm.local(), self._around.swarm.container_count()
        except MiniwdlCloudError as exn:
            self._say("docker", exn.message)
            return LocalNode("unknown", "", ()), 0
        self._say("docker", "")
        return found

    def _read_shared(self) -> Shared | None:
        def read() -> Shared:
            shared = self._around.tree.read()
            if not self._booted:
                self._has_wished = self._files.booted(self._around.boot_id)
                self._booted = True
            return shared

        try:
            shared = self._filesystem.call(read, FILESYSTEM_LIMIT_S)
        except (OSError, MiniwdlCloudError) as exn:
            self._say("shared", f"shared filesystem: {exn}")
            return None
        self._say("shared", "")
        return shared

    def _signs(self) -> Signs:
        try:
            signs = self._around.metadata.signs()
        except MiniwdlCloudError as exn:
            self._say("metadata", exn.message)
            return Signs()
        self._say("metadata", "")
        return signs

    def _induced(self, percent: float) -> bool:
        """A throw of the dice, such that so many per cent of the workers end in a minute."""
        stays: float = (1 - percent / 100) ** (self._config.period_s / 60)
        return self._around.chance() < 1 - stays

    def _note_wish(self, wish: Availability, entry: Member | None, now: float) -> None:
        if wish is not self._wish:
            self._wish, self._wish_since = wish, now
            self._has_wished = True
        elif wish is Availability.ACTIVE and entry and entry.availability is wish:
            # Taken back, and heard: from now on a pause is one that a person ordered.
            self._has_wished = False

    def _give_sign(self, seen: Observation, node_id: str) -> None:
        if not seen.shared:
            return
        # Only who asked for something has to take it back: a pause that a person ordered stays.
        wish = (self._wish, node_id) if self._has_wished and node_id else None
        facts = self._facts(node_id)

        def write() -> None:
            self._files.beat(seen.member, seen.tasks, facts, wish)

        try:
            self._filesystem.call(write, FILESYSTEM_LIMIT_S)
        except (OSError, MiniwdlCloudError) as exn:
            self._say("heartbeat", f"no sign of life could be given: {exn}")
        else:
            self._say("heartbeat", "")

    def _facts(self, node_id: str) -> dict[str, Any]:
        if self._instance_id is None:
            try:
                self._instance_id = self._around.metadata.instance_id()
            except MiniwdlCloudError as exn:
                self._say("metadata", exn.message)
        return {
            "node_id": node_id,
            "instance_id": self._instance_id,
            "group": self._config.group,
            "burst": self._config.limits.burst,
            "load": round(os.getloadavg()[0], 2),
        }

    def _act(self, decision: Decision, local: LocalNode, shared: Shared | None) -> None:
        try:
            if decision.action is Action.REJOIN:
                self._around.swarm.leave()
            elif decision.action is Action.JOIN and shared is not None:
                if shared.join is None:
                    self._say("join", "the manager has not said yet how to join the swarm")
                    return
                self._around.swarm.join(shared.join)
                self._last_join = self._around.clock()
                logger.info("joined the swarm of %s", shared.join.address)
                self._say("join", "")
        except MiniwdlCloudError as exn:
            self._say("join", exn.message)
        if decision.action is Action.SHUTDOWN:
            self._end(decision, local)

    def _end(self, decision: Decision, local: LocalNode) -> None:
        logger.warning("the machine ends: %s", decision.reason)
        self._ending = decision
        try:
            self._filesystem.call(
                lambda: self._files.shutting_down(decision.reason), FILESYSTEM_LIMIT_S
            )
        except (OSError, MiniwdlCloudError) as exn:
            logger.warning("the reason could not be noted: %s", exn)
        if not decision.abrupt and local.state not in ("inactive", "unknown"):
            try:
                self._around.swarm.leave()
            except MiniwdlCloudError as exn:
                logger.warning("%s", exn.message)
        if not decision.replace and self._config.group and self._instance_id:
            try:
                self._around.leave_group(self._instance_id)
            except MiniwdlCloudError as exn:
                logger.warning("the auto scaling group may start another machine: %s", exn.message)
        self._end_machine(decision)

    def _end_machine(self, decision: Decision) -> None:
        try:
            self._around.end_machine(self._config.shutdown_command)
        except (OSError, subprocess.SubprocessError) as exn:
            # Again at the next beat: a machine that is to end must not stay.
            self._say("end", f"the shutdown command failed: {exn}")
            return
        self._ending = None

    def _say(self, topic: str, text: str) -> None:
        """Log a sentence once, until it changes."""
        if text and self._said.get(topic) != text:
            logger.warning("%s", text)
        self._said[topic] = text


class _ManagersList:
    """The manager's list of nodes, as long as it is of recent times.

    Its age is known by when it was last seen to change, as clocks of two machines differ. What was
    there at the start may be of any time.
    """

    def __init__(self, fresh_s: float) -> None:
        self._fresh_s = fresh_s
        self._text: str | None = None
        self._changed: float | None = None

    def entry(self, text: str, node_id: str, now: float) -> tuple[Member | None, bool | None]:
        """What it says of a node, and whether that is that it is ready; nothing and ``None`` while
        the list is old."""
        if text and text != self._text:
            if self._text is not None:
                self._changed = now
            self._text = text
        if self._changed is None or now - self._changed > self._fresh_s:
            return None, None
        entry = read_members(self._text or "").get(node_id)
        return entry, entry is not None and entry.state == "ready"


def boot_id(proc: Path = Path("/proc")) -> str:
    """A text that is another after each start of this machine, also where it is a container: the
    kernel's boot id, and when the first process began (proc(5), ``starttime``)."""
    kernel = (proc / "sys/kernel/random/boot_id").read_text().strip()
    # The second field, in parentheses, may hold blanks.
    after_name = (proc / "1/stat").read_text().rpartition(")")[2].split()
    return f"{kernel} {after_name[19]}"
