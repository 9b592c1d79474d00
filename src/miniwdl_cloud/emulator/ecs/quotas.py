"""How many calls a second ECS answers: a bucket a category of operations, for an account.

Categories and numbers: ECS API reference, "Request throttling for the Amazon ECS API".
"""

from __future__ import annotations

from collections.abc import Mapping

from ..rates import RateLimit

CATEGORIES: Mapping[str, tuple[int, int, tuple[str, ...]]] = {
    "cluster modify": (
        20,
        1,
        ("CreateCluster", "DeleteCluster", "PutClusterCapacityProviders", "UpdateCluster"),
    ),
    "cluster read": (50, 20, ("DescribeClusters", "ListClusters")),
    "task definition modify": (20, 1, ("DeregisterTaskDefinition", "RegisterTaskDefinition")),
    "task definition read": (
        50,
        20,
        ("DescribeTaskDefinition", "ListTaskDefinitions", "ListTaskDefinitionFamilies"),
    ),
    "capacity provider read": (50, 20, ("DescribeCapacityProviders",)),
    "tag modify": (20, 10, ("TagResource", "UntagResource")),
    "tag read": (50, 20, ("ListTagsForResource",)),
    "cluster resource modify": (100, 40, ("ExecuteCommand", "RunTask", "StopTask")),
    "cluster resource read": (100, 20, ("DescribeTasks", "ListTasks")),
}
"""Burst, calls a second, and the operations that share them. Fargate limits RunTask further."""


class CallQuotas:
    """The buckets of an account.

    Parameters
    ----------
    times
        How many times AWS's numbers the account has; AWS Support raises them on request.
    """

    def __init__(self, times: float = 1.0) -> None:
        self._buckets = {
            operation: bucket
            for burst, per_second, operations in CATEGORIES.values()
            for bucket in [RateLimit(per_second * times, burst * times)]
            for operation in operations
        }

    def take(self, operation: str) -> bool:
        """Whether a call may go through now."""
        bucket = self._buckets.get(operation)
        return bucket is None or bucket.take()
