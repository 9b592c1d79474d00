"""What `miniwdl-cloud deploy create` finds out by itself: subnets of a VPC that is there, instance
types; and the self-test that it may run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.cli import deploy
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.errors import MiniwdlCloudError, NotFound
from miniwdl_cloud.infra import existing_vpc, parameters, submitting


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSession]:
    """Clients of an embedded AWS."""
    root = tmp_path_factory.mktemp("choices")
    with LocalCloud(root / "state", root / "filesystem") as cloud:
        yield LocalSession(cloud.endpoint_url, cloud.region)


class Vpc:
    """A VPC with an internet gateway, which somebody made."""

    def __init__(self, session: LocalSession, number: int) -> None:
        self._ec2 = session.client("ec2")
        self._number = number
        self.id = self._ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
        self._ec2.modify_vpc_attribute(VpcId=self.id, EnableDnsHostnames={"Value": True})
        self._gateway = self._ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self._ec2.attach_internet_gateway(InternetGatewayId=self._gateway, VpcId=self.id)

    def subnet(self, number: int, zone: str, bits: int = 24, public: bool = True) -> str:
        """Make a subnet: one with a way to the internet and public addresses, or neither."""
        made = self._ec2.create_subnet(
            VpcId=self.id,
            CidrBlock=f"10.{self._number}.{number}.0/{bits}",
            AvailabilityZone=f"us-east-1{zone}",
        )["Subnet"]["SubnetId"]
        if public:
            self._ec2.modify_subnet_attribute(SubnetId=made, MapPublicIpOnLaunch={"Value": True})
            self.route(made, GatewayId=self._gateway)
        return str(made)

    def nat(self, public: str, private: str) -> None:
        """Give a subnet a way out through a NAT gateway in another."""
        address = self._ec2.allocate_address(Domain="vpc")["AllocationId"]
        gateway = self._ec2.create_nat_gateway(SubnetId=public, AllocationId=address)["NatGateway"]
        self.route(private, NatGatewayId=gateway["NatGatewayId"])

    def route(self, subnet: str, **target: str) -> None:
        """Give a subnet a route table of its own."""
        table = self._ec2.create_route_table(VpcId=self.id)["RouteTable"]["RouteTableId"]
        self._ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **target)
        self._ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)

    def default_group(self) -> str:
        """Its default security group."""
        wanted = [
            {"Name": "vpc-id", "Values": [self.id]},
            {"Name": "group-name", "Values": ["default"]},
        ]
        (group,) = self._ec2.describe_security_groups(Filters=wanted)["SecurityGroups"]
        return str(group["GroupId"])

    def group(self, *ports: tuple[int, int]) -> str:
        """Make a security group whose members reach each other on these ports."""
        made = self._ec2.create_security_group(GroupName="g", Description="-", VpcId=self.id)
        for first, last in ports:
            rule = {"IpProtocol": "tcp", "FromPort": first, "ToPort": last}
            rule["UserIdGroupPairs"] = [{"GroupId": made["GroupId"]}]
            self._ec2.authorize_security_group_ingress(
                GroupId=made["GroupId"], IpPermissions=[rule]
            )
        return str(made["GroupId"])


def test_the_default_vpc_serves(session: LocalSession) -> None:
    """As AWS makes it for each account: a public subnet in every zone."""
    found = existing_vpc.parameters(session, "default", "efs", {})
    assert set(found) == {"Subnet0", "Subnet1", "SecurityGroupId"}
    subnets = session.client("ec2").describe_subnets(
        SubnetIds=[found["Subnet0"], found["Subnet1"]]
    )["Subnets"]
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 2
    assert all(subnet["DefaultForAz"] for subnet in subnets)
    assert set(existing_vpc.parameters(session, "default", "fsx", {})) == {
        "SubnetId",
        "SecurityGroupId",
    }


def test_subnets_are_chosen_that_reach_aws(session: LocalSession) -> None:
    """The largest of each zone, through an internet gateway or a NAT gateway; what was named
    stays."""
    vpc = Vpc(session, 30)
    small = vpc.subnet(1, "a", bits=28)
    large = vpc.subnet(2, "a")
    vpc.subnet(4, "c", bits=22, public=False)
    behind = vpc.subnet(3, "b", public=False)
    vpc.nat(large, behind)
    found = existing_vpc.parameters(session, vpc.id, "efs", {})
    assert {found["Subnet0"], found["Subnet1"]} == {large, behind}
    assert found["SecurityGroupId"] == vpc.default_group()
    found = existing_vpc.parameters(session, vpc.id, "efs", {"Subnet1": small})
    assert (found["Subnet0"], found["Subnet1"]) == (behind, small)
    group = vpc.group((2000, 3000))
    given = {"SecurityGroupId": group}
    assert existing_vpc.parameters(session, vpc.id, "efs", given)["SecurityGroupId"] == group


def test_a_network_that_does_not_fit_is_told(session: LocalSession) -> None:
    """Before anything is made: no such VPC, subnets of one zone, none that reaches AWS, a security
    group that keeps its members apart, names that are not resolved."""
    vpc = Vpc(session, 31)
    one, two = vpc.subnet(1, "a"), vpc.subnet(2, "a")
    vpc.subnet(3, "b", public=False)

    def told(name: str, filesystem: str = "efs", **given: str) -> str:
        with pytest.raises(MiniwdlCloudError) as caught:
            existing_vpc.parameters(session, name, filesystem, given)
        assert isinstance(caught.value, NotFound) == (caught.value.exit_code == 69)
        return f"{caught.value.exit_code} {caught.value.message}"

    assert told("vpc-123").startswith(
        "69 The VPC vpc-123 does not exist in us-east-1; name another"
    )
    assert told("mine").startswith("64 --vpc mine should be new, default, or the id of a VPC.")
    assert told(vpc.id).startswith(f"78 {vpc.id} has no two subnets in different zones with free")
    assert told(vpc.id, Subnet0="subnet-1").startswith("69 The subnet subnet-1 is not in vpc-")
    assert "are in the same availability zone" in told(vpc.id, Subnet0=one, Subnet1=two)
    group = vpc.group((2049, 2049), (988, 988))
    assert f"{group} does not let its members reach each other on TCP 1018-1023" in told(
        vpc.id, "fsx", SecurityGroupId=group
    )
    assert "has no security group sg-1; name one" in told(vpc.id, "fsx", SecurityGroupId="sg-1")
    ec2 = session.client("ec2")
    ec2.modify_vpc_attribute(VpcId=vpc.id, EnableDnsHostnames={"Value": False})
    assert "does not resolve the names of file systems" in told(vpc.id)


def test_instance_types_follow_the_architecture() -> None:
    """ARM64 needs other types, and GPUs an environment of their own; all else is the template's."""
    assert parameters.instance_types(None, False) == {}
    assert set(parameters.instance_types("x86_64", True)) == {"GpuInstanceTypes"}
    arm = parameters.instance_types("arm64", True)
    # Families of Graviton processors have a g after the generation's number.
    families = (arm["TaskInstanceTypes"] + "," + arm["GpuInstanceTypes"]).split(",")
    assert all(family[2:].startswith("g") for family in families)
    assert set(parameters.instance_types("arm64", False)) == {"TaskInstanceTypes"}


