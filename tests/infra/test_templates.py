"""The shipped templates: made of one specification, correct, and complete once deployed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.decode import decode_str

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.infra.deploy import deploy_stack, template_text
from miniwdl_cloud.infra.specification.template import VARIANTS, as_dict, text
from miniwdl_cloud.infra.specification.yaml_text import mapping

FOLDER = Path(__file__).parents[2] / "src/miniwdl_cloud/infra/templates"
NAMES = sorted(VARIANTS)


def test_what_is_shipped_is_what_the_specification_makes() -> None:
    """After a change of the specification, scripts/make-templates writes them anew."""
    assert {path.stem: path.read_text() for path in FOLDER.glob("*.yaml")} == {
        name: text(name) for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_text_says_what_the_specification_says(name: str) -> None:
    """YAML with comments and short functions, read as CloudFormation's tools do, loses nothing."""
    read, problems = decode_str(template_text(name))
    assert not problems
    assert json.loads(json.dumps(read)) == json.loads(json.dumps(as_dict(name)))


def test_cfn_lint_finds_nothing() -> None:
    """cfn-lint has no error and no warning for any of them."""
    lint = Path(sys.executable).parent / "cfn-lint"
    result = subprocess.run(
        [str(lint), "--", *map(str, sorted(FOLDER.glob("*.yaml")))],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.stdout + result.stderr == ""


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_into_a_request(name: str) -> None:
    """The text fits into CreateStack's TemplateBody, which takes 51,200 bytes."""
    assert len(template_text(name).encode()) <= 51_200


@pytest.mark.parametrize(
    "value",
    [
        "plain words",
        "true",
        "12:30:00",
        "-1",
        "",
        "a: b",
        "ends with:",
        "# no comment",
        "{brace}",
        "* star",
        'quote " and \\ backslash',
        "two\nlines\n",
        "x" * 150,
        " ".join(["word"] * 60),
        ["a", "b, c", "[d]"],
        [{"K": "v", "Other": ["x"]}, {"K": {"Deep": {"Deeper": "1"}}}],
        {"Number": 3, "Truth": False, "Text": "3"},
    ],
    ids=lambda value: json.dumps(value)[:20],
)
def test_yaml_keeps_any_value(value: Any) -> None:
    """What is written is read again as it was, whatever YAML might take it for."""
    lines = mapping({"Outer": {"Value": value, "Next": "x", "More": 1}})
    assert yaml.safe_load("\n".join(lines)) == {"Outer": {"Value": value, "Next": "x", "More": 1}}


class Deployed:
    """A variant, deployed into an embedded AWS."""

    def __init__(self, session: LocalSession, name: str, **parameters: str) -> None:
        self.session = session
        self.stack = f"v-{name}"
        self.outputs = deploy_stack(session, template_text(name), self.stack, parameters)

    def client(self, service: str) -> Any:
        """A client of a service."""
        return self.session.client(service)

    def queue(self, output: str) -> dict[str, Any]:
        """A job queue, by the output that names it."""
        name = self.outputs[output]
        (queue,) = self.client("batch").describe_job_queues(jobQueues=[name])["jobQueues"]
        return dict(queue)

    def environments(self, output: str) -> list[dict[str, Any]]:
        """The compute resources of a queue's environments, in order."""
        arns = [e["computeEnvironment"] for e in self.queue(output)["computeEnvironmentOrder"]]
        found = self.client("batch").describe_compute_environments(computeEnvironments=arns)
        by_arn = {e["computeEnvironmentArn"]: e for e in found["computeEnvironments"]}
        return [by_arn[arn]["computeResources"] for arn in arns]

    def statements(self, policy: str) -> list[dict[str, Any]]:
        """Statements of an inline policy of the workflow job's role."""
        role = self.outputs["WorkflowEngineRoleArn"].rpartition("/")[2]
        document = self.client("iam").get_role_policy(RoleName=role, PolicyName=policy)
        return list(document["PolicyDocument"]["Statement"])

    def user_data(self) -> str:
        """What the task instances do at boot."""
        import base64

        launch = self.environments("TaskQueue")[0]["launchTemplate"]
        (version,) = self.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=launch["launchTemplateId"], Versions=[launch["version"]]
        )["LaunchTemplateVersions"]
        return base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()

    def delete(self) -> None:
        """Delete it; nothing but bucket and EFS file system may be left."""
        self.client("cloudformation").delete_stack(StackName=self.stack)
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        assert self.stack not in {stack["StackName"] for stack in stacks}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSession]:
    """Clients of an embedded AWS."""
    root = tmp_path_factory.mktemp("variants")
    with LocalCloud(root / "state", root / "filesystem") as cloud:
        yield LocalSession(cloud.endpoint_url, cloud.region)


