"""Amazon EC2: how large instance types are, and what networks there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Subnet:
    """A subnet.

    Parameters
    ----------
    name
        Its id.
    zone
        Availability zone.
    free_addresses
        How many more network interfaces fit into it.
    public_addresses
        Whether instances get a public address.
    way_out
        Where it sends what is for the internet: id of a gateway; empty if nowhere.
    """

    name: str
    zone: str
    free_addresses: int
    public_addresses: bool
    way_out: str


@dataclass(frozen=True)
class SecurityGroup:
    """A security group.

    Parameters
    ----------
    name
        Its id.
    vpc
        Id of its VPC.
    own_ports
        TCP ports on which it lets in its own members: first and last of each range.
    """

    name: str
    vpc: str
    own_ports: tuple[tuple[int, int], ...]


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


def find_vpc(session: AwsSession, name: str | None) -> str | None:
    """The id of a VPC, or of the default one; `None` if there is none.

    Parameters
    ----------
    name
        Its id; `None` for the default VPC.
    """
    key, value = ("vpc-id", name) if name else ("is-default", "true")
    wanted = {"Name": key, "Values": [value]}
    with map_errors("looking up the VPC"):
        found = session.client("ec2").describe_vpcs(Filters=[wanted])["Vpcs"]
    return str(found[0]["VpcId"]) if found else None


def resolves_names(session: AwsSession, vpc: str) -> bool:
    """Whether a VPC has both attributes that the names of file systems need: enableDnsSupport and
    enableDnsHostnames."""
    client = session.client("ec2")
    with map_errors(f"looking at the VPC {vpc}"):
        return all(
            client.describe_vpc_attribute(VpcId=vpc, Attribute=name)[key]["Value"]
            for name, key in (
                ("enableDnsSupport", "EnableDnsSupport"),
                ("enableDnsHostnames", "EnableDnsHostnames"),
            )
        )


def subnets_of(session: AwsSession, vpc: str) -> list[Subnet]:
    """The subnets of a VPC, sorted by zone and id."""
    client = session.client("ec2")
    here = [{"Name": "vpc-id", "Values": [vpc]}]
    with map_errors(f"looking at the subnets of {vpc}"):
        tables = [
            table
            for page in client.get_paginator("describe_route_tables").paginate(Filters=here)
            for table in page["RouteTables"]
        ]
        found = [
            item
            for page in client.get_paginator("describe_subnets").paginate(Filters=here)
            for item in page["Subnets"]
        ]
    main, own = "", {}
    for table in tables:
        for association in table["Associations"]:
            if association.get("Main"):
                main = _way_out(table)
            elif "SubnetId" in association:
                own[association["SubnetId"]] = _way_out(table)
    subnets = [
        Subnet(
            item["SubnetId"],
            item["AvailabilityZone"],
            item["AvailableIpAddressCount"],
            item["MapPublicIpOnLaunch"],
            own.get(item["SubnetId"], main),
        )
        for item in found
    ]
    return sorted(subnets, key=lambda subnet: (subnet.zone, subnet.name))


def security_group(session: AwsSession, vpc: str, name: str | None) -> SecurityGroup | None:
    """A security group, or the default one of a VPC; `None` if there is none.

    Parameters
    ----------
    vpc
        Id of the VPC.
    name
        Id of the group; `None` for the VPC's default one.
    """
    key, value = ("group-id", name) if name else ("group-name", "default")
    wanted = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": key, "Values": [value]}]
    with map_errors("looking up the security group"):
        found = session.client("ec2").describe_security_groups(Filters=wanted)["SecurityGroups"]
    if not found:
        return None
    group = found[0]
    ports = [
        # A rule for all protocols has no ports.
        (rule.get("FromPort", 0), rule.get("ToPort", 65535))
        for rule in group["IpPermissions"]
        if rule["IpProtocol"] in ("-1", "tcp", "6")
        and any(pair.get("GroupId") == group["GroupId"] for pair in rule["UserIdGroupPairs"])
    ]
    return SecurityGroup(group["GroupId"], group["VpcId"], tuple(ports))


def _way_out(table: Mapping[str, Any]) -> str:
    for route in table["Routes"]:
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State") == "active":
            for key in ("GatewayId", "NatGatewayId", "TransitGatewayId", "NetworkInterfaceId"):
                if route.get(key):
                    return str(route[key])
    return ""
