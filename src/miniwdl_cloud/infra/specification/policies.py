"""What each role may do: actions written out, on resources as narrow as AWS knows them.

Which actions know resources, and which: Service Authorization Reference. None of AWS's managed
policies is used, since they allow more than is needed, and change.
"""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, If, NoValue, Ref, Sub

from .base import arn

DEFINITIONS = "miniwdl-cloud-*"
"""Names of the engines' job and task definitions (`jobs/request.py`, `engines/task_job.py`)."""
BATCH_CLUSTERS = "AWSBatch-*"
"""Names of the ECS clusters that Batch makes, AWSBatch-ENVIRONMENT-UUID, as accounts show them;
Batch's documentation does not promise it."""
BATCH_LOGS = "log-group:/aws/batch/job:log-stream:*"
"""Where Batch puts the logs of jobs, if their definitions say nothing else (Batch user guide,
"Using the awslogs log driver")."""
TO_ECS = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}


def batch() -> list[Any]:
    """What the engine does with Batch."""
    definitions = arn("batch", f"job-definition/{DEFINITIONS}")
    machines = arn("ecs", f"container-instance/{BATCH_CLUSTERS}")
    jobs = arn("batch", "job/*")
    events = _allow(
        "Events",
        ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"],
        GetAtt("EventQueue", "Arn"),
    )
    look = [
        "batch:DescribeComputeEnvironments",
        "batch:DescribeJobDefinitions",
        "batch:DescribeJobQueues",
        "batch:DescribeJobs",
        "batch:ListJobs",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeSpotPriceHistory",
        "pricing:GetProducts",
    ]
    fallback = If("HasTaskFallback", Ref("TaskQueueFallback"), NoValue)
    return [
        _allow("SubmitTasks", "batch:SubmitJob", [definitions, Ref("TaskQueue"), fallback]),
        _allow(
            "Definitions",
            ["batch:DeregisterJobDefinition", "batch:RegisterJobDefinition"],
            [definitions],
        ),
        {
            "#": "Ids of jobs cannot be told beforehand, and children of array jobs have no tags.",
            **_allow("EndTasks", "batch:TerminateJob", [jobs]),
        },
        _allow("TagTasks", "batch:TagResource", [definitions, jobs]),
        {"#": "These actions know no resources.", **_allow("Look", look, "*")},
        {
            "#": "Which instance a task ran on, for its cost.",
            **_allow("Machines", "ecs:DescribeContainerInstances", [machines]),
        },
        If("HasEvents", events, NoValue),
        _pass("TaskRole", GetAtt("TaskRole", "Arn")),
    ]


def ecs() -> list[Any]:
    """What the engine aws_fargate does with ECS."""
    definitions = arn("ecs", f"task-definition/{DEFINITIONS}")
    cluster, tasks = GetAtt("EcsCluster", "Arn"), arn("ecs", "task/${EcsCluster}/*")
    in_cluster = {"Condition": {"ArnEquals": {"ecs:cluster": cluster}}}
    look = [
        "ecs:DeregisterTaskDefinition",
        "ecs:DescribeTaskDefinition",
        "ecs:ListTaskDefinitions",
    ]
    return [
        {**_allow("RunTasks", "ecs:RunTask", [definitions]), **in_cluster},
        _allow("Tasks", ["ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource"], [tasks]),
        {
            "#": "Of tasks, ECS knows the cluster as a condition only; of definitions, nothing.",
            **_allow("ListTasks", "ecs:ListTasks", "*"),
            **in_cluster,
        },
        _allow("LookAtDefinitions", look, "*"),
        _allow("Definitions", "ecs:RegisterTaskDefinition", [definitions]),
        _allow("Cluster", "ecs:DescribeClusters", [cluster]),
        _pass("ExecutionRole", GetAtt("EcsExecutionRole", "Arn")),
    ]


def starting(log_streams: Any) -> list[Any]:
    """What ECS does with a role before a container runs: pull its image, open its log.

    Parameters
    ----------
    log_streams
        ARN of the streams that may be written.
    """
    images = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    ]
    return [
        {"#": "It knows no resources.", **_allow("Login", "ecr:GetAuthorizationToken", "*")},
        {
            "#": "Workflows name their images; another account has to allow it for its own.",
            **_allow("Images", images, Sub("arn:${AWS::Partition}:ecr:*:*:repository/*")),
        },
        _allow("Logs", ["logs:CreateLogStream", "logs:PutLogEvents"], log_streams),
    ]


def instance() -> list[Any]:
    """What the ECS agent of an instance does (ECS developer guide, "Amazon ECS container instance
    IAM role"), in the clusters that Batch makes."""
    clusters = arn("ecs", f"cluster/{BATCH_CLUSTERS}")
    instances = arn("ecs", f"container-instance/{BATCH_CLUSTERS}")
    registering = {"Condition": {"StringEquals": {"ecs:CreateAction": "RegisterContainerInstance"}}}
    cluster = [
        "ecs:DeregisterContainerInstance",
        "ecs:RegisterContainerInstance",
        "ecs:SubmitAttachmentStateChanges",
        "ecs:SubmitContainerStateChange",
        "ecs:SubmitTaskStateChange",
    ]
    itself = ["ecs:Poll", "ecs:StartTelemetrySession", "ecs:UpdateContainerInstancesState"]
    return [
        _allow("Cluster", cluster, clusters),
        _allow("Instance", itself, instances),
        {**_allow("Tag", "ecs:TagResource", instances), **registering},
        {
            "#": "These actions know no resources.",
            **_allow("Find", ["ec2:DescribeTags", "ecs:DiscoverPollEndpoint"], "*"),
        },
    ]


def _allow(sid: str, action: Any, resource: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}


def _pass(sid: str, role: Any) -> dict[str, Any]:
    return {**_allow(sid, "iam:PassRole", role), "Condition": TO_ECS}
