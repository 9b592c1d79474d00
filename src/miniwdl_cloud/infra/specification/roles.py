"""IAM roles, each with what it needs and nothing else."""

from __future__ import annotations

from typing import Any

from troposphere import Equals, GetAtt, If, NoValue, Ref, Sub, iam

from . import storage
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
    tasks = trusted("ecs-tasks.amazonaws.com")
    shared = {
        "efs": iam.Policy(PolicyName="efs", PolicyDocument=document(storage.elastic_statements())),
        "fsx": iam.Policy(PolicyName="fsx", PolicyDocument=document(storage.lustre_statements())),
    }
    logs = [
        {
            "Effect": "Allow",
            "Action": "logs:GetLogEvents",
            "Resource": [arn("logs", "log-group:/aws/batch/job:*")],
        }
    ]
    part.add(
        iam.Role(
            "WorkflowEngineRole",
            Description="Workflow jobs of miniwdl-cloud",
            AssumeRolePolicyDocument=tasks,
            ManagedPolicyArns=[managed("AmazonECSTaskExecutionRolePolicy")],
            Policies=[
                iam.Policy(PolicyName="batch", PolicyDocument=document(_batch_statements())),
                iam.Policy(PolicyName="logs", PolicyDocument=document(logs)),
                shared[filesystem],
                iam.Policy(
                    PolicyName="s3", PolicyDocument=document(storage.bucket_statements(write=True))
                ),
                *_fargate_policies(filesystem),
            ],
            Tags=labels(),
        ),
        "Of the workflow job: what miniwdl needs to run tasks (job role), and what Batch needs to"
        " start\nit (execution role). It may hand on the task role only.",
    )
    part.add(
        iam.Role(
            "TaskRole",
            Description="Task jobs of miniwdl-cloud",
            AssumeRolePolicyDocument=tasks,
            Policies=[
                iam.Policy(
                    PolicyName="s3", PolicyDocument=document(storage.bucket_statements(write=False))
                )
            ],
            Tags=labels(),
        ),
        "Of task jobs, for those that fetch s3:// inputs: reading, nothing else.",
    )
    part.add(
        iam.Role(
            "InstanceRole",
            Description="Task instances of miniwdl-cloud",
            AssumeRolePolicyDocument=trusted(Sub("ec2.${AWS::URLSuffix}")),
            ManagedPolicyArns=[managed("AmazonEC2ContainerServiceforEC2Role")],
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


def managed(name: str) -> Sub:
    """The ARN of one of AWS's own policies for services."""
    return Sub(f"arn:${{AWS::Partition}}:iam::aws:policy/service-role/{name}")


def _batch_statements() -> list[Any]:
    definitions, jobs = arn("batch", "job-definition/*"), arn("batch", "job/*")
    events = {
        "Sid": "Events",
        "Effect": "Allow",
        "Action": ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"],
        "Resource": GetAtt("EventQueue", "Arn"),
    }
    return [
        {
            "Sid": "SubmitTasks",
            "Effect": "Allow",
            "Action": "batch:SubmitJob",
            "Resource": [
                definitions,
                Ref("TaskQueue"),
                If("HasTaskFallback", Ref("TaskQueueFallback"), NoValue),
            ],
        },
        {
            "Sid": "Definitions",
            "Effect": "Allow",
            "Action": ["batch:RegisterJobDefinition", "batch:DeregisterJobDefinition"],
            "Resource": [definitions],
        },
        {
            "Sid": "EndTasks",
            "Effect": "Allow",
            "Action": ["batch:CancelJob", "batch:TerminateJob"],
            "Resource": [jobs],
        },
        {
            "Sid": "TagTasks",
            "Effect": "Allow",
            "Action": "batch:TagResource",
            "Resource": [definitions, jobs],
        },
        {
            "#": "These actions know no resources.",
            "Sid": "Look",
            "Effect": "Allow",
            "Action": [
                "batch:DescribeComputeEnvironments",
                "batch:DescribeJobDefinitions",
                "batch:DescribeJobQueues",
                "batch:DescribeJobs",
                "batch:ListJobs",
                "ec2:DescribeInstanceTypes",
            ],
            "Resource": "*",
        },
        If("HasEvents", events, NoValue),
        {
            "Sid": "TaskRole",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": GetAtt("TaskRole", "Arn"),
            "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        },
    ]


def _fargate_policies(filesystem: str) -> list[Any]:
    """What the engine aws_fargate needs; Fargate mounts EFS alone."""
    if filesystem != "efs":
        return []
    definitions, cluster = arn("ecs", "task-definition/*"), GetAtt("EcsCluster", "Arn")
    tasks = arn("ecs", "task/${EcsCluster}/*")
    in_cluster = {"ArnEquals": {"ecs:cluster": cluster}}
    statements = [
        {
            "Sid": "RunTasks",
            "Effect": "Allow",
            "Action": "ecs:RunTask",
            "Resource": [definitions],
            "Condition": in_cluster,
        },
        {
            "Sid": "Tasks",
            "Effect": "Allow",
            "Action": ["ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource"],
            "Resource": [tasks],
        },
        {
            "#": "Of tasks, ECS knows the cluster as a condition only; of definitions, nothing.",
            "Sid": "ListTasks",
            "Effect": "Allow",
            "Action": "ecs:ListTasks",
            "Resource": "*",
            "Condition": in_cluster,
        },
        {
            "Sid": "Definitions",
            "Effect": "Allow",
            "Action": [
                "ecs:DeregisterTaskDefinition",
                "ecs:DescribeTaskDefinition",
                "ecs:ListTaskDefinitions",
                "ecs:RegisterTaskDefinition",
            ],
            "Resource": "*",
        },
        {
            "Sid": "Cluster",
            "Effect": "Allow",
            "Action": "ecs:DescribeClusters",
            "Resource": [cluster],
        },
        {
            "Sid": "ExecutionRole",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": GetAtt("EcsExecutionRole", "Arn"),
            "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        },
    ]
    policy = iam.Policy(PolicyName="ecs", PolicyDocument=document(statements))
    return [If("HasFargate", policy, NoValue)]
