"""From a task to the container that an executor runs."""

from __future__ import annotations

from ..batch.launch import LaunchError, Surroundings, emulator_environment, mounts_of
from ..executors.base import ContainerSpec, ulimits_of
from .metadata import metadata_path
from .models import Task

__all__ = ["LaunchError", "Surroundings", "make_spec"]


def make_spec(task: Task, around: Surroundings) -> ContainerSpec:
    """The container of a task.

    Raises
    ------
    LaunchError
        A volume cannot be had.
    """
    container = task.container
    volumes = task.definition.detail["volumes"]
    entry_point = container.get("entryPoint")
    role = task.request.get("overrides", {}).get("taskRoleArn") or task.definition.detail.get(
        "taskRoleArn"
    )
    return ContainerSpec(
        name=f"ecs-{task.definition.family[:40]}-{task.id}",
        image=container["image"],
        command=tuple(container.get("command", [])),
        environment={
            **emulator_environment(around, role),
            **{e["name"]: e.get("value", "") for e in container.get("environment", [])},
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "ECS_CONTAINER_METADATA_URI_V4": around.endpoint_url + metadata_path(task),
        },
        mounts=tuple(mounts_of(container, volumes, around)),
        vcpus=(container.get("cpu") or task.cpu) / 1024,
        memory_mib=container.get("memory") or task.memory_mib,
        user=container.get("user"),
        read_only_root=bool(container.get("readonlyRootFilesystem", False)),
        entry_point=tuple(entry_point) if entry_point else None,
        ulimits=ulimits_of(container),
    )
