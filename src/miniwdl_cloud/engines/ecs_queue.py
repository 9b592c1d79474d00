"""Amazon ECS on Fargate as a queue service of the dispatcher.

What a job queue is on Batch, is here a cluster and what its tasks run on: ``CLUSTER/FARGATE`` or
``CLUSTER/FARGATE_SPOT``. A job's id is the ARN of its task.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..accounting.tagged import ALONE_PREFIX, AloneDefinition, OpenJob
from ..aws.ecs import DESCRIBE_TASKS_MAX, EcsClient
from ..errors import MiniwdlCloudError, NotFound, ServiceError
from ..jobs.request import Definition, JobRequest, JobSnapshot, JobState
from ..jobs.service import DefinitionNotVisible
from .batch_queue import owner_in
from .ecs_snapshot import run_task_error, snapshot_of_task

CONTAINER = "task"
"""Name of a task's one container."""
LOG_PREFIX = "miniwdl"
"""First part of the names of log streams."""
NAME_TAG = "Name"
"""The tag that holds a job's name."""
ON_DEMAND, SPOT = "FARGATE", "FARGATE_SPOT"


class EcsQueue:
    """Implements `jobs.service.QueueService` over Amazon ECS.

    RunTask takes a client token, so that it may be repeated where its answer was lost: that token
    is made of the job's unique name. The name is in `startedBy` too, by which a task that has not
    stopped is found, and in the tag Name.

    Parameters
    ----------
    ecs
        Amazon ECS.
    network
        `awsvpcConfiguration` of every task: subnets, security groups, public address.
    execute_command
        Whether people may run commands in tasks, to look into them.
    describe_others
        Describes what is no ECS task: workflow jobs, which are Batch jobs.
    """

    describe_max = DESCRIBE_TASKS_MAX
    array_max = 1

    def __init__(
        self,
        ecs: EcsClient,
        network: Mapping[str, Any],
        execute_command: bool = False,
        describe_others: Callable[[Sequence[str]], Mapping[str, JobSnapshot]] | None = None,
    ) -> None:
        self._ecs = ecs
        self._network = dict(network)
        self._execute_command = execute_command
        self._describe_others = describe_others

    def ensure_definition(self, definition: Definition) -> str:
        """ARN of an active task definition of this family, which says all of its content."""
        found = self._ecs.find_definition(definition.name)
        if found is not None:
            return found
        request = {"family": definition.name, **json.loads(definition.content)}
        return self._ecs.register_definition(request)

    def retire(self, definition: Definition) -> None:
        """DeregisterTaskDefinition of every active revision."""
        self.retire_named(definition.name)

    def retire_named(self, name: str) -> None:
        """DeregisterTaskDefinition likewise."""
        for arn in self._ecs.active_definitions(name):
            self._ecs.deregister_definition(arn)

    def alone_definitions(self) -> Sequence[AloneDefinition]:
        """ListTaskDefinitionFamilies of the whole Region, and DescribeTaskDefinition of each."""
        found = []
        for family in self._ecs.families(ALONE_PREFIX):
            definition = self._ecs.describe_definition(family) or {}
            owner = owner_in(definition.get("containerDefinitions", []))
            if owner:
                found.append(AloneDefinition(family, owner))
        return found

    def submit(self, requests: Sequence[JobRequest], definition_handle: str) -> str:
        """RunTask of one task."""
        (request,) = requests
        try:
            answer = self._ecs.run_task(
                run_task_request(request, definition_handle, self._network, self._execute_command)
            )
        except MiniwdlCloudError as exn:
            if self._ecs.definition_not_visible_yet(exn):
                raise DefinitionNotVisible from exn
            raise
        error = run_task_error(answer.get("failures", []))
        if error is not None:
            raise error
        if not answer.get("tasks"):
            raise ServiceError(
                "ECS started no task, and did not say why.", {"operation": "RunTask"}
            )
        return str(answer["tasks"][0]["taskArn"])

    def find(self, request: JobRequest) -> str | None:
        """ListTasks by `startedBy`, which names tasks that have not stopped. If there is none, and
        the request is not at hand to be repeated, those that stopped in the last hour are looked
        through."""
        cluster, _ = split_queue(request.queue)
        found = self._ecs.list_tasks(cluster, startedBy=request.name)
        if found:
            return found[0]
        if not request.definition.content:
            stopped = self._ecs.list_tasks(cluster, desiredStatus="STOPPED")
            for arn, task in self._ecs.describe_tasks(cluster, stopped).items():
                if task.get("startedBy") == request.name:
                    return arn
        return None

    def describe(self, ids: Sequence[str]) -> Mapping[str, JobSnapshot]:
        """DescribeTasks."""
        arns = [id_ for id_ in ids if id_.startswith("arn:")]
        found = {
            arn: snapshot_of_task(task, CONTAINER, LOG_PREFIX)
            for cluster, some in by_cluster(arns).items()
            for arn, task in self._ecs.describe_tasks(cluster, some).items()
        }
        others = [id_ for id_ in ids if not id_.startswith("arn:")]
        if others and self._describe_others is not None:
            found.update(self._describe_others(others))
        return found

    def describe_workflow_jobs(self, ids: Sequence[str]) -> Mapping[str, JobSnapshot]:
        """As `describe`, of tasks in other clusters, which may have been deleted meanwhile."""
        found: dict[str, JobSnapshot] = {}
        for some in by_cluster(ids).values():
            try:
                found.update(self.describe(some))
            except NotFound:
                continue
        return found

    def child_id(self, array_id: str, index: int) -> str:
        """There are no array jobs."""
        raise NotImplementedError("ECS has no array jobs")

    def list_children(self, array_id: str, state: JobState) -> Sequence[str]:
        """There are no array jobs."""
        raise NotImplementedError("ECS has no array jobs")

    def terminate(self, job_id: str, reason: str) -> None:
        """StopTask."""
        self._ecs.stop_task(cluster_of(job_id), job_id, reason)

    def open_jobs(self, queue: str) -> Sequence[OpenJob]:
        """ListTasks, and DescribeTasks, which alone tells tags. Clusters have other tasks too: only
        those that have a name as ours count."""
        cluster, provider = split_queue(queue)
        found = []
        tasks = self._ecs.describe_tasks(cluster, self._ecs.list_tasks(cluster))
        for arn, task in tasks.items():
            tags = {tag["key"]: tag.get("value", "") for tag in task.get("tags", [])}
            name = task.get("startedBy")
            if name and tags.get(NAME_TAG) == name and provider_of(task) == provider:
                found.append(OpenJob(arn, name, queue, task["createdAt"].timestamp(), tags))
        return found

    def tag(self, job_id: str, name: str, value: str) -> None:
        """TagResource."""
        self._ecs.tag_resource(job_id, {name: value})


