"""What the emulator's tests do with ECS, through boto3."""

from __future__ import annotations

from typing import Any

from batch_helper import REGION, make_client, unique, wait_until

from miniwdl_cloud.emulator.server import LocalCloud

ROLE = "arn:aws:iam::123456789012:role/execution"


class Ecs:
    """What tests do with ECS, by its HTTP API; in a cluster of its own."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        # ECS lets 20 RunTask a second through, and tests may be faster.
        patient = {"mode": "standard", "total_max_attempts": 20}
        self.api = make_client(cloud, "ecs", retries=patient)
        self.logs = make_client(cloud, "logs")
        self.cluster = unique("cluster")
        self.api.create_cluster(
            clusterName=self.cluster, capacityProviders=["FARGATE", "FARGATE_SPOT"]
        )
        subnets = make_client(cloud, "ec2").describe_subnets()["Subnets"]
        self.subnet = str(subnets[0]["SubnetId"])
        self.group = unique("/tests")
        self.logs.create_log_group(logGroupName=self.group)

    def log_configuration(self, **options: str) -> dict[str, Any]:
        """An awslogs log of a container."""
        return {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": self.group,
                "awslogs-region": REGION,
                "awslogs-stream-prefix": "task",
                **options,
            },
        }

    def definition_request(self, *command: str, **params: Any) -> dict[str, Any]:
        """A RegisterTaskDefinition request; members of its container in ``container``."""
        container = {
            "name": "task",
            "image": "busybox",
            "command": list(command or ("true",)),
            "logConfiguration": self.log_configuration(),
            **params.pop("container", {}),
        }
        return {
            "family": unique("family"),
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": ROLE,
            "containerDefinitions": [container],
            **params,
        }

    def definition(self, *command: str, **params: Any) -> str:
        """A new task definition's ARN."""
        request = self.definition_request(*command, **params)
        answer = self.api.register_task_definition(**request)
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def run_request(self, definition: str, **params: Any) -> dict[str, Any]:
        """A RunTask request; on Fargate Spot where ``spot`` is true."""
        if params.pop("spot", False):
            strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
            params["capacityProviderStrategy"] = strategy
        elif "capacityProviderStrategy" not in params:
            params.setdefault("launchType", "FARGATE")
        return {
            "cluster": self.cluster,
            "taskDefinition": definition,
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": [self.subnet]}},
            **params,
        }

    def run(self, definition: str, **params: Any) -> str:
        """The ARN of a new task."""
        answer = self.api.run_task(**self.run_request(definition, **params))
        assert answer["failures"] == []
        return str(answer["tasks"][0]["taskArn"])

    def describe(self, arn: str) -> dict[str, Any]:
        """A task, with its tags."""
        answer = self.api.describe_tasks(cluster=self.cluster, tasks=[arn], include=["TAGS"])
        return dict(answer["tasks"][0])

    def wait(self, arn: str, status: str = "STOPPED") -> dict[str, Any]:
        """A task once it has a status."""

        def reached() -> dict[str, Any] | None:
            task = self.describe(arn)
            return task if task["lastStatus"] == status else None

        found: dict[str, Any] = wait_until(reached, f"{arn} {status}")
        return found

    def log(self, task: dict[str, Any], group: str | None = None) -> list[str]:
        """The lines of a task's log."""
        answer = self.logs.get_log_events(
            logGroupName=group or self.group,
            logStreamName=f"task/task/{task['taskArn'].rpartition('/')[2]}",
            startFromHead=True,
        )
        return [event["message"] for event in answer["events"]]