@pytest.fixture(scope="module")
def existing(session: LocalSession) -> dict[str, str]:
    """A VPC with two subnets and a security group, which somebody else made."""
    ec2 = session.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.7.{i}.0/24", AvailabilityZone=f"us-east-1{zone}"
        )["Subnet"]["SubnetId"]
        for i, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="theirs", Description="-", VpcId=vpc)["GroupId"]
    return {"vpc": vpc, "subnet0": subnets[0], "subnet1": subnets[1], "group": group}


def test_efs_in_an_existing_vpc(session: LocalSession, existing: dict[str, str]) -> None:
    """Jobs and mount targets are in the given subnets and group; no network is made."""
    ec2 = session.client("ec2")
    vpcs = len(ec2.describe_vpcs()["Vpcs"])
    made = Deployed(
        session,
        "batch-efs-existing-vpc",
        Subnet0=existing["subnet0"],
        Subnet1=existing["subnet1"],
        SecurityGroupId=existing["group"],
    )
    assert len(ec2.describe_vpcs()["Vpcs"]) == vpcs
    subnets = [existing["subnet0"], existing["subnet1"]]
    for output in ("TaskQueue", "TaskQueueFallback", "WorkflowQueue"):
        (resources,) = made.environments(output)
        assert (resources["subnets"], resources["securityGroupIds"]) == (
            subnets,
            [existing["group"]],
        )
    targets = made.client("efs").describe_mount_targets(FileSystemId=made.outputs["FileSystemId"])
    assert {target["SubnetId"] for target in targets["MountTargets"]} == set(subnets)
    assert made.outputs["Template"] == "batch-efs-existing-vpc"
    made.delete()


def test_lustre(session: LocalSession) -> None:
    """A Lustre 2.15 file system that the bucket is linked to; instances mount it, also those of
    workflow jobs, and the tags say so."""
    made = Deployed(session, "batch-fsx", StorageCapacity="2400")
    fsx = made.client("fsx")
    (system,) = fsx.describe_file_systems(FileSystemIds=[made.outputs["FileSystemId"]])[
        "FileSystems"
    ]
    assert (system["FileSystemType"], system["FileSystemTypeVersion"]) == ("LUSTRE", "2.15")
    assert system["StorageCapacity"] == 2400
    assert system["SubnetIds"] == made.outputs["SubnetIds"].split(",")[:1]
    (link,) = fsx.describe_data_repository_associations()["Associations"]
    assert link["FileSystemId"] == system["FileSystemId"]
    assert link["DataRepositoryPath"] == f"s3://{made.outputs['BucketName']}/fsx"
    tags = made.queue("WorkflowQueue")["tags"]
    assert (tags["DefaultFsid"], tags["DefaultMount"]) == (system["FileSystemId"], "/mnt/fsx")
    assert "DefaultFsap" not in tags
    (workflow,) = made.environments("WorkflowQueue")
    (task,) = made.environments("TaskQueue")
    assert workflow["type"] == "EC2"
    assert workflow["launchTemplate"] == task["launchTemplate"]
    name = system["LustreConfiguration"]["MountName"]
    mount = f"mount -t lustre -o noatime,flock {system['DNSName']}@tcp:/{name} /mnt/fsx"
    data = made.user_data()
    assert mount in data and "${#disks[@]}" in data and "${!" not in data
    (group,) = made.client("ec2").describe_security_groups(
        GroupIds=[made.outputs["SecurityGroupId"]]
    )["SecurityGroups"]
    ports = {(rule["FromPort"], rule["ToPort"]) for rule in group["IpPermissions"]}
    assert ports == {(988, 988), (1018, 1023)}
    (create, cancel, look) = made.statements("fsx")
    assert create["Resource"][0].endswith(f":file-system/{system['FileSystemId']}")
    assert cancel["Action"] == "fsx:CancelDataRepositoryTask"
    assert all(action.startswith("fsx:Describe") for action in look["Action"])
    made.delete()
    assert fsx.describe_file_systems()["FileSystems"] == []


