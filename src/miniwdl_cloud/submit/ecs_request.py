"""The exact requests of a workflow job that is an ECS task on Fargate.

It is made as the engine makes the tasks of a run, so that whoever looks at one knows the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..engines.ecs_place import EcsPlace
from ..engines.ecs_queue import CONTAINER, LOG_PREFIX, queue_name, run_task_request
from ..filesystems.base import mount_point
from ..jobs.request import Definition, JobRequest, Resources

if TYPE_CHECKING:
    from .deployment import Deployment
    from .options import Options

STOP_TIMEOUT_S = 120
"""Seconds that the workflow job has after SIGTERM to end its tasks: as many as Fargate gives (API
reference, ContainerDefinition, `stopTimeout`)."""


def definition_content(
    deployment: Deployment, volume: Mapping[str, Any], region: str, tags: Mapping[str, str]
) -> dict[str, Any]:
    """RegisterTaskDefinition, but for the family.

    Parameters
    ----------
    volume
        The shared filesystem.
    region
        Where the log group is.
    tags
        That carry WDL source code.
    """
    place = deployment.place
    assert place is not None
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": deployment.image,
        "essential": True,
        "mountPoints": [mount_point(deployment.filesystem.mount, volume["name"])],
        "stopTimeout": STOP_TIMEOUT_S,
    }
    if place.log_group:
        container["logConfiguration"] = {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": place.log_group,
                "awslogs-region": region,
                "awslogs-stream-prefix": LOG_PREFIX,
                # As of workflow jobs on Batch; see `request.py`.
                "mode": "non-blocking",
                "max-buffer-size": "25m",
            },
        }
    content: dict[str, Any] = {
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        # Overridden by each run; a definition must have a valid size all the same.
        "cpu": "1024",
        "memory": "4096",
        "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "volumes": [dict(volume)],
        "containerDefinitions": [container],
    }
    if deployment.role:
        content["taskRoleArn"] = deployment.role
    if place.execution_role:
        content["executionRoleArn"] = place.execution_role
    if tags:
        content["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
    return content


def run_task(
    deployment: Deployment,
    options: Options,
    name: str,
    family: str,
    command: Sequence[str],
    variables: Mapping[str, str],
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """RunTask; names the definition without a revision, as all its revisions are equal."""
    place = deployment.place
    assert place is not None
    request = run_task_request(
        JobRequest(
            name=name,
            # On demand: an interruption would end the whole run.
            queue=queue_name(place.cluster, spot=False),
            definition=Definition(json.dumps({})),
            resources=Resources(options.vcpus, options.memory_mib),
            environment=tuple(variables.items()),
            tags=tuple(tags.items()),
        ),
        family,
        place.network,
    )
    request["overrides"]["containerOverrides"][0]["command"] = list(command)
    return request


def place_variables(place: EcsPlace) -> dict[str, str]:
    """The variables that tell the engine aws_fargate in the workflow job where its tasks run."""
    return {
        s.FARGATE_CLUSTER.env: place.cluster,
        s.FARGATE_SUBNETS.env: " ".join(place.subnets),
        s.FARGATE_SECURITY_GROUPS.env: " ".join(place.security_groups),
        s.FARGATE_ASSIGN_PUBLIC_IP.env: str(place.assign_public_ip).lower(),
        s.FARGATE_EXECUTION_ROLE.env: place.execution_role or "",
        s.FARGATE_LOG_GROUP.env: place.log_group or "0",
    }
