"""The sizes of a Fargate task (AWS Batch API reference, ResourceRequirement, `value`; the same in
the ECS developer guide, "Task CPU and memory")."""

from __future__ import annotations

from .errors import UsageError

MIB = 1024

MEMORY_MIB: dict[float, tuple[int, ...]] = {
    0.25: (512, 1 * MIB, 2 * MIB),
    0.5: tuple(range(1 * MIB, 4 * MIB + 1, MIB)),
    1.0: tuple(range(2 * MIB, 8 * MIB + 1, MIB)),
    2.0: tuple(range(4 * MIB, 16 * MIB + 1, MIB)),
    4.0: tuple(range(8 * MIB, 30 * MIB + 1, MIB)),
    8.0: tuple(range(16 * MIB, 60 * MIB + 1, 4 * MIB)),
    16.0: tuple(range(32 * MIB, 120 * MIB + 1, 8 * MIB)),
}
"""Memory in MiB that goes with each number of vCPUs."""

LARGEST = (16.0, 120 * MIB)
"""vCPUs and MiB of the largest size."""


def smallest_size(vcpus: float, memory_mib: int) -> tuple[float, int]:
    """The smallest size, in vCPUs and MiB, that has at least as much as this, or as much of it as
    there is.

    Few CPUs count before little memory, as they cost about nine times as much as a GiB does.
    """
    vcpus, memory_mib = min(vcpus, LARGEST[0]), min(memory_mib, LARGEST[1])
    return min(
        (cpus, mib)
        for cpus, memories in MEMORY_MIB.items()
        for mib in memories
        if cpus >= vcpus and mib >= memory_mib
    )


def check_size(vcpus: float, memory_mib: int) -> None:
    """Check the workflow job's size.

    Raises
    ------
    UsageError
        Fargate has no such size; the message names the nearest.
    """
    if vcpus not in MEMORY_MIB:
        nearest = min(MEMORY_MIB, key=lambda size: abs(size - vcpus))
        sizes = ", ".join(f"{size:g}" for size in MEMORY_MIB)
        raise UsageError(
            f"--cpu {vcpus:g} is not a number of vCPUs that Fargate has ({sizes});"
            f" the nearest is {nearest:g}."
        )
    if memory_mib not in MEMORY_MIB[vcpus]:
        choices = MEMORY_MIB[vcpus]
        nearest_mib = min(choices, key=lambda size: abs(size - memory_mib))
        raise UsageError(
            f"--memory-GiB {memory_mib / MIB:g} does not go with --cpu {vcpus:g} on Fargate"
            f" ({choices[0] / MIB:g} to {choices[-1] / MIB:g} GiB); the nearest is"
            f" {nearest_mib / MIB:g}."
        )
