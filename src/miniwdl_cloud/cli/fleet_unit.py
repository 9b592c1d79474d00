"""`miniwdl-cloud-fleet`: what the systemd units of a fleet's machines run."""

from __future__ import annotations

import argparse
import importlib.resources
import logging
import signal
import socket
import sys
import threading
from typing import Any

from .. import settings as s


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code.

    Parameters
    ----------
    argv
        Arguments, without the program's name.

    Raises
    ------
    UsageError
        A setting cannot be.
    """
    parser = argparse.ArgumentParser(
        prog="miniwdl-cloud-fleet",
        description="What the machines of a fleet run by themselves. Settings come from"
        f" MINIWDL__FLEET__* variables and {s.FLEET_ENVIRONMENT}.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser(
        "worker",
        help="join the swarm, give signs of life, and shut down when orphaned, idle or told so",
        description="The daemon of a worker. It joins the swarm, gives signs of life in the fleet's"
        " directory, and ends the machine when it is orphaned, when a burst worker is idle, and"
        " when EC2 takes it away, which its tasks learn in time.",
    )
    commands.add_parser(
        "manager",
        help="say how to join, fulfil workers' wishes, forget lost workers, scale the burst group",
        description="The daemon of the manager. It says in the fleet's directory how to join the"
        " swarm and who is in it, does what workers ask for, forgets lost ones, and raises the"
        " burst group for tasks that wait where [fleet] scale says so.",
    )
    commands.add_parser(
        "config",
        help="print the miniwdl configuration of a fleet",
        description="Print the miniwdl configuration of a fleet, for /etc/xdg/miniwdl.cfg.",
    )
    args = parser.parse_args(argv)
    if args.command == "config":
        file = importlib.resources.files("miniwdl_cloud") / "miniwdl_fleet.cfg"
        sys.stdout.write(file.read_text())
        return 0
    # The journal has the time.
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("miniwdl_cloud.fleet").setLevel(logging.INFO)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    (_worker if args.command == "worker" else _manager)(stop)
    return 0


def _worker(stop: threading.Event) -> None:
    from ..fleet.config import fleet_config, fleet_settings
    from ..fleet.manager import auto_scaling
    from ..fleet.metadata import Metadata
    from ..fleet.swarm import Swarm
    from ..fleet.tree import FleetTree
    from ..fleet.worker import Surroundings, Worker, boot_id

    settings = fleet_settings()
    config = fleet_config(settings)

    def leave_group(instance_id: str) -> None:
        auto_scaling(settings).end_instance(instance_id)

    around = Surroundings(
        swarm=Swarm(),
        tree=FleetTree(config.directory),
        metadata=Metadata(config.metadata_url),
        host=socket.gethostname(),
        boot_id=boot_id(),
        leave_group=leave_group,
    )
    Worker(config, around).run(stop)


def _manager(stop: threading.Event) -> None:
    from ..fleet.config import OFF, fleet_config, fleet_settings
    from ..fleet.manager import Manager, auto_scaling
    from ..fleet.swarm import Swarm
    from ..fleet.tree import FleetTree

    settings = fleet_settings()
    config = fleet_config(settings)
    groups: Any = None if config.scale == OFF else auto_scaling(settings)
    Manager(config, Swarm(), FleetTree(config.directory), groups).run(stop)
