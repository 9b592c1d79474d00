"""Operations on tasks: run, describe, list, stop."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from moto.ec2.models import ec2_backends

from ..batch.models import ACCOUNT_ID
from ..errors import ApiError
from ..faults.endings import NOT_PLACED
from ..faults.placement import PlacementFaults
from . import limits
from .base import (
    Params,
    client_error,
    invalid_parameter,
    missing,
    operation,
    page,
    tags_of,
    throttled,
    too_many,
)
from .clusters import ClusterOperations, checked_strategy
from .definitions import DefinitionOperations
from .describe import describe_task
from .models import FARGATE, RUNNING, STOPPED, Cluster, Tags, Task, TaskDefinition


class TaskOperations(ClusterOperations, DefinitionOperations):
    """Tasks."""

    placement: PlacementFaults
    max_vcpus: float
    """The account's quotas "Fargate On-Demand vCPU resource count" and that of Spot."""

    def __init__(self, region: str) -> None:
        super().__init__(region)
        self._tokens: dict[tuple[str, str], tuple[str, list[str]]] = {}

    @operation
    def run_task(self, params: Params) -> Params:
        """RunTask."""
        if not self.run_task_calls.take():
            raise throttled()
        cluster = self.find_cluster(params.get("cluster"))
        earlier = self._earlier(cluster, params)
        if earlier is not None:
            return {"tasks": [describe_task(task, ("TAGS",)) for task in earlier], "failures": []}
        limits.check_run_task(params)
        definition = self._runnable_definition(params["taskDefinition"])
        strategy = self._strategy(cluster, params)
        self._check_network(params["networkConfiguration"]["awsvpcConfiguration"])
        tags = self._tags_of_run(cluster, definition, params)
        count = params.get("count", 1)
        tasks: list[Task] = []
        failures = []
        used = self._cpu_in_use()
        for number, provider in enumerate(_spread(strategy, count)):
            task = self._make(params, cluster, definition, provider, bool(strategy), number, tags)
            reason = self._why_not(task, used[provider])
            if reason is None:
                tasks.append(task)
                used[provider] += task.cpu
            else:
                failures.append({"arn": definition.arn, "reason": reason})
        for provider in {task.provider for task in tasks}:
            if not self.launches[provider].take(sum(t.provider == provider for t in tasks)):
                raise throttled()
        for task in tasks:
            self.tasks[task.id] = task
            self.lifecycle.started(task)
        if tasks and "clientToken" in params:
            key = (cluster.name, params["clientToken"])
            self._tokens[key] = (_canonical(params), [task.id for task in tasks])
        return {
            "tasks": [describe_task(task, ("TAGS",)) for task in tasks],
            "failures": failures,
        }

    @operation
    def describe_tasks(self, params: Params) -> Params:
        """DescribeTasks by ARN or id."""
        cluster = self.find_cluster(params.get("cluster"))
        too_many(params["tasks"], "tasks")
        tasks, failures = [], []
        for text in params["tasks"]:
            task = self._task(cluster, text)
            if task is None:
                arn = text if text.startswith("arn:") else self.arn(f"task/{cluster.name}", text)
                failures.append(missing(arn))
            else:
                tasks.append(describe_task(task, params.get("include", ())))
        return {"tasks": tasks, "failures": failures}

    @operation
    def list_tasks(self, params: Params) -> Params:
        """ListTasks: those that shall run, or those that shall be stopped."""
        cluster = self.find_cluster(params.get("cluster"))
        narrowed = [m for m in ("family", "serviceName", "containerInstance") if params.get(m)]
        if params.get("startedBy") and (narrowed or params.get("desiredStatus")):
            raise invalid_parameter(
                "When you specify startedBy as the filter, it must be the only filter that you use."
            )
        for member in ("serviceName", "containerInstance", "daemonName"):
            if params.get(member):
                raise client_error(f"The embedded AWS has no tasks by {member}.")
        desired = params.get("desiredStatus", RUNNING)
        wanted = {
            "family": params.get("family"),
            "started_by": params.get("startedBy"),
            "launch_type": params.get("launchType"),
        }
        arns = [
            task.arn
            for task in self.tasks.values()
            if task.cluster is cluster
            and task.desired_status == desired
            and wanted["family"] in (None, task.definition.family)
            and wanted["started_by"] in (None, task.request.get("startedBy"))
            and wanted["launch_type"] in (None, FARGATE)
        ]
        part, token = page(arns, params)
        return {"taskArns": part, **token}

    @operation
    def stop_task(self, params: Params) -> Params:
        """StopTask; one that has stopped is only shown."""
        cluster = self.find_cluster(params.get("cluster"))
        task = self._task(cluster, params["task"])
        if task is None:
            raise invalid_parameter("The referenced task was not found.")
        self.lifecycle.stop(task, params.get("reason") or "Task stopped by user")
        return {"task": describe_task(task, ("TAGS",))}

    def _task(self, cluster: Cluster, text: str) -> Task | None:
        task = self.tasks.get(text.rpartition("/")[2])
        if task is None or task.cluster is not cluster:
            return None
        return task if text in (task.id, task.arn, f"{cluster.name}/{task.id}") else None

    def _earlier(self, cluster: Cluster, params: Params) -> list[Task] | None:
        """The tasks that a request with the same client token has made.

        A token is of its cluster, and free again where the request has made nothing.

        Raises
        ------
        ApiError
            It was another request.
        """
        known = self._tokens.get((cluster.name, params.get("clientToken", "")))
        if known is None:
            return None
        request, ids = known
        tasks = [self.tasks[id_] for id_ in ids if id_ in self.tasks]
        if request != _canonical(params):
            raise ApiError(
                "ConflictException",
                "The provided clientToken is already in use with a different RunTask request.",
                resource_ids=[task.arn for task in tasks],
            )
        return tasks

    def _runnable_definition(self, text: str) -> TaskDefinition:
        found = self.matching_definitions(text)
        if not found:
            raise client_error("TaskDefinition not found.")
        if not found[0].is_active:
            raise client_error("TaskDefinition is inactive")
        return found[0]

    def _strategy(self, cluster: Cluster, params: Params) -> list[dict[str, Any]]:
        """The capacity provider strategy; empty for a launch type."""
        if params.get("launchType"):
            return []
        given = params.get("capacityProviderStrategy")
        strategy: list[dict[str, Any]]
        strategy = given or cluster.detail["defaultCapacityProviderStrategy"]
        if not strategy:
            # The launch type is then EC2.
            raise invalid_parameter("No Container Instances were found in your cluster.")
        return checked_strategy(strategy, cluster.detail["capacityProviders"])

    def _check_network(self, network: Mapping[str, Any]) -> None:
        backend: Any = ec2_backends[ACCOUNT_ID][self.region]
        known = {name for zone in list(backend.subnets.values()) for name in list(zone)}
        for subnet in network["subnets"]:
            if subnet not in known:
                raise invalid_parameter(f"The subnet ID '{subnet}' does not exist")
        groups = {name for vpc in list(backend.groups.values()) for name in list(vpc)}
        for group in network.get("securityGroups", []):
            if group not in groups:
                raise invalid_parameter(f"The security group '{group}' does not exist")

    def _tags_of_run(self, cluster: Cluster, definition: TaskDefinition, params: Params) -> Tags:
        tags = tags_of(params.get("tags", []))
        if params.get("propagateTags") == "TASK_DEFINITION":
            tags = {**definition.tags, **tags}
        if len(tags) > 50:
            raise invalid_parameter("The maximum number of tags per resource is 50.")
        if params.get("enableECSManagedTags"):
            tags["aws:ecs:clusterName"] = cluster.name
        return tags

    def _make(
        self,
        params: Params,
        cluster: Cluster,
        definition: TaskDefinition,
        provider: str,
        by_strategy: bool,
        number: int,
        tags: Tags,
    ) -> Task:
        overrides = params.get("overrides", {})
        detail = definition.detail
        size = limits.check_size(
            overrides.get("cpu") or detail["cpu"], overrides.get("memory") or detail["memory"]
        )
        limits.check_storage(overrides.get("ephemeralStorage"))
        storage = overrides.get("ephemeralStorage") or detail.get("ephemeralStorage")
        if params.get("enableExecuteCommand") and not (
            overrides.get("taskRoleArn") or detail.get("taskRoleArn")
        ):
            raise invalid_parameter("enableExecuteCommand requires a task role.")
        container = _overridden(definition.container, overrides.get("containerOverrides", []))
        limits.check_container_size(container, size)
        limits.check_environment(container["environment"])
        task_id = uuid.uuid4().hex
        subnets = params["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
        return Task(
            id=task_id,
            arn=self.arn("task", f"{cluster.name}/{task_id}"),
            cluster=cluster,
            definition=definition,
            request=params,
            container=container,
            cpu=size[0],
            memory_mib=size[1],
            storage_gib=storage["sizeInGiB"] if storage else None,
            tags=dict(tags),
            subnet=subnets[number % len(subnets)],
            provider=provider,
            by_strategy=by_strategy,
        )

    def _cpu_in_use(self) -> Counter[str]:
        """CPU units by capacity provider."""
        used: Counter[str] = Counter()
        for task in self.tasks.values():
            if task.status != STOPPED:
                used[task.provider] += task.cpu
        return used

    def _why_not(self, task: Task, used: int) -> str | None:
        """Why a task cannot be placed now, as ``failures`` of RunTask word it."""
        if used + task.cpu > self.max_vcpus * 1024:
            return NOT_PLACED["limit"]
        return self.placement.refused(task.name, task.cluster.name, task.provider)


def _spread(strategy: list[dict[str, Any]], count: int) -> list[str]:
    """The provider of each of several tasks: the base first, then by weight."""
    if not strategy:
        return [FARGATE] * count
    placed = {item["capacityProvider"]: 0 for item in strategy}
    chosen = []
    for _ in range(count):
        lacking = [i for i in strategy if placed[i["capacityProvider"]] < i["base"]]
        weighty = [i for i in strategy if i["weight"]] or strategy
        best = min(
            lacking or weighty,
            key=lambda i: (placed[i["capacityProvider"]] - i["base"] + 1) / (i["weight"] or 1),
        )
        placed[best["capacityProvider"]] += 1
        chosen.append(best["capacityProvider"])
    return chosen


def _overridden(container: dict[str, Any], overrides: list[dict[str, Any]]) -> dict[str, Any]:
    """A container definition with the overrides of RunTask."""
    merged = dict(container)
    for override in overrides:
        name = override.get("name")
        if name != container["name"]:
            raise invalid_parameter(
                f"Override for container named {name} is not a container in the TaskDefinition."
            )
        for member in ("environmentFiles", "resourceRequirements"):
            if override.get(member):
                raise client_error(f"The embedded AWS does not have {member} in overrides.")
        for member in ("command", "cpu", "memory", "memoryReservation"):
            if override.get(member):
                merged[member] = override[member]
        environment = {e["name"]: e.get("value", "") for e in merged.get("environment", [])}
        environment.update({e["name"]: e.get("value", "") for e in override.get("environment", [])})
        merged["environment"] = [{"name": k, "value": v} for k, v in environment.items()]
    return merged


def _canonical(params: Params) -> str:
    return json.dumps(params, sort_keys=True)