@pytest.mark.parametrize(
    ("option", "terminal", "answer", "runs"),
    [
        (None, False, "", False),
        (None, True, "y\n", True),
        (None, True, "\n", False),
        (True, False, "", True),
        (False, True, "y\n", False),
    ],
)
def test_the_self_test_is_offered(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: bool | None,
    terminal: bool,
    answer: str,
    runs: bool,
) -> None:
    """Asked for on a terminal alone; its exit code is the command's."""
    calls: list[Any] = []

    def submit(arguments: list[str], environ: dict[str, str]) -> int:
        calls.append((arguments, environ.get("MINIWDL__AWS__REGION")))
        return 5

    class Input:
        def isatty(self) -> bool:
            return terminal

        def readline(self) -> str:
            return answer

    monkeypatch.setattr(submitting, "submit", submit)
    monkeypatch.setattr("sys.stdin", Input())
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    args = argparse.Namespace(self_test=option, private=True, region="eu-west-1")
    assert deploy._self_test(args, "own-workflow") == (5 if runs else 0)
    options = ["--self-test", "--follow", "--workflow-queue", "own-workflow", "--no-public-ip"]
    assert calls == ([(options, "eu-west-1")] if runs else [])
    told = capsys.readouterr().err
    assert ("Run the self-test now" in told) == (option is None and terminal)
    assert (f"To try it: miniwdl-aws-submit {' '.join(options)}" in told) == (not runs)


def test_a_process_of_its_own_submits(tmp_path: Path) -> None:
    """miniwdl-aws-submit gets the environment that it is given, and its exit code comes back."""
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    assert submitting.submit(["no.wdl"], environ) == 64  # no queue is named
