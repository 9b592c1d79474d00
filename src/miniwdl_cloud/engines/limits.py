"""The largest task that a job queue's compute environments can ever run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..aws.batch import BatchClient
from ..aws.ec2 import InstanceType, instance_types
from ..aws.session import AwsSession
from ..errors import AccessDenied

UNLIMITED_VCPUS = 9999
UNLIMITED_MIB = 2**40

SCHEDULABLE_SHARE = 0.94
"""Share of an instance's memory that jobs can have: the kernel and the ECS agent keep the rest
(Batch user guide, "Compute resource memory management"; 2 to 6% on instances of 8 GiB and more)."""

FARGATE_VCPUS, FARGATE_MIB = 16, 120 * 1024
"""The largest Fargate task (ECS developer guide, "Task CPU and memory")."""

MANAGED_SETS = ("optimal", "default_x86_64", "default_arm64")
"""Names that leave the choice to Batch, which changes it over time: no size follows from them."""


@dataclass(frozen=True)
class Limits:
    """The largest request that can start.

    Parameters
    ----------
    vcpus
        Whole CPUs.
    memory_mib
        Memory in MiB that a job may ask for.
    """

    vcpus: int = UNLIMITED_VCPUS
    memory_mib: int = UNLIMITED_MIB


def queue_limits(session: AwsSession, batch: BatchClient, queue: str) -> Limits:
    """Limits of a job queue.

    Where the credentials may not look (ec2:DescribeInstanceTypes,
    batch:DescribeComputeEnvironments), there are none: rounding down is a help, not a need.

    Parameters
    ----------
    queue
        Job queue, name or ARN.
    """
    try:
        queues = batch.describe_queues([queue])
        names = [
            entry["computeEnvironment"]
            for item in queues
            for entry in item.get("computeEnvironmentOrder", [])
        ]
        if not names:
            return Limits()
        resources = [
            item.get("computeResources") or {}
            for item in batch.describe_compute_environments(names)
        ]
        listed = {name for item in resources for name in item.get("instanceTypes", [])}
        sizes = instance_types(session, sorted(listed.difference(MANAGED_SETS)))
    except AccessDenied:
        return Limits()
    return largest(_environment_limits(item, sizes) for item in resources)


def largest(limits: Iterable[Limits]) -> Limits:
    """The limits of several job queues, one of which a task may choose."""
    each = list(limits)
    return Limits(max(x.vcpus for x in each), max(x.memory_mib for x in each))


def _environment_limits(resources: dict[str, Any], sizes: Iterable[InstanceType]) -> Limits:
    most = int(resources.get("maxvCpus") or UNLIMITED_VCPUS)
    if str(resources.get("type", "")).startswith("FARGATE"):
        return Limits(min(most, FARGATE_VCPUS), FARGATE_MIB)
    names = set(resources.get("instanceTypes", []))
    if not names or names.intersection(MANAGED_SETS):
        return Limits(vcpus=most)
    # An instance of more CPUs than the environment may have is never started.
    fitting = [
        size
        for size in sizes
        if (size.name in names or size.name.split(".")[0] in names) and size.vcpus <= most
    ]
    if not fitting:
        return Limits(vcpus=most)
    return Limits(
        max(size.vcpus for size in fitting),
        int(max(size.memory_mib for size in fitting) * SCHEDULABLE_SHARE),
    )
