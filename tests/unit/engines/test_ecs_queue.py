"""ECS as a queue service: what it asks of the API, and what it makes of the answers."""

from __future__ import annotations

import datetime
from typing import Any

import botocore.exceptions
import pytest

from miniwdl_cloud.engines.ecs_queue import (
    EcsQueue,
    cluster_of,
    queue_name,
    run_task_request,
    split_queue,
)
from miniwdl_cloud.errors import ServiceError, Throttled
from miniwdl_cloud.jobs.request import (
    ArrayItem,
    Definition,
    JobRequest,
    JobSnapshot,
    JobState,
    Resources,
)
from miniwdl_cloud.jobs.service import DefinitionNotVisible

ARN = "arn:aws:ecs:us-east-1:123456789012:task/tasks/3b1f6c0e9a774f0c8f1f3d8b2b7c9e11"
NETWORK = {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"}
REQUEST = JobRequest(
    "hello-mfrggzdf",
    queue_name("tasks", spot=True),
    Definition.of({"cpu": "1024"}),
    Resources(0.5, 1024, storage_gib=50),
    environment=(("MINIWDL_CLOUD_SHELL", "/bin/bash"),),
    tags=(("lab", "x"), ("Name", "theirs")),
    item=ArrayItem("/mnt/efs/t", "", (("MINIWDL_CLOUD_TASK_DIR", "/mnt/efs/t"),)),
)


class FakeEcs:
    """Stands for `EcsClient`: answers as a test says, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            self.asked.append((name, *args, *((more,) if more else ())))
            answer = self.answers.get(name)
            if callable(answer):
                answer = answer(*args, **more)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def queue(ecs: FakeEcs, **more: Any) -> EcsQueue:
    """The service over a fake."""
    return EcsQueue(ecs, NETWORK, **more)  # type: ignore[arg-type]


def task(**more: Any) -> dict[str, Any]:
    """A task as DescribeTasks shows it."""
    return {
        "taskArn": ARN,
        "lastStatus": "RUNNING",
        "startedBy": REQUEST.name,
        "createdAt": datetime.datetime(2025, 11, 21, tzinfo=datetime.timezone.utc),
        "containers": [{"name": "task"}],
        **more,
    }


def test_names() -> None:
    """A queue is a cluster and what its tasks run on; a cluster may be an ARN."""
    arn = "arn:aws:ecs:us-east-1:123456789012:cluster/tasks"
    assert split_queue(queue_name(arn, spot=False)) == (arn, "FARGATE")
    assert split_queue("tasks/FARGATE_SPOT") == ("tasks", "FARGATE_SPOT")
    assert cluster_of(ARN) == "tasks"


def test_run_task_request() -> None:
    """All that differs from task to task is overridden; the client token is of the unique name."""
    made = run_task_request(REQUEST, "arn:definition", NETWORK)
    token = made.pop("clientToken")
    assert len(token) == 64
    assert token != run_task_request(_named("other"), "arn:definition", NETWORK)["clientToken"]
    assert made == {
        "cluster": "tasks",
        "taskDefinition": "arn:definition",
        "count": 1,
        "startedBy": "hello-mfrggzdf",
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
        "networkConfiguration": {"awsvpcConfiguration": NETWORK},
        "overrides": {
            "cpu": "512",
            "memory": "1024",
            "ephemeralStorage": {"sizeInGiB": 50},
            "containerOverrides": [
                {
                    "name": "task",
                    "environment": [
                        {"name": "MINIWDL_CLOUD_SHELL", "value": "/bin/bash"},
                        {"name": "MINIWDL_CLOUD_TASK_DIR", "value": "/mnt/efs/t"},
                    ],
                }
            ],
        },
        "tags": [{"key": "lab", "value": "x"}, {"key": "Name", "value": "hello-mfrggzdf"}],
        "enableECSManagedTags": True,
    }


def _named(name: str) -> JobRequest:
    return JobRequest(name, "tasks/FARGATE", Definition.of({}))


def test_submit() -> None:
    """A started task's ARN is the job's id; a refusal is told as what it means."""
    ecs = FakeEcs(run_task={"tasks": [task()], "failures": []})
    assert queue(ecs).submit([REQUEST], "arn:definition") == ARN
    ecs.answers["run_task"] = {
        "tasks": [],
        "failures": [{"reason": "Capacity is unavailable at this time. Please try again later"}],
    }
    with pytest.raises(Throttled, match="Capacity is unavailable"):
        queue(ecs).submit([REQUEST], "arn:definition")
    ecs.answers["run_task"] = {"tasks": [], "failures": [{"reason": "MISSING"}]}
    with pytest.raises(ServiceError, match="MISSING"):
        queue(ecs).submit([REQUEST], "arn:definition")
    ecs.answers["run_task"] = {"tasks": [], "failures": []}
    with pytest.raises(ServiceError, match="started no task"):
        queue(ecs).submit([REQUEST], "arn:definition")


def test_a_definition_that_is_not_visible_yet() -> None:
    """RunTask's "TaskDefinition not found." is not the end, right after a registration."""
    from miniwdl_cloud.aws.ecs import EcsClient

    cause = botocore.exceptions.ClientError(
        {"Error": {"Code": "ClientException", "Message": "TaskDefinition not found."}}, "RunTask"
    )
    error = ServiceError("AWS refused")
    error.__cause__ = cause
    ecs = FakeEcs(
        run_task=error,
        definition_not_visible_yet=lambda exn: EcsClient.definition_not_visible_yet(
            None,  # type: ignore[arg-type]
            exn,
        ),
    )
    with pytest.raises(DefinitionNotVisible):
        queue(ecs).submit([REQUEST], "arn:definition")


def test_definitions_are_found_or_registered() -> None:
    """A family of the content's name is used again, else registered."""
    ecs = FakeEcs(find_definition="arn:known", register_definition="arn:new")
    assert queue(ecs).ensure_definition(REQUEST.definition) == "arn:known"
    ecs.answers["find_definition"] = None
    assert queue(ecs).ensure_definition(REQUEST.definition) == "arn:new"
    name = REQUEST.definition.name
    assert ecs.asked[-1] == ("register_definition", {"family": name, "cpu": "1024"})
    ecs.answers["active_definitions"] = ["arn:1", "arn:2"]
    queue(ecs).retire(REQUEST.definition)
    assert ecs.asked[-2:] == [
        ("deregister_definition", "arn:1"),
        ("deregister_definition", "arn:2"),
    ]


def test_find() -> None:
    """A task is found by its name in startedBy; a bare name is looked for among stopped ones too,
    while a whole request can be repeated."""

    def list_tasks(cluster: str, **narrowed: str) -> list[str]:
        return [ARN] if narrowed in listed else []

    ecs = FakeEcs(list_tasks=list_tasks, describe_tasks={ARN: task(lastStatus="STOPPED")})
    bare = JobRequest(REQUEST.name, REQUEST.queue, Definition(""))
    listed: list[dict[str, str]] = [{"startedBy": REQUEST.name}]
    assert queue(ecs).find(REQUEST) == queue(ecs).find(bare) == ARN
    listed = [{"desiredStatus": "STOPPED"}]
    assert queue(ecs).find(REQUEST) is None
    assert queue(ecs).find(bare) == ARN
    assert queue(ecs).find(JobRequest("other", REQUEST.queue, Definition(""))) is None


def test_describe() -> None:
    """Tasks are described cluster by cluster; what is no task is asked of Batch."""
    other = ARN.replace("/tasks/", "/others/")

    def describe_tasks(cluster: str, arns: list[str]) -> dict[str, Any]:
        return {arn: task(taskArn=arn) for arn in arns if cluster_of(arn) == cluster}

    ecs = FakeEcs(describe_tasks=describe_tasks)
    parent = JobSnapshot("8f6b", JobState.SUCCEEDED)
    found = queue(ecs, describe_others=lambda ids: dict.fromkeys(ids, parent)).describe(
        [ARN, "8f6b", other]
    )
    assert {arn: snapshot.state for arn, snapshot in found.items()} == {
        ARN: JobState.RUNNING,
        other: JobState.RUNNING,
        "8f6b": JobState.SUCCEEDED,
    }
    assert queue(ecs).describe(["8f6b"]) == {}


def test_open_jobs_are_ours() -> None:
    """Of a cluster's tasks those count that have their name in startedBy and in the tag Name, on
    this capacity provider."""
    ours = task(tags=[{"key": "Name", "value": REQUEST.name}, {"key": "a", "value": "b"}])
    spot = {**ours, "taskArn": ARN + "s", "capacityProviderName": "FARGATE_SPOT"}
    theirs = task(taskArn=ARN + "t", startedBy="ecs-svc/1", tags=[])
    tasks = {item["taskArn"]: item for item in (ours, spot, theirs)}
    ecs = FakeEcs(list_tasks=list(tasks), describe_tasks=tasks)
    (found,) = queue(ecs).open_jobs("tasks/FARGATE")
    assert (found.job_id, found.name, found.tags["a"]) == (ARN, REQUEST.name, "b")
    assert found.created == ours["createdAt"].timestamp()
    assert [job.job_id for job in queue(ecs).open_jobs("tasks/FARGATE_SPOT")] == [ARN + "s"]


def test_terminate_and_tag() -> None:
    """A task is stopped in its own cluster."""
    ecs = FakeEcs()
    queue(ecs).terminate(ARN, "enough")
    queue(ecs).tag(ARN, "a", "b")
    assert ecs.asked == [("stop_task", "tasks", ARN, "enough"), ("tag_resource", ARN, {"a": "b"})]
