"""`miniwdl-cloud fleet`: what people do with a fleet, on its manager."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import ConfigurationError, UsageError
from .operating import no_more, say

if TYPE_CHECKING:
    from ..fleet.swarm import Node, Snapshot, Swarm

DRAIN_LIMIT_S = 600.0
LOOK_EVERY_S = 2.0


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "fleet",
        help="look at and steer a fleet in Docker Swarm mode, on its manager",
        description="Look at and steer a fleet of workers in Docker Swarm mode, on its manager.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="fleet_command", metavar="COMMAND", required=True)
    _add_status(commands)
    _add_scale(commands)
    _add_ssh(commands)
    _add_drain(commands)


def _add_status(commands: argparse._SubParsersAction[Any]) -> None:
    status = commands.add_parser(
        "status",
        help="workers, their state, load and tasks; what waits; the shared filesystem's use",
        description="Show the workers of the fleet with their state, load and tasks, how many tasks"
        " wait, and how full the shared filesystem is.",
        allow_abbrev=False,
    )
    status.add_argument("--json", action="store_true", help="print JSON")


def _add_scale(commands: argparse._SubParsersAction[Any]) -> None:
    scale = commands.add_parser(
        "scale",
        help="show what the burst group should be, or set it",
        description="Without a number, show how many burst workers what waits would take, and"
        " change nothing. With a number, set the burst group's desired capacity; workers"
        " that are there stay until they are idle.",
        allow_abbrev=False,
    )
    scale.add_argument("count", nargs="?", type=int, metavar="N", help="burst workers in all")
    scale.add_argument("--dry-run", action="store_true", help="only say what would be done")
    scale.add_argument("--region", help="AWS Region [env AWS_REGION, AWS_DEFAULT_REGION]")


def _add_ssh(commands: argparse._SubParsersAction[Any]) -> None:
    ssh = commands.add_parser(
        "ssh",
        help="log in to a worker, or run a command there",
        description="Log in to a worker with ssh, or run a command there.",
        allow_abbrev=False,
    )
    ssh.add_argument("worker", metavar="WORKER", help="host name, or its beginning, or address")
    ssh.add_argument("remote", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run")


def _add_drain(commands: argparse._SubParsersAction[Any]) -> None:
    drain = commands.add_parser(
        "drain",
        help="take tasks off workers",
        description="Give workers no further tasks. Those that run are stopped, and miniwdl runs"
        " them again elsewhere; with --finish they go on.",
        allow_abbrev=False,
    )
    drain.add_argument("workers", nargs="+", metavar="WORKER", help="as for `fleet ssh`")
    how = drain.add_mutually_exclusive_group()
    how.add_argument("--finish", action="store_true", help="let the tasks that run go on")
    how.add_argument("--undo", action="store_true", help="give them tasks again")
    drain.add_argument("--wait", action="store_true", help="return when they have no tasks")
    drain.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=DRAIN_LIMIT_S,
        help="with --wait, give up after this time [600]",
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    MiniwdlCloudError
        This is not the fleet's manager, there is no such worker, or AWS refuses.
    """
    no_more(rest, f"miniwdl-cloud fleet {args.fleet_command}")
    commands = {"status": _status, "scale": _scale, "ssh": _ssh, "drain": _drain}
    return commands[args.fleet_command](args)


def _swarm() -> Swarm:
    from ..fleet.swarm import Swarm

    return Swarm()


def _status(args: argparse.Namespace) -> int:
    from ..fleet.config import fleet_config, fleet_settings
    from ..fleet.status import fleet_status, lines
    from ..fleet.tree import FleetTree

    config = fleet_config(fleet_settings())
    if not config.directory.is_dir():
        raise ConfigurationError(
            f"{config.directory} is not there; mount the shared filesystem, or set"
            f" {s.FLEET_DIR.env}."
        )
    status = fleet_status(_swarm().snapshot(), FleetTree(config.directory))
    if args.json:
        print(json.dumps(status.as_json(), indent=2))
    else:
        for line in lines(status):
            print(line)
    return 0


