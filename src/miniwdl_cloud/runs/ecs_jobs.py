"""ECS tasks in the form of Batch's jobs, so that whoever looks at runs knows one form.

Members and states are those of Batch's JobDetail: a task's ARN is its ``jobId``, what started it
its ``jobName``, its cluster with what it runs on its ``jobQueue``. The task as ECS shows it is in
``ecsTask``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..engines.ecs_queue import CONTAINER, LOG_PREFIX, NAME_TAG, by_cluster, provider_of
from ..engines.ecs_snapshot import snapshot_of_task
from ..submit.request import DEFINITION_PREFIX
from ..workflow_job import ECS_TASK

if TYPE_CHECKING:
    from ..aws.ecs import EcsClient


class EcsJobs:
    """Looks at the ECS tasks of runs; keeps those that have stopped, which change no more.

    Parameters
    ----------
    ecs
        Amazon ECS.
    """

    def __init__(self, ecs: EcsClient) -> None:
        self._ecs = ecs
        self._stopped: dict[str, dict[str, Any]] = {}
        self._groups: dict[str, str | None] = {}

    def describe(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Tasks by ARN, with the place of their logs; those that ECS does not know (any more) are
        left out."""
        found = self._look(ids)
        for job in found.values():
            container = job["container"]
            group = self._log_group(job["jobDefinition"]) if container["logStreamName"] else None
            if group is None:
                container["logStreamName"] = None
            container["logConfiguration"] = {"options": {"awslogs-group": group}}
        return found

    def all(self, cluster: str) -> list[dict[str, Any]]:
        """The tasks of a cluster that have a name as ours do: those that have not stopped, and
        those that did within the last hour or so, which ECS remembers."""
        # Running ones first: a task that stops meanwhile is seen twice, never missed.
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")
            for arn in self._ecs.list_tasks(cluster, desiredStatus=status)
        ]
        jobs = self._look(dict.fromkeys(arns)).values()
        return [job for job in jobs if job["tags"].get(NAME_TAG) == job["jobName"] != ""]

    def _look(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        wanted = [arn for arn in ids if ECS_TASK.fullmatch(arn)]
        found = {arn: self._stopped[arn] for arn in wanted if arn in self._stopped}
        asked = [arn for arn in wanted if arn not in found]
        for cluster, some in by_cluster(asked).items():
            for arn, task in self._ecs.describe_tasks(cluster, some).items():
                found[arn] = job_of_task(task)
                if task["lastStatus"] == "STOPPED":
                    self._stopped[arn] = found[arn]
        return found

    def _log_group(self, definition_arn: str) -> str | None:
        if definition_arn not in self._groups:
            definition = self._ecs.describe_definition(definition_arn) or {}
            containers = definition.get("containerDefinitions") or [{}]
            log = containers[0].get("logConfiguration") or {}
            self._groups[definition_arn] = (log.get("options") or {}).get("awslogs-group")
        return self._groups[definition_arn]


def is_workflow(job: Mapping[str, Any]) -> bool:
    """Whether a task is a workflow job."""
    return f"task-definition/{DEFINITION_PREFIX}" in str(job.get("jobDefinition"))


def job_of_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task as DescribeTasks shows it, tags included, in the form of a Batch job."""
    snapshot = snapshot_of_task(task, CONTAINER, LOG_PREFIX)
    overrides = task.get("overrides") or {}
    container: Mapping[str, Any] = next(iter(overrides.get("containerOverrides") or []), {})
    tags = {tag["key"]: tag.get("value", "") for tag in task.get("tags", [])}
    cluster = str(task["clusterArn"]).rpartition("/")[2]
    job: dict[str, Any] = {
        "jobId": snapshot.job_id,
        "jobName": task.get("startedBy", ""),
        "jobQueue": f"{cluster}/{provider_of(task)}",
        "jobDefinition": task["taskDefinitionArn"],
        "status": snapshot.state.value,
        "statusReason": snapshot.status_reason,
        "isTerminated": snapshot.terminated,
        "container": {
            "command": container.get("command", []),
            "environment": container.get("environment", []),
            "exitCode": snapshot.exit_code,
            "reason": snapshot.reason,
            "logStreamName": snapshot.log_stream,
        },
        "tags": tags,
        "ecsTask": task,
    }
    for name in ("createdAt", "startedAt", "stoppedAt"):
        if task.get(name):
            job[name] = round(task[name].timestamp() * 1000)
    return job
