"""Amazon EC2: how large instance types are, and which VPC a subnet is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .error_mapping import map_errors
from .session import AwsSession


@dataclass(frozen=True)
class InstanceType:
    """An instance type.

    Parameters
    ----------
    name
        ``m5.large``
    vcpus
        Its CPUs.
    memory_mib
        Its memory in MiB, all of it.
    gpus
        Its GPUs.
    """

    name: str
    vcpus: int
    memory_mib: int
    gpus: int = 0


def instance_types(session: AwsSession, names: Sequence[str]) -> list[InstanceType]:
    """The instance types of these names and families.

    Parameters
    ----------
    names
        Instance types (``m5.large``) and families (``m5``), as compute environments list them.
        Those that the Region does not have are left out.
    """
    patterns = sorted({name if "." in name else f"{name}.*" for name in names})
    found: list[InstanceType] = []
    if not patterns:
        return found
    paginator = session.client("ec2").get_paginator("describe_instance_types")
    with map_errors("looking up instance types"):
        for page in paginator.paginate(Filters=[{"Name": "instance-type", "Values": patterns}]):
            for item in page["InstanceTypes"]:
                found.append(
                    InstanceType(
                        item["InstanceType"],
                        item["VCpuInfo"]["DefaultVCpus"],
                        item["MemoryInfo"]["SizeInMiB"],
                        sum(g.get("Count", 0) for g in item.get("GpuInfo", {}).get("Gpus", ())),
                    )
                )
    return found


def vpcs_of_subnets(session: AwsSession, subnets: Sequence[str]) -> dict[str, str]:
    """The VPC of each subnet; those that do not exist are left out."""
    found: dict[str, str] = {}
    if not subnets:
        return found
    paginator = session.client("ec2").get_paginator("describe_subnets")
    with map_errors("looking up subnets"):
        # By filter, as an id that does not exist would be an error.
        for page in paginator.paginate(Filters=[{"Name": "subnet-id", "Values": list(subnets)}]):
            found.update({item["SubnetId"]: item["VpcId"] for item in page["Subnets"]})
    return found
