"""The Docker Engine of this host: as a node of the swarm, and, on the manager, all of the swarm."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
import requests

from ..errors import ConfigurationError, ServiceError, Unreachable
from ..settings import environment
from .policy import Availability
from .scaling import Capacity
from .tree import JoinInfo

CALL_TIMEOUT_S = 60
PROBE_TIMEOUT_S = 5.0
SWARM_PORT = 2377

_ENDED = frozenset({"complete", "failed", "shutdown", "rejected", "orphaned", "remove"})
"""States that a task does not leave (SwarmKit, "Task model")."""
_UNPLACED = frozenset({"new", "allocated", "pending"})


@dataclass(frozen=True)
class LocalNode:
    """This host, as its own Docker Engine sees it.

    Parameters
    ----------
    state
        ``LocalNodeState``: inactive, pending, active, error or locked.
    node_id
        Empty where it is in no swarm.
    managers
        ``HOST:PORT`` of each manager that it knows.
    """

    state: str
    node_id: str
    managers: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A node of the swarm, as its manager sees it.

    Parameters
    ----------
    node_id, host, address
        Its id, host name and IP address.
    manager
        Whether it is a manager.
    state
        ready, down, unknown or disconnected.
    availability
        What the swarm may do with it.
    capacity
        All that it has.
    """

    node_id: str
    host: str
    address: str
    manager: bool
    state: str
    availability: Availability
    capacity: Capacity

    @property
    def takes_tasks(self) -> bool:
        """Whether the swarm gives it tasks."""
        return self.state == "ready" and self.availability is Availability.ACTIVE


@dataclass(frozen=True)
class Task:
    """A task that has not ended.

    Parameters
    ----------
    node_id
        Where it is; empty while it waits for a node.
    reserved
        What it reserves.
    stopping
        Whether the swarm wants it to end.
    """

    node_id: str
    reserved: Capacity
    stopping: bool


@dataclass(frozen=True)
class Snapshot:
    """The swarm at a moment.

    Parameters
    ----------
    nodes, tasks
        All nodes, and all tasks that have not ended.
    """

    nodes: tuple[Node, ...]
    tasks: tuple[Task, ...]

    @property
    def waiting(self) -> list[Capacity]:
        """What the tasks reserve that wait for a node."""
        return [t.reserved for t in self.tasks if not t.node_id and not t.stopping]

    def tasks_of(self, node: Node) -> list[Task]:
        """The tasks of a node."""
        return [t for t in self.tasks if t.node_id == node.node_id]

    def reserved(self, node: Node) -> Capacity:
        """What the tasks of a node reserve."""
        total = Capacity()
        for task in self.tasks_of(node):
            if not task.stopping:
                total = total + task.reserved
        return total

    def free(self) -> list[Capacity]:
        """What each node that takes tasks has left."""
        return [n.capacity - self.reserved(n) for n in self.nodes if n.takes_tasks]


@contextlib.contextmanager
def map_errors(doing: str) -> Iterator[None]:
    """Turn what the Docker client raises into our errors.

    Parameters
    ----------
    doing
        What is being done, to follow "while" in the message.
    """
    try:
        yield
    except docker.errors.APIError as exn:
        text = exn.explanation or str(exn)
        raise ServiceError(f"The Docker Engine refused while {doing}: {text}") from exn
    except (docker.errors.DockerException, requests.RequestException) as exn:
        raise Unreachable(
            f"The Docker Engine did not answer while {doing}: {exn}; start it, or set DOCKER_HOST."
        ) from exn


