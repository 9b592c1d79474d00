"""Amazon EC2 Auto Scaling: the groups that a fleet's workers are in."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import NotFound
from .error_mapping import map_errors
from .session import AwsSession


@dataclass(frozen=True)
class Group:
    """An auto scaling group.

    Parameters
    ----------
    name
        Its name.
    desired, minimum, maximum
        Its capacities.
    instances
        Ids of the instances that it has and that are not on their way out.
    """

    name: str
    desired: int
    minimum: int
    maximum: int
    instances: tuple[str, ...]


class AutoScaling:
    """EC2 Auto Scaling of one Region.

    Parameters
    ----------
    session
        Where its client comes from.
    """

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("autoscaling")

    def group(self, name: str) -> Group:
        """A group.

        Raises
        ------
        NotFound
            There is none of this name.
        """
        with map_errors(f"looking up the auto scaling group '{name}'"):
            found = self._client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        if not found["AutoScalingGroups"]:
            raise NotFound(f"There is no auto scaling group '{name}'; correct its name.")
        item = found["AutoScalingGroups"][0]
        return Group(
            item["AutoScalingGroupName"],
            item["DesiredCapacity"],
            item["MinSize"],
            item["MaxSize"],
            tuple(
                one["InstanceId"]
                for one in item.get("Instances", ())
                if one["LifecycleState"].startswith(("Pending", "InService"))
            ),
        )

    def set_desired(self, name: str, desired: int) -> None:
        """Set the desired capacity of a group, without waiting for any cooldown."""
        with map_errors(f"setting the capacity of the auto scaling group '{name}'"):
            self._client.set_desired_capacity(
                AutoScalingGroupName=name, DesiredCapacity=desired, HonorCooldown=False
            )

    def end_instance(self, instance_id: str) -> None:
        """Terminate an instance of a group, which becomes smaller by it.

        A group at its minimum refuses that: it would have to start another.
        """
        with map_errors(f"taking the instance {instance_id} out of its auto scaling group"):
            self._client.terminate_instance_in_auto_scaling_group(
                InstanceId=instance_id, ShouldDecrementDesiredCapacity=True
            )
