"""Networks: a VPC of its own with public or with private subnets, or one that is there."""

from __future__ import annotations

from typing import Any

from troposphere import Equals, GetAtt, GetAZs, If, NoValue, Ref, Select, Sub, ec2

from .base import Network, Part, labels

GROUP = "Network and filesystem"
# What jobs, instances and the workflow job call; Fargate and the ECS agent need the first six (ECS
# developer guide, "VPC endpoints").
ENDPOINTS = {
    "EcrApi": "ecr.api",
    "EcrDkr": "ecr.dkr",
    "Logs": "logs",
    "Ecs": "ecs",
    "EcsAgent": "ecs-agent",
    "EcsTelemetry": "ecs-telemetry",
    "Batch": "batch",
    "Ec2": "ec2",
    "Sqs": "sqs",
}
FILE_SYSTEM_ENDPOINTS = {"efs": ("Efs", "elasticfilesystem"), "fsx": ("Fsx", "fsx")}
# TCP ports of the file systems: EFS user guide, "Using VPC security groups"; FSx for Lustre user
# guide, "File system access control with Amazon VPC".
PORTS = {
    "efs": [("NfsIngress", "NFS within the group", 2049, 2049)],
    "fsx": [
        ("LustreIngress", "Lustre within the group", 988, 988),
        ("LustreClientIngress", "Lustre between clients and servers", 1018, 1023),
    ],
}

_SERVERS = {"efs": "EFS mount targets", "fsx": "Lustre file system"}


def new(filesystem: str, private: bool) -> tuple[Part, Network]:
    """A VPC of its own.

    Parameters
    ----------
    filesystem
        ``efs`` or ``fsx``.
    private
        Whether nothing but AWS is reached from it, and that through endpoints.
    """
    part = Part("network", _PRIVATE if private else _PUBLIC)
    part.parameter(
        GROUP,
        "AvailabilityZoneCount",
        "Availability zones to use; set 2 where your account sees no third, as in us-west-1.",
        Type="Number",
        Default=3,
        AllowedValues=[2, 3],
    )
    part.conditions["HasThirdZone"] = Equals(Ref("AvailabilityZoneCount"), 3)
    part.add(
        ec2.VPC(
            "VPC",
            CidrBlock="10.0.0.0/16",
            EnableDnsSupport=True,
            EnableDnsHostnames=True,
            Tags=labels(),
        ),
        "File systems and endpoints are found by name.",
    )
    part.add(ec2.RouteTable("RouteTable", VpcId=Ref("VPC"), Tags=labels()))
    ready: list[str] = []
    if not private:
        _add_gateway(part)
        ready.append("DefaultRoute")
    for index, condition in enumerate((None, None, "HasThirdZone")):
        where = {"Condition": condition} if condition else {}
        part.add(
            ec2.Subnet(
                f"Subnet{index}",
                VpcId=Ref("VPC"),
                CidrBlock=f"10.0.{64 * index}.0/18",
                AvailabilityZone=Select(index, GetAZs("")),
                MapPublicIpOnLaunch=not private,
                Tags=labels(),
                **where,
            )
        )
        part.add(
            ec2.SubnetRouteTableAssociation(
                f"Subnet{index}Routes",
                SubnetId=Ref(f"Subnet{index}"),
                RouteTableId=Ref("RouteTable"),
                **where,
            )
        )
    part.add(
        ec2.VPCEndpoint(
            "S3Endpoint",
            VpcId=Ref("VPC"),
            VpcEndpointType="Gateway",
            ServiceName=Sub("com.amazonaws.${AWS::Region}.s3"),
            RouteTableIds=[Ref("RouteTable")],
        ),
        "Traffic with S3 stays inside AWS; a gateway endpoint is free.",
    )
    part.add(
        ec2.SecurityGroup(
            "SecurityGroup",
            GroupDescription=f"Jobs and {_SERVERS[filesystem]} of miniwdl-cloud",
            VpcId=Ref("VPC"),
            Tags=labels(),
        )
    )
    group = GetAtt("SecurityGroup", "GroupId")
    ports = PORTS[filesystem]
    if private:
        ports = [*ports, ("HttpsIngress", "Endpoints within the group", 443, 443)]
    for name, description, first, last in ports:
        part.add(
            ec2.SecurityGroupIngress(
                name,
                GroupId=group,
                Description=description,
                IpProtocol="tcp",
                FromPort=first,
                ToPort=last,
                SourceSecurityGroupId=group,
            )
        )
    subnets = [Ref("Subnet0"), Ref("Subnet1"), If("HasThirdZone", Ref("Subnet2"), NoValue)]
    if private:
        ready += _add_endpoints(part, filesystem, subnets, group)
    part.output("VpcId", Ref("VPC"), "VPC of everything")
    zones: list[tuple[Any, str | None]] = [
        (Ref("Subnet0"), None),
        (Ref("Subnet1"), None),
        (Ref("Subnet2"), "HasThirdZone"),
    ]
    return part, Network(subnets, zones, group, ready, public=not private)


