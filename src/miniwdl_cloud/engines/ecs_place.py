"""Where ECS tasks of a deployment run: cluster, network, role to start with, log group."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .. import settings as s
from ..aws.discovery import Queue
from ..errors import ConfigurationError
from ..settings import Settings

SUBNETS_MOST, GROUPS_MOST = 16, 5
"""Of a task (API reference, AwsVpcConfiguration)."""


@dataclass(frozen=True)
class EcsPlace:
    """Where ECS tasks run; see `miniwdl_cloud.settings`, section ``aws_fargate``, for the meaning.

    Parameters
    ----------
    execution_role
        ARN of the role with which ECS pulls images and writes logs.
    log_group
        ``None`` if there is none.
    """

    cluster: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    assign_public_ip: bool
    execution_role: str | None
    log_group: str | None

    @property
    def network(self) -> dict[str, object]:
        """`awsvpcConfiguration` of a task."""
        return {
            "subnets": list(self.subnets),
            "securityGroups": list(self.security_groups),
            "assignPublicIp": "ENABLED" if self.assign_public_ip else "DISABLED",
        }


def find_place(found: Settings, queue: Queue | None) -> EcsPlace:
    """What settings, tags and the workflow job queue say.

    Parameters
    ----------
    found
        Settings, with the deployment's tags as their lowest source.
    queue
        The workflow job queue, whose subnets and security groups are used if no others are set.

    Raises
    ------
    ConfigurationError
        Something is not set, or too much of it.
    """
    cluster = found.get(s.FARGATE_CLUSTER)
    if not cluster:
        raise ConfigurationError(
            f"Set [aws_fargate] cluster ({s.FARGATE_CLUSTER.env}) to the ECS cluster for tasks, or"
            f" tag the workflow job queue with {s.FARGATE_CLUSTER.tag}."
        )
    subnets = _ids(found.get(s.FARGATE_SUBNETS)) or (queue.subnets if queue else ())
    if not subnets:
        raise ConfigurationError(
            f"Set [aws_fargate] subnets ({s.FARGATE_SUBNETS.env}) to the subnets for ECS tasks, or"
            f" [aws] workflow_queue ({s.WORKFLOW_QUEUE.env}) to the queue whose subnets they shall"
            " use."
        )
    groups = _ids(found.get(s.FARGATE_SECURITY_GROUPS))
    groups = groups or (queue.security_groups if queue else ())
    efs_group = found.get(s.FARGATE_EFS_SECURITY_GROUP)
    if efs_group and efs_group not in groups:
        groups = (*groups, efs_group)
    if len(subnets) > SUBNETS_MOST or len(groups) > GROUPS_MOST:
        raise ConfigurationError(
            f"An ECS task can have {SUBNETS_MOST} subnets and {GROUPS_MOST} security groups; name"
            " fewer in [aws_fargate] subnets and security_groups."
        )
    log_group = found.get(s.FARGATE_LOG_GROUP)
    if log_group is not None and s.is_false(log_group):
        log_group = None
    execution_role = found.get(s.FARGATE_EXECUTION_ROLE) or found.get(s.WORKFLOW_ROLE)
    if log_group and not execution_role:
        raise ConfigurationError(
            f"Set [aws_fargate] execution_role ({s.FARGATE_EXECUTION_ROLE.env}) to the role with"
            " which ECS writes logs, or [aws_fargate] log_group to 0."
        )
    return EcsPlace(
        cluster=cluster,
        subnets=subnets,
        security_groups=groups,
        assign_public_ip=found.get(s.FARGATE_ASSIGN_PUBLIC_IP),
        execution_role=execution_role,
        log_group=log_group,
    )


def _ids(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(re.findall(r"[^\s,]+", text or "")))
