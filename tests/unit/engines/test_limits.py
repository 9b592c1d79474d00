"""Limits of a job queue, from its compute environments."""

from __future__ import annotations

from typing import Any

import pytest

from miniwdl_cloud.aws import ec2
from miniwdl_cloud.engines import limits
from miniwdl_cloud.engines.limits import UNLIMITED_MIB, Limits, queue_limits
from miniwdl_cloud.errors import AccessDenied

SIZES = [
    ec2.InstanceType("m5.large", 2, 8192),
    ec2.InstanceType("m5.4xlarge", 16, 65536),
    ec2.InstanceType("r5.2xlarge", 8, 131072),
]


class Batch:
    """Answers of AWS Batch about one queue."""

    def __init__(self, *resources: dict[str, Any]) -> None:
        self._resources = resources

    def describe_queues(self, names: list[str]) -> list[dict[str, Any]]:
        order = [{"order": i, "computeEnvironment": str(i)} for i in range(len(self._resources))]
        return [{"jobQueueName": names[0], "computeEnvironmentOrder": order}]

    def describe_compute_environments(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"computeResources": self._resources[int(name)]} for name in names]


def _limits(monkeypatch: pytest.MonkeyPatch, *resources: dict[str, Any]) -> Limits:
    monkeypatch.setattr(limits, "instance_types", lambda _session, _names: SIZES)
    return queue_limits(None, Batch(*resources), "q")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"type": "SPOT", "maxvCpus": 256, "instanceTypes": ["m5"]}, (16, int(65536 * 0.94))),
        ({"type": "EC2", "maxvCpus": 256, "instanceTypes": ["m5.large"]}, (2, int(8192 * 0.94))),
        ({"type": "SPOT", "maxvCpus": 8, "instanceTypes": ["m5", "r5"]}, (8, int(131072 * 0.94))),
        ({"type": "SPOT", "maxvCpus": 64, "instanceTypes": ["optimal"]}, (64, UNLIMITED_MIB)),
        ({"type": "FARGATE", "maxvCpus": 64}, (16, 120 * 1024)),
        ({"type": "FARGATE_SPOT", "maxvCpus": 4}, (4, 120 * 1024)),
    ],
)
def test_limits_of_a_compute_environment(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], expected: tuple[int, int]
) -> None:
    """The largest instance that may be started, or Fargate's largest size."""
    assert _limits(monkeypatch, resources) == Limits(*expected)


def test_the_best_of_several_environments_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue can run what any of its environments can."""
    found = _limits(
        monkeypatch,
        {"type": "SPOT", "maxvCpus": 256, "instanceTypes": ["m5.4xlarge"]},
        {"type": "EC2", "maxvCpus": 256, "instanceTypes": ["r5.2xlarge"]},
    )
    assert found == Limits(16, int(131072 * 0.94))


def test_no_permission_means_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that may not look up instance types cost the rounding down, not the run."""

    def refuse(*_: Any) -> None:
        raise AccessDenied("no")

    monkeypatch.setattr(limits, "instance_types", refuse)
    batch = Batch({"type": "SPOT", "maxvCpus": 256, "instanceTypes": ["m5"]})
    assert queue_limits(None, batch, "q") == Limits()  # type: ignore[arg-type]
