"""The engine docker_swarm_fleet knows of a lost worker what Docker's API says of it.

The answers are those of Docker Engine 20.10 for workers that were killed, cut off, drained and
removed.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
from WDL.runtime import Interrupted

from miniwdl_cloud.engines.docker_swarm import FleetTask


class Service:
    """A service with one task (or none yet), and the API that knows its node."""

    def __init__(self, state: str, desired: str, code: int | None = None, node: str = "id") -> None:
        container = {} if code is None else {"ContainerStatus": {"ExitCode": code}}
        self._task = {
            "ID": "task-of-a-service",
            "NodeID": node,
            "DesiredState": desired,
            "Status": {"State": state, "Message": "as it was", **container},
        }
        self.attrs = {"Spec": {"Labels": {"miniwdl_run_id": "call-t"}}}
        self.short_id = "service"
        self.node: dict[str, Any] | Exception = {
            "Description": {"Hostname": "worker1"},
            "Status": {"State": "down"},
            "Spec": {"Availability": "active"},
        }
        self.client = SimpleNamespace(api=SimpleNamespace(inspect_node=self._inspect_node))
        self.calls = 0

    def reload(self) -> None:
        pass

    def tasks(self) -> list[dict[str, Any]]:
        self.calls += 1
        return [self._task]

    def logs(self, **_: object) -> object:
        raise AssertionError("the log of a worker that was cut off takes a quarter of an hour")

    def _inspect_node(self, node_id: str) -> Any:
        assert node_id == "id"
        if isinstance(self.node, Exception):
            raise self.node
        return self.node


def poll(service: Service) -> int | None:
    """One look at a task's service."""
    task = FleetTask.__new__(FleetTask)
    task.run_id = "call-t"
    task._observed_states = set()
    code: int | None = task.poll_service(logging.getLogger("test"), service)
    return code


@pytest.mark.parametrize(
    ("state", "desired", "code"),
    [
        pytest.param("running", "shutdown", 0, id="worker killed or cut off"),
        pytest.param("starting", "shutdown", None, id="killed while the task starts"),
        pytest.param("running", "shutdown", -1, id="drained, in its grace time"),
        pytest.param("shutdown", "shutdown", 137, id="drained, killed"),
        pytest.param("shutdown", "shutdown", 3, id="drained, ended by itself"),
        pytest.param("orphaned", "shutdown", None, id="worker removed"),
        pytest.param("running", "remove", 0, id="service removed by somebody"),
    ],
)
def test_a_task_that_ends_with_its_worker_is_interrupted(
    state: str, desired: str, code: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log names the worker."""
    with pytest.raises(Interrupted):
        poll(Service(state, desired, code))
    assert "worker1" in caplog.text


@pytest.mark.parametrize(
    ("state", "desired", "code", "expected"),
    [
        ("pending", "running", None, None),
        ("preparing", "running", None, None),
        ("running", "running", 0, None),
        ("complete", "shutdown", 0, 0),
        ("failed", "shutdown", 3, 3),
    ],
)
def test_every_other_task_is_as_it_was(
    state: str, desired: str, code: int | None, expected: int | None
) -> None:
    """A task that has ended is to be shut down, too, in Docker's words."""
    service = Service(state, desired, code)
    assert poll(service) == expected
    assert service.calls == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (docker.errors.NotFound("no such node"), "removed"),
        (docker.errors.APIError("the engine is busy"), ""),
    ],
)
def test_a_worker_that_cannot_be_looked_up_does_not_matter(
    answer: Exception, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The task is interrupted all the same."""
    service = Service("running", "shutdown", 0)
    service.node = answer
    with pytest.raises(Interrupted):
        poll(service)
    assert words in caplog.text


def test_the_log_of_the_service_is_not_asked_for() -> None:
    """miniwdl asks when a task has ended; the answer is none."""
    service = Service("complete", "shutdown", 0)
    assert poll(service) == 0
    assert list(service.logs(stdout=True)) == []  # type: ignore[call-overload]
