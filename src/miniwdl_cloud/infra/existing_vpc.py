"""A VPC that is there: which of its subnets a deployment uses, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping

from ..aws import ec2
from ..aws.session import AwsSession
from ..errors import ConfigurationError, NotFound, UsageError

PORTS = {"efs": ((2049, 2049),), "fsx": ((988, 988), (1018, 1023))}
"""TCP ports of the file systems: EFS user guide, "Using VPC security groups"; FSx for Lustre user
guide, "File system access control with Amazon VPC"."""
SUBNETS = {"efs": ("Subnet0", "Subnet1"), "fsx": ("SubnetId",)}
"""Parameters of the templates that name subnets."""
_GROUP = "SecurityGroupId"


def parameters(
    session: AwsSession, vpc: str, filesystem: str, given: Mapping[str, str]
) -> dict[str, str]:
    """The parameters of a template for subnets that are there.

    Parameters
    ----------
    session
        Of the account and Region.
    vpc
        Its id, or ``default``.
    filesystem
        ``efs``, which takes two subnets, or ``fsx``, which takes one.
    given
        Parameters that were given; they are not looked for.

    Raises
    ------
    UsageError
        It is not the id of a VPC.
    NotFound
        There is no such VPC, subnet or security group in it.
    ConfigurationError
        The VPC does not fit.
    """
    if vpc != "default" and not vpc.startswith("vpc-"):
        raise UsageError(f"--vpc {vpc} should be new, default, or the id of a VPC.")
    found = ec2.find_vpc(session, None if vpc == "default" else vpc)
    if found is None:
        missing = "There is no default VPC" if vpc == "default" else f"The VPC {vpc} does not exist"
        raise NotFound(
            f"{missing} in {session.region}; name another with --vpc, or take a new one."
        )
    if not ec2.resolves_names(session, found):
        raise ConfigurationError(
            f"The VPC {found} does not resolve the names of file systems; turn its attributes"
            " enableDnsSupport and enableDnsHostnames on."
        )
    return {
        **_subnets(session, found, filesystem, given),
        **_group(session, found, filesystem, given),
    }


def _subnets(
    session: AwsSession, vpc: str, filesystem: str, given: Mapping[str, str]
) -> dict[str, str]:
    names = SUBNETS[filesystem]
    there = ec2.subnets_of(session, vpc)
    known = {subnet.name: subnet for subnet in there}
    chosen: dict[str, ec2.Subnet] = {}
    for name in names:
        if name in given:
            if given[name] not in known:
                raise NotFound(f"The subnet {given[name]} is not in {vpc}; correct it.")
            chosen[name] = known[given[name]]
    if len({subnet.zone for subnet in chosen.values()}) < len(chosen):
        raise ConfigurationError(
            f"The subnets {' and '.join(given[name] for name in chosen)} are in the same"
            " availability zone; EFS has one mount target in each, so name subnets of two."
        )
    for name in names:
        if name not in chosen:
            zones = {subnet.zone for subnet in chosen.values()}
            free = [
                s for s in there if s.zone not in zones and _reaches_aws(s) and s.free_addresses
            ]
            if not free:
                wanted = "subnet" if len(names) == 1 else "two subnets in different zones"
                raise ConfigurationError(
                    f"{vpc} has no {wanted} with free addresses from which AWS is reached (by an"
                    " internet gateway, with public addresses for instances, or by a NAT gateway);"
                    " name subnets, if they reach AWS in another way, or take --vpc new."
                )
            # The one with the most room takes the most instances.
            chosen[name] = max(free, key=lambda subnet: subnet.free_addresses)
    return {name: subnet.name for name, subnet in chosen.items()}


def _reaches_aws(subnet: ec2.Subnet) -> bool:
    # Without an address of its own an instance gets nowhere through an internet gateway.
    through_internet_gateway = subnet.way_out.startswith("igw-")
    return bool(subnet.way_out) and (subnet.public_addresses or not through_internet_gateway)


def _group(
    session: AwsSession, vpc: str, filesystem: str, given: Mapping[str, str]
) -> dict[str, str]:
    group = ec2.security_group(session, vpc, given.get(_GROUP))
    if group is None:
        raise NotFound(
            f"{vpc} has no security group {given.get(_GROUP, 'default')}; name one of it with"
            " --security-group-id."
        )
    for first, last in PORTS[filesystem]:
        if not any(low <= first and last <= high for low, high in group.own_ports):
            ports = f"{first}" if first == last else f"{first}-{last}"
            raise ConfigurationError(
                f"The security group {group.name} does not let its members reach each other on TCP"
                f" {ports}, which the file system needs; add that rule, or name another group with"
                " --security-group-id."
            )
    return {_GROUP: group.name}
