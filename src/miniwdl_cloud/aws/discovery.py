"""What a deployment says of itself: the workflow job queue's tags, and what its queues run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import AccessDenied, ConfigurationError, NotFound
from .batch import BatchClient


@dataclass(frozen=True)
class Queue:
    """A job queue that takes jobs.

    Parameters
    ----------
    name, arn
        As Batch knows it.
    tags
        Its tags; those of a workflow job queue carry the deployment's defaults.
    platform
        ``FARGATE`` or ``EC2``, by its compute environments (Batch does not let them mix);
        ``None`` where the credentials may not ask.
    subnets, security_groups
        Those of its compute environments; empty where the credentials may not ask.
    """

    name: str
    arn: str
    tags: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()


def look_up_queues(batch: BatchClient, wanted: Sequence[tuple[str, str]]) -> list[Queue]:
    """Look up job queues that jobs will be submitted to, in the order asked.

    Parameters
    ----------
    batch
        AWS Batch in the deployment's Region.
    wanted
        Name or ARN of each queue, and what it is called in messages with the option that sets it:
        ``("spot", "task queue (--task-queue)")``.

    Raises
    ------
    NotFound
        A queue does not exist.
    ConfigurationError
        A queue exists but does not take jobs.
    """
    described = batch.describe_queues(list(dict.fromkeys(name for name, _ in wanted)))
    by_name = {item["jobQueueName"]: item for item in described}
    by_name.update({item["jobQueueArn"]: item for item in described})
    for name, called in wanted:
        if name not in by_name:
            raise NotFound(
                f"The {called} {name} does not exist in this account and Region; correct the name,"
                " or choose the Region with AWS_DEFAULT_REGION."
            )
        item = by_name[name]
        if item["state"] != "ENABLED":
            raise ConfigurationError(
                f"The {called} {name} is disabled; enable it, or name another one."
            )
        if item["status"] not in ("VALID", "UPDATING", "CREATING"):
            reason = item.get("statusReason") or "no reason given"
            raise ConfigurationError(
                f"The {called} {name} is {item['status']} ({reason}); repair it, or name another"
                " one."
            )
    on = _environments(batch, by_name)
    return [
        Queue(
            by_name[name]["jobQueueName"],
            by_name[name]["jobQueueArn"],
            dict(by_name[name].get("tags") or {}),
            *_platform_and_network(on.get(by_name[name]["jobQueueName"], [])),
        )
        for name, _ in wanted
    ]


def _environments(
    batch: BatchClient, queues: Mapping[str, dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """The compute environments of each queue, in its order."""
    environments = {
        item["jobQueueName"]: [
            entry["computeEnvironment"] for entry in item.get("computeEnvironmentOrder") or []
        ]
        for item in queues.values()
    }
    arns = sorted({arn for group in environments.values() for arn in group})
    if not arns:
        return {}
    try:
        described = batch.describe_compute_environments(arns)
    except AccessDenied:
        # The queues could be described, so credentials are there: only this call is not allowed,
        # and it only serves an earlier, clearer message.
        return {}
    found = {item["computeEnvironmentArn"]: item for item in described}
    found.update({item["computeEnvironmentName"]: item for item in described})
    return {
        name: [found[arn] for arn in arns if arn in found] for name, arns in environments.items()
    }


def _platform_and_network(
    environments: Sequence[dict[str, Any]],
) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    resources = [item.get("computeResources") or {} for item in environments]
    if not resources:
        return None, (), ()
    platform = "FARGATE" if str(resources[0].get("type", "")).startswith("FARGATE") else "EC2"
    subnets = {subnet for item in resources for subnet in item.get("subnets") or ()}
    groups = {group for item in resources for group in item.get("securityGroupIds") or ()}
    return platform, tuple(sorted(subnets)), tuple(sorted(groups))
