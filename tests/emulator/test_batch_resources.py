"""Compute environments, job queues, definitions, scheduling policies and tags."""

from __future__ import annotations

from typing import Any

import botocore.exceptions
import pytest
from batch_helper import Batch, unique


def refused(call: Any, **params: Any) -> str:
    """The message of the ClientException that a call ends in."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**params)
    assert caught.value.response["Error"]["Code"] == "ClientException"
    return str(caught.value.response["Error"]["Message"])


def test_compute_environment(batch: Batch) -> None:
    """A compute environment is VALID at once and shows what it was made with."""
    name = unique("ce")
    resources = {
        "type": "SPOT",
        "allocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED",
        "maxvCpus": 8,
        "instanceTypes": ["default_x86_64"],
        "instanceRole": "role",
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
        "launchTemplate": {"launchTemplateId": "lt-1", "version": "$Latest"},
        "tags": {"Name": "worker"},
    }
    made = batch.api.create_compute_environment(
        computeEnvironmentName=name,
        type="MANAGED",
        computeResources=resources,
        tags={"Owner": "me"},
    )
    arn = made["computeEnvironmentArn"]
    assert arn == f"arn:aws:batch:us-east-1:123456789012:compute-environment/{name}"
    (shown,) = batch.api.describe_compute_environments(computeEnvironments=[arn])[
        "computeEnvironments"
    ]
    assert resources.items() <= shown["computeResources"].items()
    assert (shown["state"], shown["status"], shown["tags"]) == ("ENABLED", "VALID", {"Owner": "me"})
    assert ":cluster/" in shown["ecsClusterArn"]
    batch.api.update_compute_environment(
        computeEnvironment=name, computeResources={"maxvCpus": 16}, state="DISABLED"
    )
    (shown,) = batch.api.describe_compute_environments(computeEnvironments=[name])[
        "computeEnvironments"
    ]
    assert shown["computeResources"]["maxvCpus"] == 16
    assert shown["computeResources"]["instanceTypes"] == ["default_x86_64"]
    assert shown["state"] == "DISABLED"
    batch.api.delete_compute_environment(computeEnvironment=name)
    found = batch.api.describe_compute_environments(computeEnvironments=[name])
    assert found["computeEnvironments"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maxvCpus": 0}, "maxvCpus"),
        ({"instanceTypes": []}, "instance type"),
        ({"instanceRole": ""}, "Instance role is required."),
        ({"subnets": []}, "subnet"),
        ({"type": "FARGATE"}, "not applicable for Fargate"),
    ],
)
def test_compute_environment_refused(batch: Batch, change: dict[str, Any], message: str) -> None:
    """What a compute environment needs, and what Fargate must not have."""
    resources = {
        "type": "EC2",
        "maxvCpus": 1,
        "instanceTypes": ["m5"],
        "instanceRole": "role",
        "subnets": ["subnet-1"],
        **change,
    }
    assert message in refused(
        batch.api.create_compute_environment,
        computeEnvironmentName=unique("ce"),
        type="MANAGED",
        computeResources=resources,
    )


def test_names(batch: Batch) -> None:
    """A name is used once, and has to fit the pattern."""
    environment = batch.environment()
    order = [{"order": 1, "computeEnvironment": environment}]
    queue = batch.queue(environment)
    create = batch.api.create_job_queue
    for name, message in ((queue, "already exists"), ("a b", "pattern")):
        text = refused(create, jobQueueName=name, priority=1, computeEnvironmentOrder=order)
        assert message in text
    resources = {"type": "FARGATE", "maxvCpus": 1, "subnets": ["subnet-1"]}
    assert "already exists" in refused(
        batch.api.create_compute_environment,
        computeEnvironmentName=environment,
        type="MANAGED",
        computeResources=resources,
    )


def test_job_queue(batch: Batch) -> None:
    """A job queue is VALID at once; its tags and its environments' order are shown."""
    first, second = batch.environment(), batch.environment()
    name = unique("queue")
    action = {
        "state": "RUNNABLE",
        "reason": "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
        "maxTimeSeconds": 600,
        "action": "CANCEL",
    }
    order = [
        {"order": 7, "computeEnvironment": second},
        {"order": 3, "computeEnvironment": first},
    ]
    tags = {"DefaultTaskQueue": "tasks"}
    made = batch.api.create_job_queue(
        jobQueueName=name,
        priority=5,
        computeEnvironmentOrder=order,
        jobStateTimeLimitActions=[action],
        tags=tags,
    )
    (shown,) = batch.api.describe_job_queues(jobQueues=[made["jobQueueArn"]])["jobQueues"]
    assert (shown["priority"], shown["state"], shown["status"]) == (5, "ENABLED", "VALID")
    assert shown["tags"] == tags and shown["jobStateTimeLimitActions"] == [action]
    arns = [item["computeEnvironment"] for item in shown["computeEnvironmentOrder"]]
    assert [arn.rsplit("/")[-1] for arn in arns] == [first, second]
    batch.api.update_job_queue(jobQueue=name, priority=9, state="DISABLED")
    (shown,) = batch.api.describe_job_queues(jobQueues=[name])["jobQueues"]
    assert (shown["priority"], shown["state"]) == (9, "DISABLED")
    batch.api.delete_job_queue(jobQueue=name)
    assert batch.api.describe_job_queues(jobQueues=[name])["jobQueues"] == []


def test_job_queue_refused(batch: Batch) -> None:
    """A queue has one to three environments that exist, all EC2 or all Fargate."""
    environments = [batch.environment() for _ in range(4)]
    fargate = batch.environment(type="FARGATE")
    for chosen, message in (
        ([], "between 1 and 3"),
        (environments, "between 1 and 3"),
        (["nowhere"], "not found"),
        ([environments[0], fargate], "same kind"),
    ):
        order = [{"order": i, "computeEnvironment": e} for i, e in enumerate(chosen)]
        assert message in refused(
            batch.api.create_job_queue,
            jobQueueName=unique("queue"),
            priority=1,
            computeEnvironmentOrder=order,
        )


