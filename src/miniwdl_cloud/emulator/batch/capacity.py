"""Room for jobs in compute environments."""

from __future__ import annotations

import functools
from typing import Any

from moto.utilities.utils import load_resource

from .models import ComputeEnvironment, Job, JobQueue

# Memory that the ECS agent keeps back on an instance (Batch user guide, "Compute environment
# memory management").
RESERVED_MIB = 32
# What Batch takes for these (Batch user guide, "Instance type compute environment options").
_FAMILIES = {
    "optimal": ("m4", "c4", "r4"),
    "default_x86_64": ("m6i", "c6i", "r6i", "c7i"),
    "default_arm64": ("m6g", "c6g", "r6g", "c7g"),
}


def find_room(job: Job) -> ComputeEnvironment | None:
    """The first compute environment of the job's queue that can start it now."""
    for environment in job.queue.environments:
        if (
            environment.detail["state"] == "ENABLED"
            and environment.vcpus_used + job.vcpus <= environment.max_vcpus
            and _fits_instance(job, environment)
        ):
            return environment
    return None


def why_never(job: Job) -> str | None:
    """Batch's statusReason for a job that its queue can never start; `None` if it can.

    Batch user guide, "Troubleshooting: jobs stuck in a RUNNABLE status".
    """
    queue: JobQueue = job.queue
    if all(environment.max_vcpus < job.vcpus for environment in queue.environments):
        return (
            "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) associated with the job"
            " queue have a maxvCpus that is smaller than the job requirements."
        )
    if not any(_fits_instance(job, environment) for environment in queue.environments):
        return (
            "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU,"
            " memory or GPU) is higher than what CE(s) associated with the job queue can provide."
        )
    return None


def _fits_instance(job: Job, environment: ComputeEnvironment) -> bool:
    if environment.is_fargate or "instanceTypes" not in environment.resources:
        return True
    return _smallest(job, environment) is not None


def describe_instance(arn: str, job: Job, environment: ComputeEnvironment) -> dict[str, Any]:
    """The container instance that a job has to itself, in the shape of botocore's
    ``ContainerInstance``: one of the smallest type that it fits on."""
    found = _smallest(job, environment) if "instanceTypes" in environment.resources else None
    vcpus, memory, gpus, name = found or (4, 16384, 0, "m5.xlarge")
    resources: list[dict[str, Any]] = [
        {"name": "CPU", "type": "INTEGER", "integerValue": vcpus * 1024},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": memory - RESERVED_MIB},
    ]
    if gpus:
        ids = [f"GPU-{number}" for number in range(gpus)]
        resources.append({"name": "GPU", "type": "STRINGSET", "stringSetValue": ids})
    processor = instance_types()[name]["ProcessorInfo"]
    attributes = {
        "ecs.instance-type": name,
        "ecs.availability-zone": f"{arn.split(':')[3]}a",
        "ecs.os-type": "linux",
        "ecs.cpu-architecture": processor["SupportedArchitectures"][-1],
    }
    return {
        "containerInstanceArn": arn,
        "ec2InstanceId": f"i-{arn[-17:]}",
        "status": "ACTIVE",
        "agentConnected": True,
        "runningTasksCount": 0 if job.is_terminal else 1,
        "registeredResources": resources,
        "attributes": [{"name": key, "value": value} for key, value in attributes.items()],
    }


def _smallest(job: Job, environment: ComputeEnvironment) -> tuple[int, int, int, str] | None:
    """vCPUs, MiB, GPUs and name of the smallest instance type that a job fits on."""
    fitting = (
        (vcpus, memory, gpus, name)
        for vcpus, memory, gpus, name in _instances(tuple(environment.resources["instanceTypes"]))
        if job.vcpus <= vcpus and job.memory_mib <= memory - RESERVED_MIB and job.gpus <= gpus
    )
    return next(fitting, None)


@functools.lru_cache(maxsize=1)
def instance_types() -> dict[str, Any]:
    """Instance types by name, as EC2 describes them."""
    # moto's table without the rest of its EC2, which takes seconds to import.
    found: dict[str, Any] = load_resource("ec2/resources/instance_types.json")
    return found


@functools.lru_cache(maxsize=256)
def _instances(names: tuple[str, ...]) -> tuple[tuple[int, int, int, str], ...]:
    """vCPUs, MiB, GPUs and name of the instance types that names of types and families mean, the
    smallest first."""
    types = instance_types()
    families = {family for name in names for family in _FAMILIES.get(name, (name,))}
    found = set()
    for name, info in types.items():
        if name in families or name.split(".")[0] in families:
            gpus = sum(gpu["Count"] for gpu in info.get("GpuInfo", {}).get("Gpus", []))
            size = (info["VCpuInfo"]["DefaultVCpus"], info["MemoryInfo"]["SizeInMiB"])
            found.add((*size, gpus, name))
    return tuple(sorted(found))
