"""The task metadata endpoint, version 4 (ECS developer guide, "Amazon ECS task metadata endpoint
version 4 for tasks on Fargate"): containers ask it about themselves, without credentials."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .base import EcsBase
from .describe import address_of, log_of, zone_of
from .models import FARGATE, Task

PREFIX = "/_ecs/v4/"


def metadata_path(task: Task) -> str:
    """The path at which a task's container asks."""
    return f"{PREFIX}{task.id}-{task.id[:10]}"


class Metadata:
    """The WSGI application of the endpoint. It has the container and the task, no statistics.

    Parameters
    ----------
    service
        Holds the tasks.
    """

    def __init__(self, service: EcsBase) -> None:
        self._service = service

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        answer = self._answer(environ["PATH_INFO"])
        status = "200 OK" if answer is not None else "404 Not Found"
        body = json.dumps(answer).encode() if answer is not None else b"404 page not found\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    def _answer(self, path: str) -> Mapping[str, Any] | None:
        identity, _, what = path[len(PREFIX) :].partition("/")
        with self._service.lock:
            task = self._service.tasks.get(identity.partition("-")[0])
            if task is None or PREFIX + identity != metadata_path(task):
                return None
            views = {"": _container, "task": _task}
            view = views.get(what.strip("/"))
            return view(task) if view is not None else None


def _task(task: Task) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "Cluster": task.cluster.arn,
        "TaskARN": task.arn,
        "Family": task.definition.family,
        "Revision": str(task.definition.revision),
        "DesiredStatus": task.desired_status,
        "KnownStatus": task.status,
        "Limits": {"CPU": task.cpu / 1024, "Memory": task.memory_mib},
        "AvailabilityZone": zone_of(task),
        "LaunchType": FARGATE,
        "Containers": [_container(task)],
        "ClockDrift": {"ClockSynchronizationStatus": "NOT_SYNCHRONIZED"},
        "EphemeralStorageMetrics": {"Utilized": 0, "Reserved": (task.storage_gib or 20) * 1024},
    }
    for name, member in (
        ("PullStartedAt", "pullStartedAt"),
        ("PullStoppedAt", "pullStoppedAt"),
        ("ExecutionStoppedAt", "executionStoppedAt"),
    ):
        if member in task.times:
            answer[name] = _time(task.times[member])
    return answer


def _container(task: Task) -> dict[str, Any]:
    container = task.container
    identity = metadata_path(task)[len(PREFIX) :]
    answer: dict[str, Any] = {
        "DockerId": identity,
        "Name": container["name"],
        "DockerName": container["name"],
        "Image": container["image"],
        "Labels": {
            "com.amazonaws.ecs.cluster": task.cluster.arn,
            "com.amazonaws.ecs.container-name": container["name"],
            "com.amazonaws.ecs.task-arn": task.arn,
            "com.amazonaws.ecs.task-definition-family": task.definition.family,
            "com.amazonaws.ecs.task-definition-version": str(task.definition.revision),
        },
        "DesiredStatus": task.desired_status,
        "KnownStatus": task.status,
        "Limits": {"CPU": container.get("cpu", 0)},
        "CreatedAt": _time(task.times["createdAt"]),
        "Type": "NORMAL",
        "ContainerARN": f"{task.arn.replace(':task/', ':container/', 1)}/{task.id[:8]}",
        "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [address_of(task)]}],
    }
    if "memory" in container:
        answer["Limits"]["Memory"] = container["memory"]
    if "startedAt" in task.times:
        answer["StartedAt"] = _time(task.times["startedAt"])
    log = log_of(task)
    if log is not None:
        region = container["logConfiguration"]["options"]["awslogs-region"]
        answer["LogDriver"] = "awslogs"
        answer["LogOptions"] = {
            "awslogs-group": log[0],
            "awslogs-region": region,
            "awslogs-stream": log[1],
        }
    return answer


def _time(at: float) -> str:
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{round(at % 1 * 1000) % 1000:03}Z"
    )
