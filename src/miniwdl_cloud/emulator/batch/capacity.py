"""Room for jobs in compute environments."""

from __future__ import annotations

import functools

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
    return any(
        job.vcpus <= vcpus and job.memory_mib <= memory - RESERVED_MIB and job.gpus <= gpus
        for vcpus, memory, gpus in _instances(tuple(environment.resources["instanceTypes"]))
    )


@functools.lru_cache(maxsize=256)
def _instances(names: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """vCPUs, MiB and GPUs of the instance types that names of types and families mean."""
    # moto's table without the rest of its EC2, which takes seconds to import.
    types = load_resource("ec2/resources/instance_types.json")
    families = {family for name in names for family in _FAMILIES.get(name, (name,))}
    found = set()
    for name, info in types.items():
        if name in families or name.split(".")[0] in families:
            gpus = sum(gpu["Count"] for gpu in info.get("GpuInfo", {}).get("Gpus", []))
            found.add((info["VCpuInfo"]["DefaultVCpus"], info["MemoryInfo"]["SizeInMiB"], gpus))
    return tuple(found)
