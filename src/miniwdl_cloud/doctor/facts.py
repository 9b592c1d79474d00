"""What the checks know: settings, and the account's answers, each asked for once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .. import settings as s
from ..aws.batch import BatchClient
from ..aws.inspection import Inspection
from ..aws.session import AwsSession
from ..settings import Settings


class Facts:
    """A deployment as it is found.

    Parameters
    ----------
    session
        Of the account and Region.
    settings
        Without the tags of the workflow job queue.
    """

    def __init__(self, session: AwsSession, settings: Settings) -> None:
        self.session = session
        self.own_settings = settings
        self.batch = BatchClient(session)
        self.aws = Inspection(session)

    @property
    def workflow_queue_name(self) -> str | None:
        """As the settings name it."""
        name: str | None = self.own_settings.get(s.WORKFLOW_QUEUE)
        return name

    @cached_property
    def workflow_queue(self) -> dict[str, Any] | None:
        """The workflow job queue, if there is one."""
        return self._queue(self.workflow_queue_name)

    @cached_property
    def settings(self) -> Settings:
        """With the tags of the workflow job queue."""
        queue = self.workflow_queue or {}
        return self.own_settings.with_tags(queue.get("tags") or {})

    @cached_property
    def task_queues(self) -> dict[str, dict[str, Any] | None]:
        """Task queue and fallback, by the names in the settings."""
        names = [self.settings.get(each) for each in (s.TASK_QUEUE, s.TASK_QUEUE_FALLBACK)]
        return {name: self._queue(name) for name in names if name}

    @cached_property
    def queues(self) -> list[dict[str, Any]]:
        """All of these queues that exist, each once."""
        found = [self.workflow_queue, *self.task_queues.values()]
        return list({q["jobQueueArn"]: q for q in found if q is not None}.values())

    @cached_property
    def environments(self) -> dict[str, dict[str, Any]]:
        """The queues' compute environments, by ARN."""
        arns = {arn for queue in self.queues for arn in environments_of(queue)}
        found = self.batch.describe_compute_environments(sorted(arns)) if arns else []
        return {item["computeEnvironmentArn"]: item for item in found}

    @cached_property
    def subnet_ids(self) -> list[str]:
        """Subnets of all compute environments."""
        resources = [item.get("computeResources") or {} for item in self.environments.values()]
        return sorted({subnet for item in resources for subnet in item.get("subnets") or ()})

    @cached_property
    def group_ids(self) -> list[str]:
        """Security groups of all compute environments."""
        resources = [item.get("computeResources") or {} for item in self.environments.values()]
        return sorted({g for item in resources for g in item.get("securityGroupIds") or ()})

    @cached_property
    def subnets(self) -> dict[str, dict[str, Any]]:
        """Their descriptions, by id."""
        return self.aws.subnets(self.subnet_ids)

    def _queue(self, name: str | None) -> dict[str, Any] | None:
        return next(iter(self.batch.describe_queues([name])), None) if name else None


def environments_of(queue: dict[str, Any]) -> list[str]:
    """ARNs of a queue's compute environments, in its order."""
    order = queue.get("computeEnvironmentOrder") or []
    return [
        entry["computeEnvironment"] for entry in sorted(order, key=lambda e: int(e.get("order", 0)))
    ]


def resources_of(environment: dict[str, Any]) -> dict[str, Any]:
    """A compute environment's ``computeResources``; none in one that Batch does not manage."""
    found: dict[str, Any] = environment.get("computeResources") or {}
    return found


def is_fargate(environment: dict[str, Any]) -> bool:
    """Whether a compute environment is of Fargate."""
    return str(resources_of(environment).get("type", "")).startswith("FARGATE")


def is_spot(environment: dict[str, Any]) -> bool:
    """Whether its capacity may be taken away."""
    return resources_of(environment).get("type") in ("SPOT", "FARGATE_SPOT")
