"""What a VPC has from the beginning on AWS, and not in moto."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.ec2.models.security_groups import SecurityGroupRule


def with_its_members(create: Callable[..., Any], backend: Any, *args: Any, **kwargs: Any) -> Any:
    """A VPC's default security group lets in its own members (Amazon VPC user guide, "Default
    security groups for your VPCs"); moto's lets in nobody."""
    group = create(backend, *args, **kwargs)
    if kwargs.get("is_default"):
        pair = {"GroupId": group.id, "UserId": backend.account_id}
        group.ingress_rules.append(
            SecurityGroupRule(
                backend, "-1", group.id, None, None, {}, source_group=pair, is_egress=False
            )
        )
    return group


def with_internet_gateway(create: Callable[..., Any], backend: Any) -> Any:
    """The default VPC has an internet gateway, and a route to it in its main route table (Amazon
    VPC user guide, "Default VPC components")."""
    vpc = create(backend)
    gateway = backend.create_internet_gateway()
    backend.attach_internet_gateway(gateway.id, vpc.id)
    wanted = {"vpc-id": [vpc.id], "association.main": ["true"]}
    (main,) = backend.describe_route_tables(filters=wanted)
    backend.create_route(main.id, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.id)
    return vpc
