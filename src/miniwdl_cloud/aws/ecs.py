"""Amazon ECS: the calls that we make, a function each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import botocore.exceptions

from ..errors import NotFound, ServiceError
from .error_mapping import map_errors
from .session import AwsSession

DESCRIBE_INSTANCES_MAX = 100
"""Container instances in one DescribeContainerInstances call (API reference)."""
DESCRIBE_TASKS_MAX = 100
"""Tasks in one DescribeTasks call (API reference, DescribeTasks, `tasks`)."""


# DescribeTaskDefinition answers a ClientException, as many others are.
_NO_DEFINITION = "Unable to describe task definition"


class EcsClient:
    """Amazon ECS in one Region.

    Every method raises the errors of `miniwdl_cloud.errors` that `aws.error_mapping` makes of
    botocore's.

    Parameters
    ----------
    session
        Where the client comes from.
    """

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("ecs")

    def describe_cluster(self, name: str) -> dict[str, Any] | None:
        """An active cluster by name or ARN, tags included, or ``None`` if there is none."""
        with map_errors(f"looking up the ECS cluster {name}"):
            answer = self._client.describe_clusters(clusters=[name], include=["TAGS"])
        found = answer["clusters"]
        return next((dict(item) for item in found if item["status"] == "ACTIVE"), None)

    def find_definition(self, family: str) -> str | None:
        """ARN of a family's newest active task definition, if there is one."""
        try:
            with map_errors("looking up a task definition"):
                found = self._client.describe_task_definition(taskDefinition=family)
        except ServiceError as exn:
            if _NO_DEFINITION in exn.message:
                return None
            raise
        definition = found["taskDefinition"]
        return str(definition["taskDefinitionArn"]) if definition["status"] == "ACTIVE" else None

    def active_definitions(self, family: str) -> list[str]:
        """ARNs of a family's active task definitions."""
        with map_errors("looking up task definitions"):
            pages = self._client.get_paginator("list_task_definitions").paginate(
                familyPrefix=family, status="ACTIVE"
            )
            return [arn for page in pages for arn in page["taskDefinitionArns"]]

    def describe_definition(self, name_or_arn: str) -> dict[str, Any] | None:
        """A task definition by ARN or family, tags included as ``tags``; ``None`` if there is
        none."""
        try:
            with map_errors("looking up a task definition"):
                found = self._client.describe_task_definition(
                    taskDefinition=name_or_arn, include=["TAGS"]
                )
        except ServiceError as exn:
            if _NO_DEFINITION in exn.message:
                return None
            raise
        return {**found["taskDefinition"], "tags": found.get("tags", [])}

    def families(self, prefix: str) -> list[str]:
        """The families that begin so and have an active task definition."""
        with map_errors("looking up task definitions"):
            pages = self._client.get_paginator("list_task_definition_families").paginate(
                familyPrefix=prefix, status="ACTIVE"
            )
            return [family for page in pages for family in page["families"]]

    def register_definition(self, request: Mapping[str, Any]) -> str:
        """Register a task definition; returns its ARN."""
        with map_errors("registering a task definition"):
            answer = self._client.register_task_definition(**request)
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def deregister_definition(self, arn: str) -> None:
        """Make a task definition inactive."""
        with map_errors("deregistering a task definition"):
            self._client.deregister_task_definition(taskDefinition=arn)

    def run_task(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """RunTask; the answer with its tasks and failures. With a client token it may be repeated:
        the tasks are then those of the first request (API reference, RunTask, `clientToken`)."""
        with map_errors("running a task"):
            return dict(self._client.run_task(**request))

    def describe_tasks(self, cluster: str, arns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Tasks of a cluster by ARN, with their tags, in calls of 100; those that are not known
        (any more) are not in the result."""
        found: dict[str, dict[str, Any]] = {}
        for chunk in _chunks(list(arns), DESCRIBE_TASKS_MAX):
            with _in_cluster("looking at tasks", cluster):
                answer = self._client.describe_tasks(cluster=cluster, tasks=chunk, include=["TAGS"])
            found.update((task["taskArn"], task) for task in answer["tasks"])
        return found

    def describe_instances(self, cluster: str, arns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Container instances of a cluster by ARN; those that are gone are not in the result."""
        found: dict[str, dict[str, Any]] = {}
        for chunk in _chunks(list(arns), DESCRIBE_INSTANCES_MAX):
            with map_errors("looking at container instances"):
                answer = self._client.describe_container_instances(
                    cluster=cluster, containerInstances=chunk
                )
            found.update(
                (item["containerInstanceArn"], item) for item in answer["containerInstances"]
            )
        return found

    def list_tasks(self, cluster: str, **narrowed: str) -> list[str]:
        """ARNs of a cluster's tasks.

        Parameters
        ----------
        narrowed
            As of ListTasks: `startedBy` alone, or `desiredStatus`, which is RUNNING by default.
        """
        with _in_cluster("listing tasks", cluster):
            pages = self._client.get_paginator("list_tasks").paginate(cluster=cluster, **narrowed)
            return [arn for page in pages for arn in page["taskArns"]]

    def stop_task(self, cluster: str, arn: str, reason: str) -> None:
        """Stop a task; nothing happens to one that has stopped, or that is forgotten."""
        try:
            with map_errors("stopping a task"):
                self._client.stop_task(cluster=cluster, task=arn, reason=reason)
        except ServiceError as exn:
            # An InvalidParameterException, as many others are.
            if "task was not found" not in exn.message:
                raise

    def tag_resource(self, arn: str, tags: Mapping[str, str]) -> None:
        """Set tags of a task, cluster or task definition."""
        with map_errors("tagging a task"):
            items = [{"key": key, "value": value} for key, value in tags.items()]
            self._client.tag_resource(resourceArn=arn, tags=items)

    def definition_not_visible_yet(self, exn: BaseException) -> bool:
        """Whether a refusal of RunTask says that the task definition does not exist; one that was
        just registered may be unknown for a moment."""
        cause = exn.__cause__
        if not isinstance(cause, botocore.exceptions.ClientError):
            return False
        text = str(cause.response.get("Error", {}).get("Message", "")).lower()
        return "taskdefinition" in text.replace(" ", "") and "not found" in text


@contextmanager
def _in_cluster(doing: str, cluster: str) -> Iterator[None]:
    try:
        with map_errors(doing):
            yield
    except ServiceError as exn:
        if "ClusterNotFoundException" not in exn.message:
            raise
        raise NotFound(
            f"The ECS cluster {cluster} does not exist in this account and Region; correct"
            " [aws_fargate] cluster (MINIWDL__AWS_FARGATE__CLUSTER) or --cluster."
        ) from exn


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
