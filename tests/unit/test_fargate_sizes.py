"""Sizes of Fargate tasks."""

from __future__ import annotations

import pytest

from miniwdl_cloud.emulator.fargate import SIZES
from miniwdl_cloud.fargate_sizes import LARGEST, MEMORY_MIB, smallest_size


@pytest.mark.parametrize(
    ("vcpus", "mib", "given"),
    [
        (0.1, 1, (0.25, 512)),
        (0.25, 513, (0.25, 1024)),
        (0.25, 2049, (0.5, 3072)),
        (1, 1, (1, 2048)),
        (1, 2048, (1, 2048)),
        (1, 8193, (2, 9216)),
        (3, 1024, (4, 8192)),
        (5, 1024, (8, 16384)),
        (8, 16385, (8, 20480)),
        (1, 61441, (16, 65536)),
        (16, 120 * 1024, LARGEST),
        (17, 1024, (16, 32768)),
        (1, 120 * 1024 + 1, LARGEST),
    ],
)
def test_smallest_size(vcpus: float, mib: int, given: tuple[float, int]) -> None:
    """The next size that has enough of both, or as much as there is."""
    assert smallest_size(vcpus, mib) == given


def test_every_size_is_its_own_smallest() -> None:
    """What Fargate has is given as it is; the embedded AWS has the same sizes."""
    for vcpus, memories in MEMORY_MIB.items():
        assert SIZES[vcpus] == memories
        for mib in memories:
            assert smallest_size(vcpus, mib) == (vcpus, mib)
