"""What Fargate refuses in a job definition: its sizes, and members that it does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import client_error

# vCPUs: allowed MiB. ECS developer guide, "Fargate task definition considerations".
SIZES: Mapping[float, tuple[int, ...]] = {
    0.25: (512, 1024, 2048),
    0.5: tuple(range(1024, 4096 + 1, 1024)),
    1.0: tuple(range(2048, 8192 + 1, 1024)),
    2.0: tuple(range(4096, 16384 + 1, 1024)),
    4.0: tuple(range(8192, 30720 + 1, 1024)),
    8.0: tuple(range(16384, 61440 + 1, 4096)),
    16.0: tuple(range(32768, 122880 + 1, 8192)),
}
EPHEMERAL_STORAGE_GIB = (21, 200)
LOG_DRIVERS = ("awslogs", "splunk")


def check_fargate(
    container: Mapping[str, Any], required: Mapping[str, str]
) -> tuple[float, int, int]:
    """vCPUs, memory (MiB) and GPUs (none) of a container for Fargate.

    Parameters
    ----------
    container
        containerProperties.
    required
        Its resourceRequirements: values by type.

    Raises
    ------
    ApiError
        Batch would refuse it.
    """
    for member in ("vcpus", "memory"):
        if container.get(member):
            raise client_error(
                f"{member} is not applicable for Fargate. Use resource requirements instead."
            )
    if "GPU" in required:
        raise client_error("GPU is not applicable for Fargate.")
    for kind, name in (("VCPU", "vCPU"), ("MEMORY", "Memory")):
        if kind not in required:
            raise client_error(f"{name} is not provided.")
    if not container.get("executionRoleArn"):
        raise client_error("executionRoleArn is required for Fargate.")
    _check_members(container)
    try:
        vcpus, memory = float(required["VCPU"]), int(required["MEMORY"])
    except ValueError:
        vcpus, memory = 0.0, 0
    if vcpus not in SIZES:
        raise client_error(
            f"Value {required['VCPU']} for type VCPU in resourceRequirement is not valid for"
            f" Fargate. Valid values are {', '.join(f'{size:g}' for size in SIZES)}."
        )
    if memory not in SIZES[vcpus]:
        raise client_error(
            f"Value {required['MEMORY']} for type MEMORY in resourceRequirement is not valid for"
            f" Fargate with {vcpus:g} vCPU."
        )
    return vcpus, memory, 0


def _check_members(container: Mapping[str, Any]) -> None:
    linux = container.get("linuxParameters", {})
    for name, present in (
        ("privileged", container.get("privileged")),
        ("instanceType", container.get("instanceType")),
        ("devices", linux.get("devices")),
        ("tmpfs", linux.get("tmpfs")),
        ("sharedMemorySize", linux.get("sharedMemorySize")),
        ("maxSwap", linux.get("maxSwap")),
        ("host volume", any("host" in volume for volume in container.get("volumes", []))),
    ):
        if present:
            raise client_error(f"{name} is not applicable for Fargate.")
    driver = container.get("logConfiguration", {}).get("logDriver", "awslogs")
    if driver not in LOG_DRIVERS:
        raise client_error(f"Log driver {driver} is not applicable for Fargate.")
    if "ephemeralStorage" in container:
        size = container["ephemeralStorage"]["sizeInGiB"]
        if not EPHEMERAL_STORAGE_GIB[0] <= size <= EPHEMERAL_STORAGE_GIB[1]:
            raise client_error(
                f"ephemeralStorage must be between {EPHEMERAL_STORAGE_GIB[0]} and"
                f" {EPHEMERAL_STORAGE_GIB[1]} GiB, got {size}."
            )