def _scale(args: argparse.Namespace) -> int:
    from ..fleet.config import fleet_config, fleet_settings
    from ..fleet.manager import BurstGroup, auto_scaling
    from ..fleet.scaling import Scaler
    from ..fleet.tree import FleetTree

    settings = fleet_settings()
    config = fleet_config(settings)
    if config.burst_group is None:
        raise UsageError(f"There is no burst group; set {s.FLEET_BURST_GROUP.env}.")
    groups = auto_scaling(settings, args.region)
    group = groups.group(config.burst_group)
    tree = FleetTree(config.directory)
    if args.count is None:
        demand = BurstGroup().demand(_swarm().snapshot(), tree, group, config.burst_max)
        print(f"{group.name}: {group.desired} burst workers, {demand.bound} at most")
        # What is asked for by hand need not have waited.
        print(Scaler(0.0).decide(0.0, demand).reason)
        return 0
    bound = group.maximum if config.burst_max is None else min(group.maximum, config.burst_max)
    if not group.minimum <= args.count <= bound:
        raise UsageError(
            f"{group.name} may have {group.minimum} to {bound} burst workers; choose another"
            " number, or raise the group's maximum."
        )
    if args.count < group.desired:
        raise UsageError(
            f"{group.name} has {group.desired} burst workers; they leave by themselves when idle."
            " To be rid of one earlier, `miniwdl-cloud fleet drain --finish` it."
        )
    change = f"{group.name}: {group.desired} -> {args.count} burst workers"
    if args.dry_run:
        say(f"{change} (dry run: nothing is changed)")
        return 0
    groups.set_desired(group.name, args.count)
    say(change)
    return 0


def _ssh(args: argparse.Namespace) -> int:
    from ..fleet.config import fleet_settings
    from ..fleet.status import find_worker

    program = shutil.which("ssh")
    if program is None:
        raise ConfigurationError("There is no command `ssh` on this machine; install it.")
    settings = fleet_settings()
    node = find_worker(_swarm().snapshot(), args.worker)
    user, key = settings.get(s.FLEET_SSH_USER), settings.get(s.FLEET_SSH_KEY)
    # Workers come and go, and with them the keys of hosts at the same addresses.
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    options += ["-o", "LogLevel=ERROR", *(["-i", key] if key else [])]
    target = f"{user}@{node.address}" if user else node.address
    remote = args.remote[1:] if args.remote[:1] == ["--"] else args.remote
    command = [program, *options, target]
    if remote:
        command += ["--", shlex.join(remote)]
    sys.stdout.flush()
    os.execv(program, command)


def _drain(args: argparse.Namespace) -> int:
    from ..fleet.policy import Availability
    from ..fleet.status import find_worker

    swarm = _swarm()
    snapshot = swarm.snapshot()
    nodes = [find_worker(snapshot, name) for name in args.workers]
    wanted = Availability.PAUSE if args.finish else Availability.DRAIN
    wanted = Availability.ACTIVE if args.undo else wanted
    for node in nodes:
        swarm.set_availability(node.node_id, wanted)
        say(f"{node.host}: {_WORDS[wanted.value]}")
    if args.wait and not args.undo:
        _await_empty(swarm, nodes, args.timeout)
    return 0


_WORDS = {
    "active": "it takes tasks again",
    "pause": "no further tasks; those that run go on",
    "drain": "no tasks; those that run move on",
}


def _await_empty(swarm: Swarm, nodes: list[Node], limit_s: float) -> None:
    until = time.monotonic() + limit_s
    while busy := _busy(swarm.snapshot(), nodes):
        if time.monotonic() > until:
            raise ConfigurationError(
                f"After {limit_s:g} s there are tasks on {', '.join(busy)} still; wait longer, or"
                " drain without --finish."
            )
        time.sleep(LOOK_EVERY_S)


def _busy(snapshot: Snapshot, nodes: list[Node]) -> list[str]:
    up = {node.node_id for node in snapshot.nodes if node.state == "ready"}
    return [n.host for n in nodes if n.node_id in up and snapshot.tasks_of(n)]
