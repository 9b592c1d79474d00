"""The parameters of the shipped templates, as options of `miniwdl-cloud deploy`.

A test keeps them as the templates have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Parameters
    ----------
    name
        In the template.
    option
        On the command line, without the dashes.
    metavar
        What its value is called in help.
    help
        What it means; defaults are the template's.
    """

    name: str
    option: str
    metavar: str
    help: str

    @property
    def dest(self) -> str:
        """Where argparse puts it."""
        return self.option.replace("-", "_")


ALL: tuple[Parameter, ...] = (
    Parameter("Owner", "owner", "TEXT", "value of the tag Owner on everything"),
    Parameter("Environment", "environment", "TEXT", "value of the tag Environment on everything"),
    Parameter(
        "S3UploadBucket",
        "s3-upload-bucket",
        "BUCKET",
        "existing bucket that workflows may read and upload to, beside their own",
    ),
    Parameter(
        "S3InputBuckets",
        "s3-input-buckets",
        "BUCKET,…",
        "further buckets that workflows may read; public ones of others too",
    ),
    Parameter(
        "StageExpirationDays",
        "stage-expiration-days",
        "DAYS",
        "days after which staged WDL and inputs are deleted",
    ),
    Parameter("MaxVCPUTask", "max-vcpu-task", "N", "most vCPUs of task jobs, in each task queue"),
    Parameter("MaxVCPUWorkflow", "max-vcpu-workflow", "N", "most vCPUs of workflow jobs"),
    Parameter(
        "BatchSpotBidPercentage",
        "spot-bid-percentage",
        "PERCENT",
        "highest spot price, in percent of the on-demand price",
    ),
    Parameter(
        "TaskInstanceTypes",
        "task-instance-types",
        "TYPE,…",
        "instance families or types for task jobs, x86-64",
    ),
    Parameter(
        "Engine",
        "engine",
        "batch|fargate",
        "what runs the tasks of workflows that do not say: instances, or ECS tasks on Fargate"
        " [batch]",
    ),
    Parameter(
        "TaskRootVolumeGiB", "task-root-volume-gib", "GIB", "root volume of each task instance"
    ),
    Parameter(
        "GpuInstanceTypes",
        "gpu-instance-types",
        "TYPE,…",
        "GPU instance families or types, for a compute environment of their own",
    ),
    Parameter(
        "EnableTaskFallback",
        "enable-task-fallback",
        "true|false",
        "on-demand queue for tasks that were interrupted too often [true]",
    ),
    Parameter(
        "EnableEvents",
        "enable-events",
        "true|false",
        "tell workflow jobs of their tasks' state changes by SQS [true]",
    ),
    Parameter(
        "EnableFargate",
        "enable-fargate",
        "true|false",
        "ECS cluster for the engine aws_fargate; with EFS only [true]",
    ),
    Parameter(
        "CreateSpotServiceRole",
        "create-spot-service-role",
        "true|false",
        "make the account's role of EC2 Spot [true where it is missing]",
    ),
    Parameter(
        "PermissionsBoundary",
        "permissions-boundary",
        "ARN",
        "policy that bounds what the deployment's roles may ever do",
    ),
    Parameter("AvailabilityZoneCount", "availability-zones", "2|3", "availability zones to use"),
    Parameter("Subnet0", "subnet0", "SUBNET", "existing VPC, EFS: a subnet"),
    Parameter("Subnet1", "subnet1", "SUBNET", "existing VPC, EFS: one of another zone"),
    Parameter("SubnetId", "subnet-id", "SUBNET", "existing VPC, Lustre: the subnet"),
    Parameter(
        "SecurityGroupId",
        "security-group-id",
        "GROUP",
        "existing VPC: a security group whose members reach each other by NFS, or Lustre",
    ),
    Parameter("MountPoint", "mount", "PATH", "where containers see the file system (EFS)"),
    Parameter("StorageCapacity", "storage-capacity", "GIB", "size of the Lustre file system"),
    Parameter(
        "WeeklyMaintenanceStartTime",
        "weekly-maintenance-start-time",
        "D:HH:MM",
        "when FSx may interrupt the Lustre file system; day 1 is Monday, UTC",
    ),
)

OF_EXISTING_VPC = frozenset({"Subnet0", "Subnet1", "SubnetId", "SecurityGroupId"})
"""Parameters of the templates for a VPC that is there."""
INSTANCE_TYPES: Mapping[str, Mapping[str, str]] = {
    # x86-64 is what the templates have by themselves.
    "x86_64": {"GpuInstanceTypes": "g4dn,g5,g6"},
    "arm64": {
        "TaskInstanceTypes": "m6gd,m7g,m7gd,m8g,c6gd,c7g,c7gd,c8g,r6gd,r7g,r7gd,r8g",
        "GpuInstanceTypes": "g5g",
    },
}
"""Instance families by CPU architecture: current ones, several generations so that spot capacity is
found. A job queue takes one architecture only (Batch API, CreateJobQueue)."""


def instance_types(architecture: str | None, gpu: bool) -> dict[str, str]:
    """The parameters that name instance types.

    Parameters
    ----------
    architecture
        Of `INSTANCE_TYPES`, or `None` for the templates' own.
    gpu
        Whether there is an environment of instances with GPUs.
    """
    found = INSTANCE_TYPES[architecture or "x86_64"]
    return {name: text for name, text in found.items() if gpu or name != "GpuInstanceTypes"}


def given(values: Mapping[str, str | None]) -> dict[str, str]:
    """The parameters that were given, by their names in the template.

    Parameters
    ----------
    values
        Of the command line, by `Parameter.dest`; `None` where an option was not given.
    """
    found = {parameter.name: values.get(parameter.dest) for parameter in ALL}
    return {name: value for name, value in found.items() if value is not None}


def option(name: str) -> str:
    """The option of a template's parameter, with its dashes.

    Parameters
    ----------
    name
        In the template.
    """
    return next((f"--{item.option}" for item in ALL if item.name == name), name)
