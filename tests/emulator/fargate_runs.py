"""Runs of miniwdl with the engine aws_fargate on the embedded AWS, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batch_helper import Batch
from ecs_helper import ROLE, Ecs
from engine_runs import Deployment

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
