"""Compute environments, job queues, and the events of task jobs."""

from __future__ import annotations

from typing import Any

from troposphere import Equals, GetAtt, If, Not, NoValue, Ref, Sub, batch, events, sqs

from . import fargate
from .base import Network, Part, document, label_map, labels
from .hosts import launch
from .roles import COMPUTE
from .storage import LUSTRE_MOUNT

WORKFLOW_INSTANCE_TYPES = ["m5", "m6i", "m7i"]


def environments(filesystem: str, network: Network) -> Part:
    """The compute environments.

    Parameters
    ----------
    filesystem
        ``efs`` or ``fsx``; only EFS can be mounted on Fargate, where workflow jobs run else.
    network
        Where they are.
    """
    part = Part("compute environments", _ENVIRONMENTS)
    part.conditions["HasGpu"] = Not(Equals({"Fn::Join": ["", Ref("GpuInstanceTypes")]}, ""))
    types, gpu_types = Ref("TaskInstanceTypes"), Ref("GpuInstanceTypes")
    most = Ref("MaxVCPUTask")
    spot: dict[str, Any] = {
        "Type": "SPOT",
        "AllocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED",
        "BidPercentage": Ref("BatchSpotBidPercentage"),
    }
    demand: dict[str, Any] = {"Type": "EC2", "AllocationStrategy": "BEST_FIT_PROGRESSIVE"}
    part.add(_environment("TaskEnvironment", _instances(network, spot, most, types)))
    part.add(
        _environment(
            "TaskEnvironmentFallback",
            _instances(network, demand, most, types),
            Condition="HasTaskFallback",
        )
    )
    part.add(
        _environment(
            "GpuEnvironment", _instances(network, spot, most, gpu_types), Condition="HasGpu"
        ),
        "A second choice of the task queue: for jobs that ask for a GPU, where the first has none.",
    )
    if filesystem == "efs":
        resources = batch.ComputeResources(
            Type="FARGATE",
            MaxvCpus=Ref("MaxVCPUWorkflow"),
            Subnets=list(network.subnets),
            SecurityGroupIds=[network.security_group],
        )
    else:
        most = Ref("MaxVCPUWorkflow")
        resources = _instances(network, demand, most, list(WORKFLOW_INSTANCE_TYPES))
    part.add(_environment("WorkflowEnvironment", resources))
    return part


def queues(filesystem: str, network: Network, template: str) -> Part:
    """The job queues.

    Parameters
    ----------
    filesystem
        ``efs`` or ``fsx``.
    network
        Where their jobs run.
    template
        Name of the whole.
    """
    part = Part("queues", _QUEUES)
    part.switch(
        COMPUTE,
        "EnableTaskFallback",
        True,
        "HasTaskFallback",
        "Make a queue of on-demand instances, which takes a task that was interrupted too often.",
    )
    part.add(_queue("TaskQueue", "task", ["TaskEnvironment", "GpuEnvironment"]))
    part.add(
        _queue(
            "TaskQueueFallback",
            "task-fallback",
            ["TaskEnvironmentFallback"],
            Condition="HasTaskFallback",
        )
    )
    name = Sub("${AWS::StackName}-task-fallback")
    part.output(
        "WorkflowQueue",
        Sub("${AWS::StackName}-workflow"),
        "Batch job queue for workflow jobs (miniwdl-aws-submit --workflow-queue)",
    )
    part.output(
        "TaskQueue",
        Sub("${AWS::StackName}-task"),
        "Batch job queue for task jobs, on spot instances",
    )
    part.output(
        "TaskQueueFallback",
        name,
        "Batch job queue for task jobs that were interrupted too often, on demand",
        "HasTaskFallback",
    )
    part.output("Template", template, "Template that this was made of")
    return part


