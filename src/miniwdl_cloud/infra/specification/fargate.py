"""What runs tasks on Fargate: an ECS cluster, a role to start them with, and their log group."""

from __future__ import annotations

from typing import Any

from troposphere import And, Equals, GetAtt, If, NoValue, Ref, ecs, iam, logs

from . import policies
from .base import Part, arn, labels, trusted
from .roles import COMPUTE, boundary, policy

CONDITION = "HasFargate"
LOG_DAYS = 30


def cluster() -> Part:
    """The cluster and what belongs to it."""
    part = Part("tasks on Fargate", _ABOUT)
    part.switch(
        COMPUTE,
        "EnableFargate",
        True,
        CONDITION,
        "Make an ECS cluster, which the engine aws_fargate runs tasks in; idle it costs nothing.",
    )
    part.parameter(
        COMPUTE,
        "Engine",
        "What runs the tasks of workflows that do not say: batch, on instances, or fargate, as ECS"
        " tasks; the latter needs EnableFargate.",
        Type="String",
        Default="batch",
        AllowedValues=["batch", "fargate"],
    )
    part.conditions["PrefersFargate"] = And(
        Equals(Ref("Engine"), "fargate"), Equals(Ref("EnableFargate"), "true")
    )
    there = {"Condition": CONDITION}
    part.add(
        ecs.Cluster(
            "EcsCluster",
            **there,
            CapacityProviders=["FARGATE", "FARGATE_SPOT"],
            DefaultCapacityProviderStrategy=[
                ecs.CapacityProviderStrategyItem(CapacityProvider="FARGATE", Weight=1)
            ],
            Tags=labels(),
        )
    )
    part.add(
        logs.LogGroup("EcsLogGroup", **there, RetentionInDays=LOG_DAYS, Tags=labels()),
    )
    part.add(
        iam.Role(
            "EcsExecutionRole",
            **there,
            Description="Starts the ECS tasks of miniwdl-cloud",
            AssumeRolePolicyDocument=trusted("ecs-tasks.amazonaws.com"),
            **boundary(),
            Policies=[
                policy(
                    "start", policies.starting(arn("logs", "log-group:${EcsLogGroup}:log-stream:*"))
                )
            ],
            Tags=labels(),
        ),
        "With it ECS pulls images and writes logs; the tasks themselves do not have it.",
    )
    part.output("EcsCluster", Ref("EcsCluster"), "ECS cluster for tasks on Fargate", CONDITION)
    part.output("EcsLogGroup", Ref("EcsLogGroup"), "Log group of tasks on Fargate", CONDITION)
    return part


def queue_tags() -> dict[str, Any]:
    """Tags by which the engine finds all of it."""
    values = {
        "DefaultEcsCluster": Ref("EcsCluster"),
        "DefaultEcsExecutionRoleArn": GetAtt("EcsExecutionRole", "Arn"),
        "DefaultEcsLogGroup": Ref("EcsLogGroup"),
    }
    tags = {name: If(CONDITION, value, NoValue) for name, value in values.items()}
    return {**tags, "DefaultEngine": If("PrefersFargate", "aws_fargate", NoValue)}


_ABOUT = """\
For the engine aws_fargate: tasks that start within a minute or two, and for which no instance is
kept. They use the subnets and the security group of the workflow queue."""
