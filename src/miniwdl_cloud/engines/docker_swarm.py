"""The engine docker_swarm_fleet: miniwdl's docker_swarm, which besides sees the loss of a worker.

Where a worker is lost, the swarm leaves its task in the state that it was last heard of, such as
running, and only wishes it to be shut down (Docker Engine 20.10, with a worker killed, partitioned,
or out of the swarm: known after 12 to 15 s). miniwdl 1.16 looks for that wish in the task's status,
but Docker's API has it in the task itself (Engine API, ``Task.DesiredState``), so that its engine
waits for ever. Here miniwdl finds it where it looks: then the task is interrupted, and run again as
often as `preemptible` says.

miniwdl also asks for the service's log when a task has ended, for its own log at the level of
debugging; what a command says is in files. The manager gets that log from the worker, and waits for
one that was cut off without a word, up to miniwdl's limit of 15 minutes. So it is not asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import docker.errors
import requests
from WDL.runtime import Interrupted

from ..miniwdl_compat import log_message, swarm_container


class FleetTask(swarm_container()):  # type: ignore[misc]
    """A task on a fleet in Docker Swarm mode; registered as ``docker_swarm_fleet``."""

    def poll_service(self, logger: logging.Logger, svc: Any, verbose: bool = False) -> int | None:
        """Look at the task's service; see miniwdl's SwarmContainer.

        Raises
        ------
        Interrupted
            The task ended, or will, with its worker.
        """
        svc.logs = _no_logs
        look = _Look(svc)
        try:
            code: int | None = super().poll_service(logger, look, verbose=verbose)
        except Interrupted:
            node = look.node()
            if node:
                logger.warning(log_message("docker worker of an interrupted task", **node))
            raise
        return code


def _no_logs(**_: Any) -> Iterator[bytes]:
    return iter(())


class _Look:
    """A service, with the wish for each of its tasks where miniwdl looks for it."""

    def __init__(self, svc: Any) -> None:
        self._svc = svc
        self._tasks: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._svc, name)

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks of the service."""
        self._tasks = [
            {**task, "Status": {**task["Status"], "DesiredState": task["DesiredState"]}}
            for task in self._svc.tasks()
        ]
        return self._tasks

    def node(self) -> dict[str, str]:
        """What is known of the task's node, for the log; empty if nothing."""
        node_id = self._tasks[0].get("NodeID") if self._tasks else None
        if not node_id:
            return {}
        try:
            found = self._svc.client.api.inspect_node(node_id)
        except docker.errors.NotFound:
            return {"node": node_id[:10], "state": "removed"}
        except (docker.errors.DockerException, requests.RequestException):
            return {}
        return {
            "node": node_id[:10],
            "hostname": found["Description"]["Hostname"],
            "state": found["Status"]["State"],
            "availability": found["Spec"]["Availability"],
        }
