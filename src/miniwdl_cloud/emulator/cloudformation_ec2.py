"""EC2 resource types of CloudFormation: what moto's models of them forget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.internet_gateways import InternetGateway as MotoInternetGateway
from moto.ec2.models.route_tables import Route as MotoRoute
from moto.ec2.models.route_tables import RouteTable as MotoRouteTable
from moto.ec2.models.subnets import Subnet as MotoSubnet
from moto.ec2.models.vpcs import VPC as MotoVpc
from moto.ec2.models.vpcs import VPCEndPoint as MotoVpcEndpoint
from moto.ec2.models.vpn_gateway import VPCGatewayAttachment as MotoAttachment

from .cloudformation_batch import Resource

Json = dict[str, Any]


def _deleting(resource: Any, delete: Callable[[], Any]) -> Any:
    """Give a moto object the deletion that its model lacks."""
    resource.delete = lambda account_id, region_name: delete()
    return resource


def _add_tags(resource: Any, properties: Json) -> None:
    for tag in properties.get("Tags", []):
        resource.add_tag(tag["Key"], tag["Value"])


class Vpc(MotoVpc):  # type: ignore[misc]
    """AWS::EC2::VPC with its DNS attributes."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        vpc = MotoVpc.create_from_cloudformation_json(
            name, cloudformation_json, account_id, region_name
        )
        for member, attribute in (
            ("EnableDnsSupport", "enable_dns_support"),
            ("EnableDnsHostnames", "enable_dns_hostnames"),
        ):
            if member in cloudformation_json["Properties"]:
                value = str(cloudformation_json["Properties"][member]).lower()
                ec2_backends[account_id][region_name].modify_vpc_attribute(vpc.id, attribute, value)
        return vpc


class Subnet(MotoSubnet):  # type: ignore[misc]
    """AWS::EC2::Subnet with public addresses."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        subnet = MotoSubnet.create_from_cloudformation_json(
            name, cloudformation_json, account_id, region_name
        )
        public = cloudformation_json["Properties"].get("MapPublicIpOnLaunch", False)
        ec2_backends[account_id][region_name].modify_subnet_attribute(
            subnet.id, "map_public_ip_on_launch", str(public).lower() == "true"
        )
        return subnet


class InternetGateway(MotoInternetGateway):  # type: ignore[misc]
    """AWS::EC2::InternetGateway with tags and deletion."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        backend = ec2_backends[account_id][region_name]
        gateway = backend.create_internet_gateway()
        _add_tags(gateway, cloudformation_json["Properties"])
        return _deleting(gateway, lambda: backend.delete_internet_gateway(gateway.id))


class GatewayAttachment(MotoAttachment):  # type: ignore[misc]
    """AWS::EC2::VPCGatewayAttachment with deletion."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        backend = ec2_backends[account_id][region_name]
        properties = cloudformation_json["Properties"]
        attachment = MotoAttachment.create_from_cloudformation_json(
            name, cloudformation_json, account_id, region_name
        )
        if "InternetGatewayId" not in properties:
            return attachment
        return _deleting(
            attachment,
            lambda: backend.detach_internet_gateway(
                properties["InternetGatewayId"], properties["VpcId"]
            ),
        )


class RouteTable(MotoRouteTable):  # type: ignore[misc]
    """AWS::EC2::RouteTable with tags and deletion."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        backend = ec2_backends[account_id][region_name]
        table = backend.create_route_table(vpc_id=cloudformation_json["Properties"]["VpcId"])
        _add_tags(table, cloudformation_json["Properties"])
        return _deleting(table, lambda: backend.delete_route_table(table.id))


class Route(MotoRoute):  # type: ignore[misc]
    """AWS::EC2::Route with deletion."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        properties = cloudformation_json["Properties"]
        route = MotoRoute.create_from_cloudformation_json(
            name, cloudformation_json, account_id, region_name
        )
        return _deleting(
            route,
            lambda: ec2_backends[account_id][region_name].delete_route(
                properties["RouteTableId"], properties.get("DestinationCidrBlock")
            ),
        )


class SubnetRoutes:
    """AWS::EC2::SubnetRouteTableAssociation, which moto only notes down."""

    @classmethod
    def cloudformation_name_type(cls) -> str:
        """It has no name."""
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """Whether ``Fn::GetAtt`` knows the attribute."""
        return attr == "Id"

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Resource:
        """Associate them."""
        backend = ec2_backends[account_id][region_name]
        properties = cloudformation_json["Properties"]
        association = backend.associate_route_table(
            route_table_id=properties["RouteTableId"], subnet_id=properties["SubnetId"]
        )
        return Resource(
            association,
            {"Id": association},
            lambda: backend.disassociate_route_table(association),
        )


class VpcEndpoint(MotoVpcEndpoint):  # type: ignore[misc]
    """AWS::EC2::VPCEndpoint with deletion."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        endpoint = MotoVpcEndpoint.create_from_cloudformation_json(
            name, cloudformation_json, account_id, region_name
        )
        backend = ec2_backends[account_id][region_name]
        return _deleting(endpoint, lambda: backend.delete_vpc_endpoints([endpoint.id]))


MODELS: Mapping[str, Any] = {
    "AWS::EC2::InternetGateway": InternetGateway,
    "AWS::EC2::Route": Route,
    "AWS::EC2::RouteTable": RouteTable,
    "AWS::EC2::Subnet": Subnet,
    "AWS::EC2::SubnetRouteTableAssociation": SubnetRoutes,
    "AWS::EC2::VPC": Vpc,
    "AWS::EC2::VPCEndpoint": VpcEndpoint,
    "AWS::EC2::VPCGatewayAttachment": GatewayAttachment,
}
