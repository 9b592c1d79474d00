"""IAM roles, each with what it needs and nothing else."""

from __future__ import annotations

from typing import Any

from troposphere import Equals, GetAtt, If, Not, NoValue, Ref, Sub, iam

from . import policies, storage
from .base import Part, arn, document, labels, trusted

COMPUTE = "Compute"


def roles(filesystem: str) -> Part:
    """The roles of workflow jobs, task jobs and task instances.

    Parameters
    ----------
    filesystem
        ``efs`` or ``fsx``.
    """
    part = Part("roles")
    part.parameter(
        COMPUTE,
        "CreateSpotServiceRole",
        "Make the service-linked role AWSServiceRoleForEC2Spot. Needed once in an account that"
        " never used spot instances; fails where the role exists.",
        Type="String",
        Default="false",
        AllowedValues=["true", "false"],
    )
    part.conditions["MakesSpotServiceRole"] = Equals(Ref("CreateSpotServiceRole"), "true")
    part.parameter(
        COMPUTE,
        "PermissionsBoundary",
        "ARN of a policy that bounds what the roles made here may ever do; none without.",
        Type="String",
        Default="",
        AllowedPattern="^$|^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+$",
        ConstraintDescription="the ARN of an IAM policy",
    )
    part.conditions["HasBoundary"] = Not(Equals(Ref("PermissionsBoundary"), ""))
    tasks = trusted("ecs-tasks.amazonaws.com")
    shared = {
        "efs": policy("efs", storage.elastic_statements()),
        "fsx": policy("fsx", storage.lustre_statements()),
    }
    logs = arn("logs", policies.BATCH_LOGS)
    part.add(
        iam.Role(
            "WorkflowEngineRole",
            Description="Workflow jobs of miniwdl-cloud",
            AssumeRolePolicyDocument=tasks,
            **boundary(),
            Policies=[
                policy("start", policies.starting(logs)),
                policy("batch", policies.batch()),
                shared[filesystem],
                policy("s3", storage.bucket_statements(write=True)),
                *_fargate_policies(filesystem),
            ],
            Tags=labels(),
        ),
        "Of the workflow job: what miniwdl needs to run tasks (job role), and what ECS needs to"
        " start\nit (execution role). It may hand on the task roles only.",
    )
    part.add(
        iam.Role(
            "TaskRole",
            Description="Task jobs of miniwdl-cloud",
            AssumeRolePolicyDocument=tasks,
            **boundary(),
            Policies=[policy("s3", storage.bucket_statements(write=False))],
            Tags=labels(),
        ),
        "Of task jobs, for those that fetch s3:// inputs: reading, nothing else.",
    )
    part.add(
        iam.Role(
            "InstanceRole",
            Description="Task instances of miniwdl-cloud",
            AssumeRolePolicyDocument=trusted(Sub("ec2.${AWS::URLSuffix}")),
            **boundary(),
            Policies=[
                policy("agent", policies.instance()),
                policy("start", policies.starting(logs)),
            ],
            Tags=labels(),
        ),
        "Of instances. EC2 jobs of Batch run in the host's network, so their commands can reach"
        " the\ninstance's credentials: this role can do what the ECS agent needs, nothing else.",
    )
    part.add(iam.InstanceProfile("InstanceProfile", Roles=[Ref("InstanceRole")]))
    part.add(
        iam.ServiceLinkedRole(
            "SpotServiceRole",
            Condition="MakesSpotServiceRole",
            DeletionPolicy="RetainExceptOnCreate",
            UpdateReplacePolicy="Retain",
            AWSServiceName="spot.amazonaws.com",
        ),
        "It is the account's, and stays when the stack is deleted: other stacks use it as well.",
    )
    part.output(
        "WorkflowEngineRoleArn",
        GetAtt("WorkflowEngineRole", "Arn"),
        "Job and execution role of workflow jobs",
    )
    part.output("TaskRoleArn", GetAtt("TaskRole", "Arn"), "Job role for task jobs that read S3")
    return part


def boundary() -> dict[str, Any]:
    """The permissions boundary of a role, as an argument of it."""
    return {"PermissionsBoundary": If("HasBoundary", Ref("PermissionsBoundary"), NoValue)}


def policy(name: str, statements: list[Any]) -> iam.Policy:
    """An inline policy."""
    return iam.Policy(PolicyName=name, PolicyDocument=document(statements))


def _fargate_policies(filesystem: str) -> list[Any]:
    """What the engine aws_fargate needs; Fargate mounts EFS alone."""
    if filesystem != "efs":
        return []
    return [If("HasFargate", policy("ecs", policies.ecs()), NoValue)]
