"""Subnets: do machines in them reach what they need, images above all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .facts import Facts, is_fargate, resources_of
from .finding import Finding, ok, problem

NEEDED_BY_INSTANCES = ("ecs", "ecs-agent", "ecs-telemetry", "ecr.api", "ecr.dkr", "logs", "s3")
NEEDED_BY_FARGATE = ("ecr.api", "ecr.dkr", "logs", "s3")
"""VPC endpoints without which machines that have no way to the Internet start no job (Batch user
guide, "Considerations for AWS Batch" of interface endpoints; ECR user guide, "Amazon ECR interface
VPC endpoints")."""


def check_network(facts: Facts) -> Iterator[Finding]:
    """The subnets of all compute environments."""
    missing = [name for name in facts.subnet_ids if name not in facts.subnets]
    if missing:
        yield problem(
            "subnet-missing",
            f"Subnets of compute environments do not exist: {', '.join(missing)}.",
            "Batch cannot start machines there.",
            "Make the compute environments anew, in subnets that are there.",
        )
    if not facts.subnets:
        return
    vpcs = sorted({subnet["VpcId"] for subnet in facts.subnets.values()})
    tables = facts.aws.route_tables(vpcs)
    endpoints = facts.aws.endpoints(vpcs)
    shut = 0
    for environment in facts.environments.values():
        for finding in _check_environment(facts, environment, tables, endpoints):
            shut += 1
            yield finding
    if not shut and not missing:
        yield ok("network", "All subnets have a way out, or the endpoints in place of one.")


def _check_environment(
    facts: Facts,
    environment: Mapping[str, Any],
    tables: Sequence[Mapping[str, Any]],
    endpoints: Sequence[Mapping[str, Any]],
) -> Iterator[Finding]:
    on_fargate = is_fargate(dict(environment))
    needed = NEEDED_BY_FARGATE if on_fargate else NEEDED_BY_INSTANCES
    name = environment["computeEnvironmentName"]
    for subnet_id in resources_of(dict(environment)).get("subnets") or ():
        subnet = facts.subnets.get(subnet_id)
        if subnet is None:
            continue
        table = _table_of(subnet, tables)
        way = _way_out(table)
        if way.startswith("igw-"):
            # Fargate tasks ask for their address themselves; instances have the subnet's word.
            if not on_fargate and not subnet.get("MapPublicIpOnLaunch"):
                yield problem(
                    "no-public-address",
                    f"The subnet {subnet_id} of {name} is public, but gives machines no public"
                    " address.",
                    "They reach neither ECS nor an image registry, and jobs wait for ever.",
                    "Turn on auto-assign public IPv4, or use a subnet with a NAT gateway.",
                )
            continue
        if way:
            continue
        lacking = [each for each in needed if not _has_endpoint(each, subnet, table, endpoints)]
        if lacking:
            yield problem(
                "no-way-out",
                f"The subnet {subnet_id} of {name} has no way to the Internet, nor VPC endpoints"
                f" for {', '.join(lacking)}.",
                "Machines there cannot start jobs, which wait for ever.",
                "Route it to a NAT gateway, or make these endpoints; `miniwdl-cloud deploy"
                " --private` makes both.",
            )


def _table_of(subnet: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A subnet's route table: its own, or else the VPC's main one (VPC user guide, "Subnet route
    tables")."""
    ours = [table for table in tables if table["VpcId"] == subnet["VpcId"]]
    for table in ours:
        if any(a.get("SubnetId") == subnet["SubnetId"] for a in table.get("Associations") or ()):
            return table
    for table in ours:
        if any(a.get("Main") for a in table.get("Associations") or ()):
            return table
    return {}


def _way_out(table: Mapping[str, Any]) -> str:
    """What the default route leads to; empty if there is none that works."""
    for route in table.get("Routes") or ():
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State") != "blackhole":
            for member in ("GatewayId", "NatGatewayId", "TransitGatewayId", "NetworkInterfaceId"):
                if route.get(member):
                    return str(route[member])
            return "other"
    return ""


def _has_endpoint(
    service: str,
    subnet: Mapping[str, Any],
    table: Mapping[str, Any],
    endpoints: Sequence[Mapping[str, Any]],
) -> bool:
    for endpoint in endpoints:
        if endpoint["VpcId"] != subnet["VpcId"]:
            continue
        if not endpoint["ServiceName"].endswith(f".{service}"):
            continue
        # An interface is there for the whole VPC, a gateway for its route tables.
        if endpoint.get("VpcEndpointType") != "Gateway":
            return True
        if table.get("RouteTableId") in (endpoint.get("RouteTableIds") or ()):
            return True
    return False