def workflow_queue(filesystem: str, network: Network) -> Part:
    """The queue whose tags lead to everything.

    Parameters
    ----------
    filesystem
        ``efs`` or ``fsx``.
    network
        Where its jobs run.
    """
    part = Part("")
    where: dict[str, Any] = {
        "efs": {
            "DefaultFsap": Ref("AccessPoint"),
            "DefaultMount": If("HasMountPoint", Ref("MountPoint"), NoValue),
            **fargate.queue_tags(),
        },
        "fsx": {"DefaultFsid": Ref("FileSystem"), "DefaultMount": LUSTRE_MOUNT},
    }[filesystem]
    targets = [
        f"MountTarget{index}" for index, (_, condition) in enumerate(network.zones) if not condition
    ]
    ready = [*(targets if filesystem == "efs" else []), *network.ready]
    part.add(
        batch.JobQueue(
            "WorkflowQueue",
            **({"DependsOn": ready} if ready else {}),
            JobQueueName=Sub("${AWS::StackName}-workflow"),
            State="ENABLED",
            Priority=1,
            ComputeEnvironmentOrder=_order(["WorkflowEnvironment"]),
            Tags=label_map(
                DefaultTaskQueue=Sub("${AWS::StackName}-task"),
                DefaultTaskQueueFallback=If(
                    "HasTaskFallback", Sub("${AWS::StackName}-task-fallback"), NoValue
                ),
                **where,
                DefaultStageUri=Sub("s3://${Bucket}/stage"),
                DefaultTaskRoleArn=GetAtt("TaskRole", "Arn"),
                DefaultEventQueueUrl=If("HasEvents", Ref("EventQueue"), NoValue),
                WorkflowEngineRoleArn=GetAtt("WorkflowEngineRole", "Arn"),
            ),
        ),
        "miniwdl-aws-submit finds everything else by these tags. The first workflow job may come at"
        " once;\nit needs somewhere to mount.",
    )
    return part


def job_events() -> Part:
    """What tells the workflow job of its tasks' state changes."""
    part = Part("events", _EVENTS)
    part.switch(
        COMPUTE,
        "EnableEvents",
        True,
        "HasEvents",
        "Tell workflow jobs of their tasks' state changes by EventBridge and SQS; without, they ask"
        " Batch.",
    )
    there = {"Condition": "HasEvents"}
    part.add(
        sqs.Queue(
            "EventQueue",
            **there,
            MessageRetentionPeriod=120,
            VisibilityTimeout=10,
            SqsManagedSseEnabled=True,
            Tags=labels(),
        )
    )
    watched = [Ref("TaskQueue"), If("HasTaskFallback", Ref("TaskQueueFallback"), NoValue)]
    part.add(
        events.Rule(
            "EventRule",
            **there,
            Description="State changes of the task jobs of miniwdl-cloud",
            State="ENABLED",
            EventPattern={
                "source": ["aws.batch"],
                "detail-type": ["Batch Job State Change"],
                "detail": {"status": ["RUNNING", "SUCCEEDED", "FAILED"], "jobQueue": watched},
            },
            Targets=[events.Target(Id="queue", Arn=GetAtt("EventQueue", "Arn"))],
        )
    )
    part.add(
        sqs.QueuePolicy(
            "EventQueuePolicy",
            **there,
            Queues=[Ref("EventQueue")],
            PolicyDocument=document(
                [
                    {
                        "Sid": "EventRuleOnly",
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": GetAtt("EventQueue", "Arn"),
                        "Condition": {"ArnEquals": {"aws:SourceArn": GetAtt("EventRule", "Arn")}},
                    }
                ]
            ),
        )
    )
    return part


