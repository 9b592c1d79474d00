"""What the embedded ECS accepts and refuses, seen through boto3."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from batch_helper import make_client, unique
from botocore.exceptions import ClientError
from ecs_helper import Ecs

from miniwdl_cloud.emulator.rates import RateLimit
from miniwdl_cloud.emulator.server import LocalCloud


@pytest.fixture(scope="module")
def ecs(cloud: LocalCloud) -> Ecs:
    """ECS of the running embedded AWS."""
    return Ecs(cloud)


def refused(call: Any, **params: Any) -> tuple[str, str]:
    """Code and message of a call's error."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_clusters(ecs: Ecs) -> None:
    """A cluster is made once, described with what is asked for, and deleted when it is empty."""
    name = unique("made")
    tags = [{"key": "Owner", "value": "me"}]
    made = ecs.api.create_cluster(clusterName=name, tags=tags)["cluster"]
    assert (made["status"], made["capacityProviders"], made["tags"]) == ("ACTIVE", [], tags)
    assert ecs.api.create_cluster(clusterName=name)["cluster"]["clusterArn"] == made["clusterArn"]
    answer = ecs.api.describe_clusters(clusters=[name, "none"])
    assert [cluster["tags"] for cluster in answer["clusters"]] == [[]]
    assert answer["failures"][0]["reason"] == "MISSING"
    assert made["clusterArn"] in ecs.api.list_clusters()["clusterArns"]
    changed = ecs.api.put_cluster_capacity_providers(
        cluster=name,
        capacityProviders=["FARGATE", "FARGATE_SPOT"],
        defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
    )["cluster"]
    assert changed["capacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
    request = ecs.run_request(ecs.definition("sleep", "300"), cluster=name)
    del request["launchType"]
    arn = ecs.api.run_task(**request)["tasks"][0]["taskArn"]
    assert refused(ecs.api.delete_cluster, cluster=name)[0] == "ClusterContainsTasksException"
    shown = ecs.api.describe_tasks(cluster=name, tasks=[arn])["tasks"][0]
    assert shown["capacityProviderName"] == "FARGATE_SPOT"
    ecs.api.stop_task(cluster=name, task=arn)


def test_delete_cluster(ecs: Ecs) -> None:
    """A deleted cluster is INACTIVE, and takes no tasks."""
    name = unique("deleted")
    ecs.api.create_cluster(clusterName=name)
    assert ecs.api.delete_cluster(cluster=name)["cluster"]["status"] == "INACTIVE"
    for call in (ecs.api.list_tasks, ecs.api.delete_cluster):
        assert refused(call, cluster=name) == ("ClusterNotFoundException", "Cluster not found.")


def test_capacity_providers_must_be_known(ecs: Ecs) -> None:
    """Only AWS's own two providers can be given, and only a cluster's own ones used."""
    name = unique("plain")
    code, message = refused(
        ecs.api.create_cluster, clusterName=name, capacityProviders=["FARGATE_CHEAP"]
    )
    assert (code, "was not found" in message) == ("InvalidParameterException", True)
    ecs.api.create_cluster(clusterName=name)
    request = ecs.run_request(ecs.definition(), spot=True)
    code, message = refused(ecs.api.run_task, **{**request, "cluster": name})
    assert "not associated with the cluster" in message


def test_definition_revisions(ecs: Ecs) -> None:
    """A family counts its revisions; the newest active one is meant by its name."""
    request = ecs.definition_request("true", tags=[{"key": "a", "value": "1"}])
    family = request["family"]
    arns = [
        ecs.api.register_task_definition(**request)["taskDefinition"]["taskDefinitionArn"]
        for _ in range(2)
    ]
    assert [arn.rpartition("/")[2] for arn in arns] == [f"{family}:1", f"{family}:2"]

    def described(text: str, **more: Any) -> dict[str, Any]:
        return dict(ecs.api.describe_task_definition(taskDefinition=text, **more))

    assert described(family)["taskDefinition"]["taskDefinitionArn"] == arns[1]
    assert described(f"{family}:1", include=["TAGS"])["tags"] == [{"key": "a", "value": "1"}]
    listed = ecs.api.list_task_definitions(familyPrefix=family)["taskDefinitionArns"]
    assert listed == arns
    ecs.api.deregister_task_definition(taskDefinition=arns[1])
    assert described(family)["taskDefinition"]["taskDefinitionArn"] == arns[0]
    assert described(arns[1])["taskDefinition"]["status"] == "INACTIVE"
    assert ecs.api.list_task_definitions(familyPrefix=family, status="INACTIVE")[
        "taskDefinitionArns"
    ] == [arns[1]]
    families = ecs.api.list_task_definition_families(familyPrefix=family, status="ACTIVE")
    assert families["families"] == [family]
    assert refused(ecs.api.run_task, **ecs.run_request(arns[1])) == (
        "ClientException",
        "TaskDefinition is inactive",
    )
    assert refused(ecs.api.describe_task_definition, taskDefinition="none") == (
        "ClientException",
        "Unable to describe task definition.",
    )


EFS = {"fileSystemId": "fs-1"}
POINT = {"authorizationConfig": {"accessPointId": "fsap-1"}, "transitEncryption": "ENABLED"}
S3_FILES = "arn:aws:s3files:us-east-1:123456789012:file-system/fs-1"


def efs(**more: Any) -> dict[str, Any]:
    """A definition with an EFS volume."""
    return {"volumes": [{"name": "v", "efsVolumeConfiguration": {**EFS, **more}}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cpu": "300"}, "No Fargate configuration exists for given values: 300 CPU, 512 memory"),
        ({"cpu": "256", "memory": "4 GB"}, "given values: 256 CPU, 4096 memory"),
        ({"cpu": "16384", "memory": "122881"}, "No Fargate configuration"),
        ({"memory": "much"}, "Invalid 'memory' setting for task"),
        ({"memory": ""}, "requires that 'memory' be defined at the task level"),
        ({"networkMode": "host"}, "Fargate only supports network mode 'awsvpc'"),
        ({"executionRoleArn": ""}, "execution role ARN to support log driver awslogs"),
        ({"ephemeralStorage": {"sizeInGiB": 20}}, "between 21 and 200"),
        ({"ephemeralStorage": {"sizeInGiB": 201}}, "between 21 and 200"),
        ({"family": "a b"}, "Family contains invalid characters"),
        ({"runtimePlatform": {"cpuArchitecture": "MIPS"}}, "Member must satisfy enum value set"),
        ({"container": {"privileged": True}}, "privileged"),
        ({"container": {"image": "x" * 256}}, "Container.image"),
        ({"container": {"cpu": 512}}, "not be more than that of the task"),
        ({"container": {"stopTimeout": 121}}, "stopTimeout must be between 2 and 120"),
        (
            {"container": {"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 1}]}}},
            "tmpfs",
        ),
        ({"container": {"resourceRequirements": [{"type": "GPU", "value": "1"}]}}, "resourceReq"),
        (
            {"container": {"mountPoints": [{"sourceVolume": "x", "containerPath": "/x"}]}},
            "volume 'x'",
        ),
        (
            {"container": {"logConfiguration": {"logDriver": "json-file"}}},
            "not supported on Fargate",
        ),
        (
            {
                "container": {
                    "logConfiguration": {
                        "logDriver": "awslogs",
                        "options": {"awslogs-group": "g", "awslogs-region": "us-east-1"},
                    }
                }
            },
            "awslogs-stream-prefix",
        ),
        ({"volumes": [{"name": "v", "host": {"sourcePath": "/mnt"}}]}, "host sourcePath"),
        (efs(authorizationConfig={"accessPointId": "fsap-1"}), "transitEncryption"),
        (efs(**POINT, rootDirectory="/a"), "rootDirectory must be omitted"),
        (efs(transitEncryption="ENABLED", authorizationConfig={"iam": "ENABLED"}), "taskRoleArn"),
        (
            {"volumes": [{"name": "v", "s3filesVolumeConfiguration": {"fileSystemArn": S3_FILES}}]},
            "S3 Files volume requires taskRoleArn",
        ),
        ({"tags": [{"key": "aws:x", "value": "1"}]}, "reserved"),
    ],
)
def test_definition_refused(ecs: Ecs, change: dict[str, Any], says: str) -> None:
    """Task definitions that Fargate cannot run are refused with its reason."""
    request = {k: v for k, v in ecs.definition_request(**change).items() if v != ""}
    _, message = refused(ecs.api.register_task_definition, **request)
    assert says in message


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": ".25 vCPU", "memory": "0.5GB"},
        {"cpu": "16 vcpu", "memory": "120 GB"},
        {"cpu": "4096", "memory": "30720", "ephemeralStorage": {"sizeInGiB": 200}},
        {"runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}},
        efs(**POINT, rootDirectory="/"),
        efs(rootDirectory="/tasks/1"),
        {
            "taskRoleArn": "arn:aws:iam::123456789012:role/task",
            "volumes": [{"name": "v", "s3filesVolumeConfiguration": {"fileSystemArn": S3_FILES}}],
        },
        {"container": {"stopTimeout": 120, "linuxParameters": {"initProcessEnabled": True}}},
    ],
)
def test_definition_accepted(ecs: Ecs, change: dict[str, Any]) -> None:
    """Task definitions that Fargate can run are registered, their size in units and MiB."""
    shown = ecs.api.register_task_definition(**ecs.definition_request(**change))["taskDefinition"]
    assert shown["status"] == "ACTIVE"
    assert shown["cpu"].isdigit()
    assert shown["memory"].isdigit()


STRATEGY = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"count": 11}, "InvalidParameterException", "between 1 and 10"),
        ({"startedBy": "a" * 129}, "InvalidParameterException", "startedBy"),
        ({"startedBy": "a b"}, "InvalidParameterException", "startedBy"),
        ({"clientToken": "a" * 65}, "InvalidParameterException", "clientToken"),
        ({"capacityProviderStrategy": STRATEGY}, "InvalidParameterException", "Specifying both"),
        ({"launchType": "EC2"}, "InvalidParameterException", "No Container Instances"),
        ({"launchType": ""}, "InvalidParameterException", "No Container Instances"),
        (
            {"networkConfiguration": {}},
            "InvalidParameterException",
            "Network Configuration must be",
        ),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-0"]}}},
            "InvalidParameterException",
            "The subnet ID 'subnet-0' does not exist",
        ),
        ({"cluster": "none"}, "ClusterNotFoundException", "Cluster not found."),
        ({"taskDefinition": "none"}, "ClientException", "TaskDefinition not found."),
        ({"propagateTags": "SERVICE"}, "InvalidParameterException", "SERVICE"),
        ({"enableExecuteCommand": True}, "InvalidParameterException", "task role"),
        (
            {"overrides": {"containerOverrides": [{"name": "other"}]}},
            "InvalidParameterException",
            "Override for container named other",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "task", "command": ["x" * 8192]}]}},
            "InvalidParameterException",
            "Container Overrides length must be at most 8192",
        ),
        ({"overrides": {"cpu": "512"}}, "ClientException", "No Fargate configuration exists"),
        ({"overrides": {"ephemeralStorage": {"sizeInGiB": 300}}}, "ClientException", "and 200"),
    ],
)
def test_run_task_refused(ecs: Ecs, change: dict[str, Any], code: str, says: str) -> None:
    """RunTask refuses what ECS refuses, and starts nothing."""
    request = {**ecs.run_request(ecs.definition(), startedBy="refused"), **change}
    request = {k: v for k, v in request.items() if v != ""}
    assert refused(ecs.api.run_task, **request)[0] == code
    assert says in refused(ecs.api.run_task, **request)[1]
    assert ecs.api.list_tasks(cluster=ecs.cluster, startedBy="refused")["taskArns"] == []