def existing(filesystem: str) -> tuple[Part, Network]:
    """Subnets and a security group that are there.

    Parameters
    ----------
    filesystem
        ``efs``, with two subnets, or ``fsx``, with one.
    """
    part = Part("")
    names = ["Subnet0", "Subnet1"] if filesystem == "efs" else ["SubnetId"]
    for name in names:
        part.parameter(
            GROUP,
            name,
            "Subnet of jobs and file system, from which AWS and container registries are reached"
            + ("; the other one is of another availability zone." if len(names) > 1 else "."),
            Type="AWS::EC2::Subnet::Id",
        )
    ports = "TCP 2049" if filesystem == "efs" else "TCP 988 and 1018-1023"
    part.parameter(
        GROUP,
        "SecurityGroupId",
        f"Security group of jobs and file system. It has to let in {ports} from its own members,"
        " and to let out everything.",
        Type="AWS::EC2::SecurityGroup::Id",
    )
    subnets = [Ref(name) for name in names]
    zones: list[tuple[Any, str | None]] = [(subnet, None) for subnet in subnets]
    return part, Network(subnets, zones, Ref("SecurityGroupId"), [], own=False)


def _add_gateway(part: Part) -> None:
    part.add(ec2.InternetGateway("InternetGateway", Tags=labels()))
    part.add(
        ec2.VPCGatewayAttachment(
            "InternetGatewayAttachment",
            VpcId=Ref("VPC"),
            InternetGatewayId=Ref("InternetGateway"),
        )
    )
    part.add(
        ec2.Route(
            "DefaultRoute",
            DependsOn="InternetGatewayAttachment",
            RouteTableId=Ref("RouteTable"),
            DestinationCidrBlock="0.0.0.0/0",
            GatewayId=Ref("InternetGateway"),
        )
    )


def _add_endpoints(part: Part, filesystem: str, subnets: list[Any], group: Any) -> list[str]:
    wanted = dict([*ENDPOINTS.items(), FILE_SYSTEM_ENDPOINTS[filesystem]])
    for name, service in wanted.items():
        part.add(
            ec2.VPCEndpoint(
                f"{name}Endpoint",
                VpcId=Ref("VPC"),
                VpcEndpointType="Interface",
                ServiceName=Sub(f"com.amazonaws.${{AWS::Region}}.{service}"),
                PrivateDnsEnabled=True,
                SubnetIds=list(subnets),
                SecurityGroupIds=[group],
            )
        )
    return [f"{name}Endpoint" for name in wanted]


_PUBLIC = """\
Public subnets: instances and Fargate tasks reach AWS and container registries by an address of
their own, which costs nothing when idle; a NAT gateway would. Nothing can connect to them: the
security group lets in its own members only."""
_PRIVATE = """\
Private subnets: jobs reach AWS through endpoints, and nothing else, so that every container image
has to be in ECR. The interface endpoints cost money by the hour, also when idle. Workflow jobs take
no public address: miniwdl-aws-submit --no-public-ip."""
