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
    """

    name: str
    arn: str
    tags: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None


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
    platforms = _platforms(batch, by_name)
    return [
        Queue(
            by_name[name]["jobQueueName"],
            by_name[name]["jobQueueArn"],
            dict(by_name[name].get("tags") or {}),
            platforms.get(by_name[name]["jobQueueName"]),
        )
        for name, _ in wanted
    ]


def _platforms(batch: BatchClient, queues: Mapping[str, dict[str, Any]]) -> dict[str, str]:
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
    kinds: dict[str, str] = {}
    for item in described:
        kind = str((item.get("computeResources") or {}).get("type", "EC2"))
        platform = "FARGATE" if kind.startswith("FARGATE") else "EC2"
        kinds[item["computeEnvironmentArn"]] = kinds[item["computeEnvironmentName"]] = platform
    return {
        name: kinds[group[0]] for name, group in environments.items() if group and group[0] in kinds
    }