def queue_name(cluster: str, spot: bool) -> str:
    """The name of a cluster as a queue of on-demand or of Spot tasks."""
    return f"{cluster}/{SPOT if spot else ON_DEMAND}"


def split_queue(queue: str) -> tuple[str, str]:
    """Cluster, name or ARN, and capacity provider."""
    cluster, _, provider = queue.rpartition("/")
    return cluster, provider


def cluster_of(arn: str) -> str:
    """The name of a task's cluster (ECS developer guide, "Amazon Resource Names")."""
    return arn.split("/")[-2]


def run_task_request(
    request: JobRequest,
    definition_handle: str,
    network: Mapping[str, Any],
    execute_command: bool = False,
) -> dict[str, Any]:
    """The RunTask request of a job."""
    cluster, provider = split_queue(request.queue)
    variables = {**dict(request.environment), **dict(request.item.environment)}
    resources = request.resources
    overrides: dict[str, Any] = {
        "cpu": str(round(resources.vcpus * 1024)),
        "memory": str(resources.memory_mib),
        "containerOverrides": [
            {
                "name": CONTAINER,
                "environment": [{"name": k, "value": v} for k, v in variables.items()],
            }
        ],
    }
    if resources.storage_gib:
        overrides["ephemeralStorage"] = {"sizeInGiB": resources.storage_gib}
    tags = {**dict(request.tags), NAME_TAG: request.name}
    ans: dict[str, Any] = {
        "cluster": cluster,
        "taskDefinition": definition_handle,
        "count": 1,
        "clientToken": hashlib.sha256(request.name.encode()).hexdigest(),
        "startedBy": request.name,
        "networkConfiguration": {"awsvpcConfiguration": dict(network)},
        "overrides": overrides,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        "enableECSManagedTags": True,
    }
    if execute_command:
        ans["enableExecuteCommand"] = True
    if provider == SPOT:
        ans["capacityProviderStrategy"] = [{"capacityProvider": SPOT, "weight": 1}]
    else:
        # Needs no capacity provider, so that any cluster will do.
        ans["launchType"] = ON_DEMAND
    return ans


def by_cluster(arns: Iterable[str]) -> dict[str, list[str]]:
    """The ARNs of tasks by the names of their clusters."""
    found: dict[str, list[str]] = {}
    for arn in arns:
        found.setdefault(cluster_of(arn), []).append(arn)
    return found


def provider_of(task: Mapping[str, Any]) -> str:
    """What a task runs on, as the name of a capacity provider."""
    return SPOT if task.get("capacityProviderName") == SPOT else ON_DEMAND