def test_other_calls_refused(ecs: Ecs) -> None:
    """Unknown tasks, mixed filters, too many tasks and unknown operations have ECS's errors."""
    assert refused(ecs.api.stop_task, cluster=ecs.cluster, task="none") == (
        "InvalidParameterException",
        "The referenced task was not found.",
    )
    code, message = refused(
        ecs.api.list_tasks, cluster=ecs.cluster, startedBy="a", desiredStatus="RUNNING"
    )
    assert (code, "only filter" in message) == ("InvalidParameterException", True)
    code, _ = refused(ecs.api.describe_tasks, cluster=ecs.cluster, tasks=["x"] * 101)
    assert code == "InvalidParameterException"
    code, _ = refused(ecs.api.tag_resource, resourceArn="arn:aws:ecs:us-east-1:1:task/a/b", tags=[])
    assert code == "ResourceNotFoundException"
    code, message = refused(ecs.api.list_services, cluster=ecs.cluster)
    assert (code, "does not have ListServices" in message) == ("ClientException", True)


def test_run_task_is_throttled(
    ecs: Ecs, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the rate of calls, and above that of launches, RunTask is throttled as a whole."""
    hasty = make_client(cloud, "ecs")
    request = ecs.run_request(ecs.definition(), count=3)
    monkeypatch.setattr(cloud.ecs, "run_task_calls", RateLimit(1.0, clock=lambda: 0.0))
    assert len(hasty.run_task(**request)["tasks"]) == 3
    throttled = ("ThrottlingException", "Rate exceeded")
    assert refused(hasty.run_task, **request) == throttled
    monkeypatch.setattr(cloud.ecs, "run_task_calls", RateLimit(None))
    slow = {
        "FARGATE": RateLimit(20.0, 5, clock=lambda: 0.0),
        "FARGATE_SPOT": RateLimit(20.0, 3, clock=lambda: 0.0),
    }
    monkeypatch.setattr(cloud.ecs, "launches", slow)
    assert len(hasty.run_task(**request)["tasks"]) == 3
    assert refused(hasty.run_task, **request) == throttled
    spot = ecs.run_request(request["taskDefinition"], count=3, spot=True)
    assert len(hasty.run_task(**spot)["tasks"]) == 3


def test_rates() -> None:
    """A token bucket fills with time, up to its size."""
    now = [0.0]
    limit = RateLimit(20.0, 100, clock=lambda: now[0])
    assert limit.take(100)
    assert not limit.take()
    now[0] = 0.5
    assert limit.take(10)
    assert not limit.take()
    now[0] = 1000.0
    assert not limit.take(101)
    assert limit.take(100)


def test_strategy_spreads(ecs: Ecs) -> None:
    """Tasks are spread over providers by base and weight."""
    strategy = [
        {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 3},
    ]
    request = ecs.run_request(ecs.definition(), capacityProviderStrategy=strategy, count=9)
    tasks = ecs.api.run_task(**request)["tasks"]
    names = [task["capacityProviderName"] for task in tasks]
    assert (names[0], names.count("FARGATE"), names.count("FARGATE_SPOT")) == ("FARGATE", 3, 6)


def test_interrupt_endpoint(ecs: Ecs, cloud: LocalCloud) -> None:
    """The emulator's own endpoint interrupts a task by its ARN."""
    arn = ecs.run(ecs.definition("sleep", "300"), spot=True)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = json.dumps({"jobId": arn}).encode()
    opener.open(f"{cloud.endpoint_url}/_local/interrupt", data=body, timeout=60).close()
    assert ecs.wait(arn)["stopCode"] == "SpotInterruption"


TEMPLATE = """
Resources:
  Cluster:
    Type: AWS::ECS::Cluster
    Properties:
      CapacityProviders: [FARGATE, FARGATE_SPOT]
      DefaultCapacityProviderStrategy: [{CapacityProvider: FARGATE, Weight: 1}]
      Tags: [{Key: Owner, Value: me}]
  LogGroup:
    Type: AWS::Logs::LogGroup
    Properties: {RetentionInDays: 30}
Outputs:
  Cluster: {Value: !Ref Cluster}
  ClusterArn: {Value: !GetAtt Cluster.Arn}
  LogGroup: {Value: !Ref LogGroup}
"""


def test_cloudformation(ecs: Ecs, cloud: LocalCloud) -> None:
    """A stack makes a cluster and a log group, changes them, and deletes them."""
    stacks, name = make_client(cloud, "cloudformation"), unique("stack")
    stacks.create_stack(StackName=name, TemplateBody=TEMPLATE)
    outputs = {
        output["OutputKey"]: output["OutputValue"]
        for output in stacks.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    }

    def cluster() -> dict[str, Any]:
        found = ecs.api.describe_clusters(clusters=[outputs["Cluster"]], include=["TAGS"])
        return dict(found["clusters"][0])

    def retention() -> list[int | None]:
        groups = ecs.logs.describe_log_groups(logGroupNamePrefix=outputs["LogGroup"])["logGroups"]
        return [group.get("retentionInDays") for group in groups]

    assert cluster()["clusterArn"] == outputs["ClusterArn"]
    assert cluster()["capacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
    assert cluster()["tags"] == [{"key": "Owner", "value": "me"}]
    assert retention() == [30]
    changed = TEMPLATE.replace("Value: me", "Value: you").replace("30}", "60}")
    stacks.update_stack(StackName=name, TemplateBody=changed)
    assert cluster()["tags"] == [{"key": "Owner", "value": "you"}]
    assert retention() == [60]
    stacks.delete_stack(StackName=name)
    assert cluster()["status"] == "INACTIVE"
    assert retention() == []