def test_time_limit_action_refused(batch: Batch) -> None:
    """A time limit in RUNNABLE is at least ten minutes."""
    action = {"state": "RUNNABLE", "reason": "x", "maxTimeSeconds": 599, "action": "CANCEL"}
    queue = batch.queue()
    message = refused(batch.api.update_job_queue, jobQueue=queue, jobStateTimeLimitActions=[action])
    assert "between 600 and 86400" in message


def test_deletion_needs_disabling(batch: Batch) -> None:
    """Queues and environments in use are not deleted; deleting a queue ends its jobs."""
    environment = batch.environment()
    queue = batch.queue(environment)
    job_id = batch.submit(batch.definition("sleep", "300"), queue)
    batch.wait(job_id, "RUNNING")
    assert "DISABLED" in refused(batch.api.delete_job_queue, jobQueue=queue)
    delete = batch.api.delete_compute_environment
    assert "DISABLED" in refused(delete, computeEnvironment=environment)
    batch.api.update_compute_environment(computeEnvironment=environment, state="DISABLED")
    assert "JobQueue relationship" in refused(delete, computeEnvironment=environment)
    batch.api.update_job_queue(jobQueue=queue, state="DISABLED")
    batch.api.delete_job_queue(jobQueue=queue)
    assert batch.wait(job_id)["status"] == "FAILED"
    delete(computeEnvironment=environment)


def test_job_definitions(batch: Batch) -> None:
    """Revisions count up; they are found by ARN, name:revision, name and status."""
    name = unique("definition")
    arns = [batch.definition(f"command-{i}", jobDefinitionName=name) for i in range(3)]
    assert [arn.rsplit(":")[-1] for arn in arns] == ["1", "2", "3"]

    def found(**params: Any) -> list[str]:
        pages = batch.api.get_paginator("describe_job_definitions").paginate(**params)
        return [d["jobDefinitionArn"] for page in pages for d in page["jobDefinitions"]]

    assert found(jobDefinitionName=name) == arns[::-1]
    assert found(jobDefinitionName=name, PaginationConfig={"PageSize": 1}) == arns[::-1]
    assert found(jobDefinitions=[arns[1]]) == [arns[1]]
    assert found(jobDefinitions=[f"{name}:3"]) == [arns[2]]
    batch.api.deregister_job_definition(jobDefinition=f"{name}:3")
    assert found(jobDefinitionName=name, status="ACTIVE") == arns[1::-1]
    assert found(jobDefinitionName=name, status="INACTIVE") == [arns[2]]
    (shown,) = batch.api.describe_job_definitions(jobDefinitions=[arns[0]])["jobDefinitions"]
    assert shown["containerProperties"]["command"] == ["command-0"]
    assert (shown["revision"], shown["status"], shown["type"]) == (1, "ACTIVE", "container")
    assert "not found" in refused(batch.api.deregister_job_definition, jobDefinition=name)
    assert found(jobDefinitions=["no-such-definition"]) == []


def test_scheduling_policies(batch: Batch) -> None:
    """Scheduling policies are made, listed, described, used and deleted."""
    shares = {"shareDistribution": [{"shareIdentifier": "a", "weightFactor": 0.5}]}
    made = batch.api.create_scheduling_policy(name=unique("policy"), fairsharePolicy=shares)
    arn = made["arn"]
    (shown,) = batch.api.describe_scheduling_policies(arns=[arn])["schedulingPolicies"]
    assert shown["fairsharePolicy"] == shares
    assert {"arn": arn} in batch.api.list_scheduling_policies()["schedulingPolicies"]
    queue = batch.queue(schedulingPolicyArn=arn)
    assert "relationship" in refused(batch.api.delete_scheduling_policy, arn=arn)
    batch.api.update_job_queue(jobQueue=queue, state="DISABLED")
    batch.api.delete_job_queue(jobQueue=queue)
    batch.api.delete_scheduling_policy(arn=arn)
    assert batch.api.describe_scheduling_policies(arns=[arn])["schedulingPolicies"] == []


def test_tags(batch: Batch, queue: str) -> None:
    """Every kind of resource has tags, by its ARN."""
    environment = batch.environment()
    job_id = batch.submit(batch.definition(), queue, tags={"a": "0"})
    described = batch.api.describe_job_queues(jobQueues=[queue])["jobQueues"]
    arns = [
        batch.describe(job_id)["jobArn"],
        batch.definition(),
        described[0]["jobQueueArn"],
        f"arn:aws:batch:us-east-1:123456789012:compute-environment/{environment}",
        batch.api.create_scheduling_policy(name=unique("policy"))["arn"],
    ]
    for arn in arns:
        batch.api.tag_resource(resourceArn=arn, tags={"a": "1", "b c": "2"})
        batch.api.tag_resource(resourceArn=arn, tags={"d/e": "é"})
        batch.api.untag_resource(resourceArn=arn, tagKeys=["b c", "none"])
        tags = batch.api.list_tags_for_resource(resourceArn=arn)["tags"]
        assert tags == {"a": "1", "d/e": "é"}
        many = {f"k{i}": "" for i in range(49)}
        assert "Number of tags" in refused(batch.api.tag_resource, resourceArn=arn, tags=many)
    assert batch.describe(job_id)["tags"] == {"a": "1", "d/e": "é"}
    unknown = "arn:aws:batch:us-east-1:123456789012:job/none"
    assert "not found" in refused(batch.api.list_tags_for_resource, resourceArn=unknown)