class Swarm:
    """The Docker Engine that ``DOCKER_HOST``, or else the default socket, names.

    It is asked at first use, so that a daemon can start before it.
    """

    def __init__(self) -> None:
        self._client: Any = None

    @property
    def _api(self) -> Any:
        if self._client is None:
            client = docker.from_env(environment=dict(environment()), timeout=CALL_TIMEOUT_S)
            self._client = client.api
        return self._client

    # As a node

    def local(self) -> LocalNode:
        """This host as a node."""
        with map_errors("asking it for its swarm"):
            found = self._api.info()["Swarm"]
        managers = tuple(one["Addr"] for one in found.get("RemoteManagers") or ())
        return LocalNode(found["LocalNodeState"], found.get("NodeID", ""), managers)

    def container_count(self) -> int:
        """The containers of tasks that run here."""
        with map_errors("listing containers"):
            # One that nobody started through the swarm is not a task.
            filters = {"label": "com.docker.swarm.task.id", "status": "running"}
            return len(self._api.containers(filters=filters))

    def join(self, join: JoinInfo) -> None:
        """Join the swarm as a worker."""
        own = own_address(join.address)
        with map_errors("joining the swarm"):
            self._api.join_swarm(
                remote_addrs=[join.address],
                join_token=join.token,
                listen_addr=f"{own}:{SWARM_PORT}",
                advertise_addr=own,
            )

    def leave(self) -> None:
        """Leave the swarm; the containers of its tasks end."""
        with map_errors("leaving the swarm"):
            self._api.leave_swarm(force=True)

    # As the manager

    def snapshot(self) -> Snapshot:
        """All of the swarm.

        Raises
        ------
        ConfigurationError
            This host is no manager.
        """
        with map_errors("asking it for its swarm"):
            if not self._api.info()["Swarm"].get("ControlAvailable"):
                raise ConfigurationError(
                    "This host is not the manager of a swarm; do this on the fleet's manager."
                )
        with map_errors("listing nodes and tasks"):
            nodes = [_node(item) for item in self._api.nodes()]
            states = {"desired-state": ["running", "shutdown", "accepted"]}
            items = self._api.tasks(filters=states)
        tasks = [_task(item) for item in items if _lives(item)]
        return Snapshot(tuple(nodes), tuple(tasks))

    def join_info(self) -> JoinInfo:
        """How workers join this manager's swarm."""
        with map_errors("asking it for the join token"):
            token = self._api.inspect_swarm()["JoinTokens"]["Worker"]
            address = self._api.info()["Swarm"]["NodeAddr"]
        return JoinInfo(token, f"{address}:{SWARM_PORT}")

    def set_availability(self, node_id: str, availability: Availability) -> None:
        """Set what the swarm may do with a node."""
        with map_errors("setting a node's availability"):
            for last in (False, False, True):
                found = self._api.inspect_node(node_id)
                spec = {**found["Spec"], "Availability": availability.value}
                try:
                    self._api.update_node(node_id, found["Version"]["Index"], spec)
                    return
                except docker.errors.APIError as exn:
                    # The node has changed since it was looked at, by a heartbeat perhaps.
                    if last or "out of sequence" not in (exn.explanation or ""):
                        raise

    def forget(self, node_id: str) -> None:
        """Remove a node that has gone from the swarm."""
        with map_errors("removing a node"):
            self._api.remove_node(node_id, force=True)


def manager_answers(addresses: tuple[str, ...]) -> bool:
    """Whether any of these ``HOST:PORT`` takes a connection."""
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), PROBE_TIMEOUT_S):
                return True
        except (OSError, ValueError):
            continue
    return False


def own_address(peer: str) -> str:
    """The address by which this host reaches a ``HOST:PORT``: the one that it is reached by. A host
    with Docker's own bridges has several.

    Raises
    ------
    Unreachable
        There is no way to it.
    """
    host, _, port = peer.rpartition(":")
    try:
        family, kind, _, _, target = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_DGRAM
        )[0]
        # No packet is sent: the kernel only looks up the way.
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except (OSError, ValueError) as exn:
        raise Unreachable(f"There is no way to the manager {peer}: {exn}") from exn


def _node(item: dict[str, Any]) -> Node:
    description = item.get("Description", {})
    resources = description.get("Resources", {})
    return Node(
        node_id=item["ID"],
        host=description.get("Hostname", ""),
        address=item["Status"].get("Addr", ""),
        manager=item["Spec"]["Role"] == "manager",
        state=item["Status"]["State"],
        availability=Availability(item["Spec"]["Availability"]),
        capacity=Capacity(resources.get("NanoCPUs", 0), resources.get("MemoryBytes", 0)),
    )


def _lives(item: dict[str, Any]) -> bool:
    state = item["Status"]["State"]
    # What was to stop before it got anywhere is over, though its state stays.
    stopped_waiting = state in _UNPLACED and item["DesiredState"] != "running"
    return state not in _ENDED and not stopped_waiting


def _task(item: dict[str, Any]) -> Task:
    reserved = item["Spec"].get("Resources", {}).get("Reservations") or {}
    return Task(
        node_id=item.get("NodeID", ""),
        reserved=Capacity(reserved.get("NanoCPUs", 0), reserved.get("MemoryBytes", 0)),
        stopping=item["DesiredState"] not in ("running", "ready"),
    )
