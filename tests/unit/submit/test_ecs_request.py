"""The exact requests of a workflow job that is an ECS task, and starting it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from typing import Any

import pytest
from test_request import DEPLOYMENT, OPTIONS, ROLE

from miniwdl_cloud.engines.ecs_place import EcsPlace
from miniwdl_cloud.errors import ServiceError, Throttled
from miniwdl_cloud.settings import Settings, mapping_source
from miniwdl_cloud.submit import request as requests
from miniwdl_cloud.submit.launch import CAPACITY_WAIT_S, EcsLauncher
from miniwdl_cloud.submit.shipping import Shipment, ship_in_request

PLACE = EcsPlace("cluster", ("subnet-1", "subnet-2"), ("sg-1",), True, "arn:execution", "/logs")
ON_ECS = dataclasses.replace(
    DEPLOYMENT, workflow_queue=None, task_queue=None, place=PLACE, engine="aws_fargate"
)


def build(shipment: Shipment | None = None, **options: Any) -> requests.WorkflowRequest:
    """Requests with a short command."""
    asked = dataclasses.replace(OPTIONS, **options)
    return requests.build(ON_ECS, asked, "n-1", ["a", "b"], {"X": "1"}, shipment, "eu-west-1")


def test_exact_requests() -> None:
    """EFS by access point, both roles, log, time to stop; overrides, tags and a client token."""
    made = build()
    family = made.definition.pop("family")
    assert family == made.submit["taskDefinition"]
    assert family.startswith("miniwdl-cloud-workflow-")
    assert made.definition == {
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "1024",
        "memory": "4096",
        "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "taskRoleArn": ROLE,
        "executionRoleArn": "arn:execution",
        "volumes": [
            {
                "name": "shared",
                "efsVolumeConfiguration": {
                    "fileSystemId": "fs-1",
                    "transitEncryption": "ENABLED",
                    "authorizationConfig": {"accessPointId": "fsap-1"},
                },
            }
        ],
        "containerDefinitions": [
            {
                "name": "task",
                "image": "image:1",
                "essential": True,
                "stopTimeout": 120,
                "mountPoints": [
                    {"sourceVolume": "shared", "containerPath": "/mnt/efs", "readOnly": False}
                ],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": "/logs",
                        "awslogs-region": "eu-west-1",
                        "awslogs-stream-prefix": "miniwdl",
                        "mode": "non-blocking",
                        "max-buffer-size": "25m",
                    },
                },
            }
        ],
    }
    assert made.submit == {
        "cluster": "cluster",
        "taskDefinition": family,
        "count": 1,
        "launchType": "FARGATE",
        "clientToken": hashlib.sha256(b"n-1").hexdigest(),
        "startedBy": "n-1",
        "enableECSManagedTags": True,
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-1", "subnet-2"],
                "securityGroups": ["sg-1"],
                "assignPublicIp": "ENABLED",
            }
        },
        "overrides": {
            "cpu": "1024",
            "memory": "4096",
            "containerOverrides": [
                {
                    "name": "task",
                    "command": ["a", "b"],
                    "environment": [{"name": "X", "value": "1"}],
                }
            ],
        },
        "tags": [{"key": "Owner", "value": "me"}, {"key": "Name", "value": "n-1"}],
    }


def test_runs_alike_share_a_definition() -> None:
    """The size is overridden; a quarter of a vCPU is one of Fargate's."""
    small = build(vcpus=0.25, memory_mib=512)
    assert small.definition_name == build().definition_name
    assert (small.overrides["cpu"], small.overrides["memory"]) == ("256", "512")


def test_largest_shipment_keeps_to_the_limits() -> None:
    """Overrides stay below 8,192 characters, tags at 50 with the one that names the task."""
    room = requests.room_for_wdl(build())
    shipments = [
        ship_in_request(random.Random(size).randbytes(size), room)
        for size in range(1000, 40000, 500)
    ]
    largest = [shipment for shipment in shipments if shipment is not None][-1]
    made = build(largest)
    assert len(json.dumps(made.overrides)) <= 8192
    assert len(made.submit["tags"]) <= 50 and len(made.definition["tags"]) <= 50
    assert len(made.submit["tags"]) > 40


def test_environment_tells_the_engine_where_its_tasks_run() -> None:
    """Cluster, network, role and log group are set, whatever the person's own variables say."""
    environ = {"MINIWDL__AWS_FARGATE__CLUSTER": "other", "MINIWDL__AWS_FARGATE__EFS_ID": "fs-2"}
    made = requests.environment(ON_ECS, OPTIONS, environ)
    assert {name: value for name, value in made.items() if "FARGATE" in name} == {
        "MINIWDL__AWS_FARGATE__CLUSTER": "cluster",
        "MINIWDL__AWS_FARGATE__SUBNETS": "subnet-1 subnet-2",
        "MINIWDL__AWS_FARGATE__SECURITY_GROUPS": "sg-1",
        "MINIWDL__AWS_FARGATE__ASSIGN_PUBLIC_IP": "true",
        "MINIWDL__AWS_FARGATE__EXECUTION_ROLE": "arn:execution",
        "MINIWDL__AWS_FARGATE__LOG_GROUP": "/logs",
        "MINIWDL__AWS_FARGATE__EFS_ID": "fs-2",
    }
    assert made["MINIWDL__SCHEDULER__CONTAINER_BACKEND"] == "aws_fargate"
    assert "MINIWDL__AWS__TASK_QUEUE" not in made


def test_cluster_of_the_command_line_reaches_a_workflow_job_on_batch() -> None:
    """--cluster ranks above the environment, also where only the tasks are on Fargate."""
    given = Settings(mapping_source({("aws_fargate", "cluster"): "mine"}))
    deployment = dataclasses.replace(DEPLOYMENT, engine="aws_fargate")
    options = dataclasses.replace(OPTIONS, settings=given)
    name = "MINIWDL__AWS_FARGATE__CLUSTER"
    assert requests.environment(deployment, options, {name: "other"})[name] == "mine"


class FakeEcs:
    """Answers RunTask."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)

    def run_task(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def definition_not_visible_yet(self, exn: BaseException) -> bool:
        return False


def start(*answers: dict[str, Any]) -> tuple[str, list[str], float]:
    """Start a task; its ARN, what was said, and how long it took."""
    now, said = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    launcher = EcsLauncher(FakeEcs(*answers), said.append, lambda: now[0], sleep)  # type: ignore[arg-type]
    return launcher.start({}, patient=False), said, now[0]


NO_ROOM = {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time."}]}


def test_capacity_is_waited_for() -> None:
    """Where Fargate has none, that is said once, and RunTask is repeated."""
    arn, said, _ = start(NO_ROOM, NO_ROOM, {"tasks": [{"taskArn": "arn:x"}], "failures": []})
    assert arn == "arn:x" and len(said) == 1 and "Capacity" in said[0]


def test_capacity_is_not_waited_for_without_end() -> None:
    """After a while it is an error that says what to do."""
    with pytest.raises(Throttled, match=r"submit it again later, or with --engine batch") as error:
        start(NO_ROOM)
    assert error.value.exit_code == 75
    assert f"within {CAPACITY_WAIT_S:.0f} s" in error.value.message


def test_other_failures_are_errors_at_once() -> None:
    """A failure that does not pass is not waited out."""
    with pytest.raises(ServiceError, match="MISSING"):
        start({"tasks": [], "failures": [{"reason": "MISSING"}]})