def test_lustre_in_an_existing_vpc(session: LocalSession, existing: dict[str, str]) -> None:
    """File system and jobs are in the one subnet that is given."""
    made = Deployed(
        session,
        "batch-fsx-existing-vpc",
        SubnetId=existing["subnet0"],
        SecurityGroupId=existing["group"],
    )
    (system,) = made.client("fsx").describe_file_systems()["FileSystems"]
    assert (system["VpcId"], system["SubnetIds"]) == (existing["vpc"], [existing["subnet0"]])
    assert made.environments("TaskQueue")[0]["subnets"] == [existing["subnet0"]]
    made.delete()


@pytest.mark.parametrize(("filesystem", "service"), [("efs", "elasticfilesystem"), ("fsx", "fsx")])
def test_private_subnets(session: LocalSession, filesystem: str, service: str) -> None:
    """No way to the internet; every AWS service that jobs need has an endpoint in the group."""
    made = Deployed(session, f"batch-{filesystem}-private")
    ec2 = made.client("ec2")
    subnets = made.outputs["SubnetIds"].split(",")
    found = ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in found)
    tables = ec2.describe_route_tables(
        Filters=[{"Name": "association.subnet-id", "Values": subnets}]
    )["RouteTables"]
    gateways = {route["GatewayId"].partition("-")[0] for t in tables for route in t["Routes"]}
    assert gateways == {"local", "vpce"}
    endpoints = ec2.describe_vpc_endpoints(
        Filters=[{"Name": "vpc-id", "Values": [made.outputs["VpcId"]]}]
    )["VpcEndpoints"]
    services = {e["ServiceName"].rpartition("us-east-1.")[2]: e for e in endpoints}
    assert set(services) == {
        *("s3", "ecr.api", "ecr.dkr", "logs", "ecs", "ecs-agent", "ecs-telemetry"),
        *("batch", "ec2", "sqs", service),
    }
    assert services["s3"]["VpcEndpointType"] == "Gateway"
    assert services["batch"]["PrivateDnsEnabled"] is True
    assert set(services["batch"]["SubnetIds"]) == set(subnets)
    (group,) = ec2.describe_security_groups(GroupIds=[made.outputs["SecurityGroupId"]])[
        "SecurityGroups"
    ]
    ports = {rule["FromPort"] for rule in group["IpPermissions"]}
    assert ports == ({2049, 443} if filesystem == "efs" else {988, 1018, 443})
    made.delete()


def test_parts_can_be_left_out_and_put_in(session: LocalSession) -> None:
    """Without fallback, events and Fargate there is nothing of them, in tags and policies either;
    with GPU types there is an environment of them after the first. An update turns each on and off.
    """
    made = Deployed(
        session,
        "batch-efs",
        EnableTaskFallback="false",
        EnableEvents="false",
        EnableFargate="false",
        GpuInstanceTypes="g6,p4d",
        TaskInstanceTypes="m6i",
    )
    assert "TaskQueueFallback" not in made.outputs and "EcsCluster" not in made.outputs
    assert made.client("ecs").list_clusters()["clusterArns"] == []
    tags = made.queue("WorkflowQueue")["tags"]
    assert "DefaultTaskQueueFallback" not in tags and "DefaultEventQueueUrl" not in tags
    assert "DefaultEcsCluster" not in tags
    first, second = made.environments("TaskQueue")
    assert (first["instanceTypes"], second["instanceTypes"]) == (["m6i"], ["g6", "p4d"])
    statements = {s["Sid"]: s for s in made.statements("batch")}
    assert "Events" not in statements
    assert len(statements["SubmitTasks"]["Resource"]) == 2
    assert made.client("events").list_rules(NamePrefix=made.stack)["Rules"] == []

    again = Deployed(session, "batch-efs", TaskInstanceTypes="m6i")
    assert again.outputs["TaskQueueFallback"] == "v-batch-efs-task-fallback"
    tags = again.queue("WorkflowQueue")["tags"]
    assert tags["DefaultTaskQueueFallback"] == "v-batch-efs-task-fallback"
    assert "DefaultEventQueueUrl" in tags
    assert tags["DefaultEcsCluster"] == again.outputs["EcsCluster"]
    assert {s["Sid"] for s in again.statements("ecs")} >= {"RunTasks", "ExecutionRole"}
    assert len(again.environments("TaskQueue")) == 1
    assert {s["Sid"] for s in again.statements("batch")} >= {"Events"}
    (rule,) = again.client("events").list_rules(NamePrefix=made.stack)["Rules"]
    assert len(json.loads(rule["EventPattern"])["detail"]["jobQueue"]) == 2
    again.delete()
