"""Runs of miniwdl with the engine aws_fargate on the embedded AWS, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from batch_helper import Batch
from ecs_helper import ROLE, Ecs
from engine_runs import Attempt, Deployment, Run

from miniwdl_cloud.emulator.server import LocalCloud


class FargateDeployment(Deployment):
    """A cluster and a filesystem on the embedded AWS, and miniwdl to run on them."""

    def __init__(self, cloud: LocalCloud, batch: Batch, root: Path) -> None:
        super().__init__(cloud, batch, root)
        self.ecs = Ecs(cloud)

    def environ(self, **more: str) -> dict[str, str]:
        """The environment of somebody who has the filesystem mounted, and no queue."""
        settings = {
            "CLUSTER": self.ecs.cluster,
            "SUBNETS": self.ecs.subnet,
            "EXECUTION_ROLE": ROLE,
            "LOG_GROUP": self.ecs.group,
            # The embedded AWS of the tests has more quota than this.
            "DEFINITION_PERIOD": "0.01",
        }
        given = {
            "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_fargate",
            **{f"MINIWDL__AWS_FARGATE__{name}": value for name, value in settings.items()},
        }
        found = super().environ(**{**given, **more})
        del found["MINIWDL__AWS__TASK_QUEUE"]
        return found

    def attempts(self, name_part: str) -> list[Attempt]:
        """All attempts of tasks whose names contain a text."""
        found = []
        for task in self.tasks(name_part):
            arn = task["taskDefinitionArn"]
            definition = self.ecs.api.describe_task_definition(taskDefinition=arn)
            (container,) = definition["taskDefinition"]["containerDefinitions"]
            status, user = task["lastStatus"], container.get("user")
            found.append(Attempt(task["taskArn"], task["startedBy"], arn, status, user))
        return found

    def submitted(self) -> list[str]:
        """The names of all tasks that were started."""
        return [task["startedBy"] for task in self.tasks()]

    def end(self, job_id: str, reason: str) -> None:
        """Stop a task, as somebody may who is not miniwdl."""
        self.ecs.api.stop_task(cluster=self.ecs.cluster, task=job_id, reason=reason)

    def kept_details(self, run: Run) -> set[str]:
        """ARNs of the tasks whose last description is kept in a run directory."""
        kept = run.directory.rglob("ecsTask.*.json")
        return {json.loads(path.read_text())["taskArn"] for path in kept}

    def tasks(self, name_part: str = "") -> list[dict[str, Any]]:
        """All tasks whose names contain a text, in the order in which they were made."""
        arns = []
        for status in ("RUNNING", "STOPPED"):
            pages = self.ecs.api.get_paginator("list_tasks").paginate(
                cluster=self.ecs.cluster, desiredStatus=status
            )
            arns += [arn for page in pages for arn in page["taskArns"]]
        found = []
        for start in range(0, len(arns), 100):
            answer = self.ecs.api.describe_tasks(
                cluster=self.ecs.cluster, tasks=arns[start : start + 100], include=["TAGS"]
            )
            found += [task for task in answer["tasks"] if name_part in task["startedBy"]]
        return sorted(found, key=lambda task: task["createdAt"])


ENGINES = {"batch": Deployment, "fargate": FargateDeployment}
"""What can be deployed for a test that is of any engine."""
