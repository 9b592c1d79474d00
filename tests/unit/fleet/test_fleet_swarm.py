"""What the Docker Engine says and is told, in its own words."""

from __future__ import annotations

import socket
from typing import Any

import docker.errors
import pytest

from miniwdl_cloud.errors import ConfigurationError, ServiceError, Unreachable
from miniwdl_cloud.fleet.policy import Availability
from miniwdl_cloud.fleet.scaling import Capacity
from miniwdl_cloud.fleet.swarm import Swarm, manager_answers, own_address


class Api:
    """A Docker Engine that is a manager with one worker."""

    def __init__(self, refusals: tuple[str, ...] = ()) -> None:
        self.refusals = list(refusals)
        self.updates: list[tuple[str, int, dict[str, Any]]] = []
        self.swarm: dict[str, Any] = {"LocalNodeState": "active", "ControlAvailable": True}
        self.items: list[dict[str, Any]] = []

    def info(self) -> dict[str, Any]:
        return {"Swarm": self.swarm}

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "ID": "w",
                "Spec": {"Role": "worker", "Availability": "active"},
                "Description": {
                    "Hostname": "worker1",
                    "Resources": {"NanoCPUs": 4_000_000_000, "MemoryBytes": 1000},
                },
                "Status": {"State": "ready", "Addr": "10.0.0.2"},
            }
        ]

    def tasks(self, filters: object) -> list[dict[str, Any]]:
        return self.items

    def inspect_node(self, node_id: str) -> dict[str, Any]:
        return {"Version": {"Index": len(self.updates)}, "Spec": {"Role": "worker", "Labels": {}}}

    def update_node(self, node_id: str, version: int, spec: dict[str, Any]) -> None:
        self.updates.append((node_id, version, spec))
        if self.refusals:
            raise docker.errors.APIError("500", explanation=self.refusals.pop(0))


def swarm(api: Api) -> Swarm:
    """The swarm of an engine."""
    made = Swarm()
    made._client = api
    return made


def item(state: str, desired: str = "running", node: str = "w", cpus: int = 1) -> dict[str, Any]:
    """A task, as the engine tells it."""
    return {
        "NodeID": node,
        "DesiredState": desired,
        "Spec": {"Resources": {"Reservations": {"NanoCPUs": cpus * 1_000_000_000}}},
        "Status": {"State": state},
    }


def test_a_node_that_changed_meanwhile_is_looked_at_again() -> None:
    """Docker takes an update only of what it was made from; three times are enough."""
    words = "rpc error: code = Unknown desc = update out of sequence"
    api = Api((words, words))
    swarm(api).set_availability("w", Availability.DRAIN)
    spec = {"Role": "worker", "Labels": {}, "Availability": "drain"}
    assert api.updates == [("w", 0, spec), ("w", 1, spec), ("w", 2, spec)]
    with pytest.raises(ServiceError, match="out of sequence"):
        swarm(Api((words,) * 3)).set_availability("w", Availability.DRAIN)


def test_another_refusal_is_told_at_once() -> None:
    """With what the engine said."""
    api = Api(("node w not found",))
    with pytest.raises(ServiceError, match=r"refused while setting a node's .* node w not found"):
        swarm(api).set_availability("w", Availability.PAUSE)
    assert len(api.updates) == 1


def test_a_snapshot_counts_what_lives() -> None:
    """What has ended, and what was taken back while it waited, is not there any more; what is to
    stop is, but reserves nothing."""
    api = Api()
    api.items = [
        item("running"),
        item("preparing"),
        item("running", "shutdown"),
        item("complete", "shutdown"),
        item("failed", "shutdown"),
        item("pending", node="", cpus=3),
        item("pending", "shutdown", node=""),
        {**item("running"), "Spec": {}},
    ]
    seen = swarm(api).snapshot()
    (node,) = seen.nodes
    assert len(seen.tasks_of(node)) == 4
    assert seen.waiting == [Capacity(3_000_000_000, 0)]
    assert seen.free() == [Capacity(2_000_000_000, 1000)]


def test_only_a_manager_has_a_swarm_to_show() -> None:
    """A worker says what to do."""
    api = Api()
    api.swarm["ControlAvailable"] = False
    with pytest.raises(ConfigurationError, match="do this on the fleet's manager"):
        swarm(api).snapshot()


def test_whether_a_manager_answers() -> None:
    """One of several is enough; none, and nonsense, are not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port = f"127.0.0.1:{server.getsockname()[1]}"
        assert manager_answers(("nonsense", open_port))
        assert own_address(open_port) == "127.0.0.1"
    with socket.socket() as silent:
        # Taken, so that nobody else's server is there, but not listening.
        silent.bind(("127.0.0.1", 0))
        assert not manager_answers((f"127.0.0.1:{silent.getsockname()[1]}",))
    assert not manager_answers(())
    with pytest.raises(Unreachable, match="There is no way to the manager nonsense"):
        own_address("nonsense")