def sizes() -> Part:
    """The parameters that say how large compute environments may grow, and of what."""
    part = Part("")
    part.parameter(
        COMPUTE,
        "MaxVCPUTask",
        "Most vCPUs that task jobs use at a time, in each compute environment for them.",
        Type="Number",
        Default=256,
        MinValue=0,
    )
    part.parameter(
        COMPUTE,
        "MaxVCPUWorkflow",
        "Most vCPUs that workflow jobs use at a time; one workflow job takes one by default.",
        Type="Number",
        Default=64,
        MinValue=1,
    )
    part.parameter(
        COMPUTE,
        "BatchSpotBidPercentage",
        "Highest spot price that is paid, in percent of the on-demand price.",
        Type="Number",
        Default=100,
        MinValue=1,
        MaxValue=100,
    )
    # Intel families of three generations, so that spot capacity is found; the ones with a "d" and
    # the GPU ones have local NVMe storage. A GPU instance costs several times the others, so the
    # allocation strategies take one only for a job that asks for a GPU, or when all else is gone.
    part.parameter(
        COMPUTE,
        "TaskInstanceTypes",
        "Instance families or types for task jobs, all of x86-64. Leave out the ones that your"
        " Region does not offer.",
        Type="CommaDelimitedList",
        Default="m5d,m6i,m6id,m7i,c5d,c6i,c6id,c7i,r5d,r6i,r6id,r7i,g4dn,g5",
    )
    part.parameter(
        COMPUTE,
        "GpuInstanceTypes",
        "GPU instance families or types for a compute environment of their own, such as g6,p4d;"
        " none is made without. TaskInstanceTypes may then leave GPU families out.",
        Type="CommaDelimitedList",
        Default="",
    )
    return part


def _instances(network: Network, kind: dict[str, Any], most: Any, types: Any) -> Any:
    images = ("ECS_AL2023", "ECS_AL2023_NVIDIA")
    return batch.ComputeResources(
        **kind,
        MinvCpus=0,
        MaxvCpus=most,
        InstanceTypes=types,
        InstanceRole=GetAtt("InstanceProfile", "Arn"),
        Ec2Configuration=[batch.Ec2ConfigurationObject(ImageType=image) for image in images],
        LaunchTemplate=batch.LaunchTemplateSpecification(**launch()),
        UpdateToLatestImageVersion=True,
        Subnets=list(network.subnets),
        SecurityGroupIds=[network.security_group],
        Tags=label_map(),
    )


def _environment(name: str, resources: Any, **more: Any) -> Any:
    return batch.ComputeEnvironment(
        name,
        **more,
        Type="MANAGED",
        State="ENABLED",
        ReplaceComputeEnvironment=False,
        ComputeResources=resources,
        Tags=label_map(),
    )


def _order(environments: list[str]) -> list[Any]:
    return [
        batch.ComputeEnvironmentOrder(Order=number, ComputeEnvironment=Ref(name))
        for number, name in enumerate(environments, 1)
    ]


def _queue(name: str, suffix: str, environments: list[str], **more: Any) -> Any:
    order = _order(environments)
    if "GpuEnvironment" in environments:
        order = [order[0], If("HasGpu", order[1], NoValue)]
    return batch.JobQueue(
        name,
        **more,
        JobQueueName=Sub(f"${{AWS::StackName}}-{suffix}"),
        State="ENABLED",
        Priority=1,
        ComputeEnvironmentOrder=order,
        JobStateTimeLimitActions=[
            batch.JobStateTimeLimitAction(
                Action="CANCEL",
                State="RUNNABLE",
                MaxTimeSeconds=600,
                Reason=f"MISCONFIGURATION:{reason}",
            )
            for reason in ("COMPUTE_ENVIRONMENT_MAX_RESOURCE", "JOB_RESOURCE_REQUIREMENT")
        ],
        Tags=label_map(),
    )


_ENVIRONMENTS = """\
They have no service role, so that Batch uses its service-linked role, which updates in place
need; and no names, so that one that must be replaced can be."""
_QUEUES = """\
A job that no instance could ever take would block its queue; Batch recognises that by itself
and cancels it, which reaches miniwdl as the task's failure. Jobs that only wait for capacity
are left waiting."""
_EVENTS = """\
Task jobs' state changes wake the workflow job that waits for them; without, it would have to
ask Batch about each job again and again. Who missed a message asks Batch all the same, so that
messages need not be kept for long."""
