"""The Batch and EFS template: correct by itself, and complete once deployed. The same is asserted
of what Terraform makes, in test_terraform_parity.py."""

from __future__ import annotations

import base64
import contextlib
import email
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.emulator.state import ServerState
from miniwdl_cloud.infra.deploy import deploy_stack, template_text

OF_CLOUDFORMATION_ALONE = ("test_it_shrinks_to_what_is_asked",)
"""Tests that deploy more than the fixture."""


class Deployed:
    """A deployment to look at.

    Parameters
    ----------
    cloud
        Where it is.
    name
        Of the deployment.
    outputs
        By the names of the template's outputs.
    """

    def __init__(
        self, cloud: LocalCloud | ServerState, name: str, outputs: Mapping[str, str]
    ) -> None:
        self.cloud = cloud
        self.name = name
        self.session = LocalSession(cloud.endpoint_url, cloud.region)
        self.outputs = outputs

    def client(self, service: str) -> Any:
        """A client of a service."""
        return self.session.client(service)

    def environment(self, name: str) -> dict[str, Any]:
        """The first compute environment of a queue, by the output that names the queue."""
        batch = self.client("batch")
        queue = batch.describe_job_queues(jobQueues=[self.outputs[name]])["jobQueues"][0]
        arn = queue["computeEnvironmentOrder"][0]["computeEnvironment"]
        found = batch.describe_compute_environments(computeEnvironments=[arn])
        return dict(found["computeEnvironments"][0])

    def policy(self, role_arn: str, name: str) -> list[dict[str, Any]]:
        """The statements of a role's inline policy."""
        document = self.client("iam").get_role_policy(
            RoleName=role_arn.rpartition("/")[2], PolicyName=name
        )["PolicyDocument"]
        return list(document["Statement"])


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A deployment made of the template."""
    root = tmp_path_factory.mktemp("template")
    with LocalCloud(root / "state", root / "filesystem") as cloud:
        session = LocalSession(cloud.endpoint_url, cloud.region)
        # All embedded AWSs of a process share moto's IAM, and the role is the account's.
        iam = session.client("iam")
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            iam.delete_role(RoleName="AWSServiceRoleForEC2Spot")
        parameters = {
            "MountPoint": "/mnt/work",
            "S3UploadBucket": "uploads",
            "S3InputBuckets": "first,second",
            "MaxVCPUTask": "512",
            "CreateSpotServiceRole": "true",
        }
        yield Deployed(cloud, "one", deploy_stack(session, template_text(), "one", parameters))


def _execution_role(deployed: Deployed) -> str:
    roles = deployed.client("iam").list_roles()["Roles"]
    (arn,) = [
        role["Arn"]
        for role in roles
        if role["RoleName"].startswith(f"{deployed.name}-")
        and role.get("Description") == "Starts the ECS tasks of miniwdl-cloud"
    ]
    return str(arn)


def _event_queue(deployed: Deployed) -> str:
    (url,) = deployed.client("sqs").list_queues(QueueNamePrefix=deployed.name)["QueueUrls"]
    return str(url)


def test_the_tags_of_the_workflow_queue_lead_to_everything(deployed: Deployed) -> None:
    """The workflow queue carries the tags that the commands read."""
    queue = deployed.client("batch").describe_job_queues(jobQueues=[f"{deployed.name}-workflow"])
    outputs = deployed.outputs
    tags = queue["jobQueues"][0]["tags"]
    # CloudFormation names the queue by AWS's host, Terraform by the one that it talks to.
    events = tags.pop("DefaultEventQueueUrl")
    assert events.split("/")[-2:] == _event_queue(deployed).split("/")[-2:]
    assert tags == {
        "Name": deployed.name,
        "Owner": "miniwdl",
        "Environment": "miniwdl",
        "DefaultTaskQueue": outputs["TaskQueue"],
        "DefaultTaskQueueFallback": outputs["TaskQueueFallback"],
        "DefaultFsap": outputs["AccessPointId"],
        "DefaultMount": "/mnt/work",
        "DefaultStageUri": f"s3://{outputs['BucketName']}/stage",
        "DefaultTaskRoleArn": outputs["TaskRoleArn"],
        "DefaultEcsCluster": outputs["EcsCluster"],
        "DefaultEcsExecutionRoleArn": _execution_role(deployed),
        "DefaultEcsLogGroup": outputs["EcsLogGroup"],
        "WorkflowEngineRoleArn": outputs["WorkflowEngineRoleArn"],
    }


def test_task_jobs_run_on_spot_then_on_demand(deployed: Deployed) -> None:
    """The task queue is of spot instances, its fallback of on-demand ones, both shrinking to 0."""
    spot = deployed.environment("TaskQueue")["computeResources"]
    demand = deployed.environment("TaskQueueFallback")["computeResources"]
    assert (spot["type"], spot["allocationStrategy"], spot["bidPercentage"]) == (
        "SPOT",
        "SPOT_PRICE_CAPACITY_OPTIMIZED",
        100,
    )
    assert (demand["type"], demand["allocationStrategy"]) == ("EC2", "BEST_FIT_PROGRESSIVE")
    for resources in (spot, demand):
        assert (resources["minvCpus"], resources["maxvCpus"]) == (0, 512)
        assert "m6i" in resources["instanceTypes"] and "g5" in resources["instanceTypes"]
        assert resources["ec2Configuration"][0]["imageType"] == "ECS_AL2023"
        assert len(resources["subnets"]) == 3
    workflow = deployed.environment("WorkflowQueue")["computeResources"]
    assert workflow["type"] == "FARGATE"


def test_jobs_that_can_never_run_are_cancelled(deployed: Deployed) -> None:
    """The task queues cancel what is misconfigured, and nothing that waits for capacity."""
    queues = deployed.client("batch").describe_job_queues(
        jobQueues=[deployed.outputs["TaskQueue"], deployed.outputs["TaskQueueFallback"]]
    )
    for queue in queues["jobQueues"]:
        reasons = {action["reason"] for action in queue["jobStateTimeLimitActions"]}
        assert reasons == {
            "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
            "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        }


def test_the_file_system_is_encrypted_and_reachable_in_every_zone(deployed: Deployed) -> None:
    """EFS is encrypted, elastic, mountable in each subnet; its access point acts as root."""
    efs = deployed.client("efs")
    system = efs.describe_file_systems(FileSystemId=deployed.outputs["FileSystemId"])
    system = system["FileSystems"][0]
    assert system["Encrypted"] is True
    assert system["ThroughputMode"] == "elastic"
    assert system["NumberOfMountTargets"] == 3
    point = efs.describe_access_points(AccessPointId=deployed.outputs["AccessPointId"])
    point = point["AccessPoints"][0]
    assert point["FileSystemId"] == deployed.outputs["FileSystemId"]
    assert point["PosixUser"] == {"Uid": 0, "Gid": 0}
    assert point["RootDirectory"]["Path"] == "/miniwdl"


def test_only_nfs_among_jobs_comes_in(deployed: Deployed) -> None:
    """The security group lets in NFS from itself, nothing else."""
    group_id = deployed.outputs["SecurityGroupId"]
    group = deployed.client("ec2").describe_security_groups(GroupIds=[group_id])
    (rule,) = group["SecurityGroups"][0]["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 2049, 2049)
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [group_id]
    assert rule["IpRanges"] == []


def test_subnets_reach_the_internet_and_s3(deployed: Deployed) -> None:
    """Every subnet gives public addresses and routes to the internet, and to S3 by the endpoint."""
    ec2 = deployed.client("ec2")
    subnets = deployed.outputs["SubnetIds"].split(",")
    found = ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
    assert all(subnet["MapPublicIpOnLaunch"] for subnet in found)
    assert len({subnet["AvailabilityZone"] for subnet in found}) == 3
    tables = ec2.describe_route_tables(
        Filters=[{"Name": "association.subnet-id", "Values": subnets}]
    )["RouteTables"]
    assert {a["SubnetId"] for t in tables for a in t["Associations"]} == set(subnets)
    gateways = {route["GatewayId"].partition("-")[0] for route in tables[0]["Routes"]}
    assert gateways == {"local", "igw", "vpce"}


def test_the_bucket_is_closed(deployed: Deployed) -> None:
    """The bucket is encrypted, private, wants TLS, and forgets staged files."""
    s3, bucket = deployed.client("s3"), deployed.outputs["BucketName"]
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert len(block) == 4 and all(block.values())
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    rule = encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    assert rule["SSEAlgorithm"] == "AES256"
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    staged = next(rule for rule in rules if rule["ID"] == "expire-staged-files")
    assert staged["Filter"]["Prefix"] == "stage/"
    assert staged["Expiration"]["Days"] == 30
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == (
        "Deny",
        {"Bool": {"aws:SecureTransport": "false"}},
    )
    s3.put_object(Bucket=bucket, Key="stage/x", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="stage/x")["Body"].read() == b"x"


def test_the_workflow_role_is_bounded(deployed: Deployed) -> None:
    """The workflow role submits to the task queues only, and may hand on the task role only."""
    role = deployed.outputs["WorkflowEngineRoleArn"]
    statements = {s["Sid"]: s for s in deployed.policy(role, "batch")}
    queues = [r for r in statements["SubmitTasks"]["Resource"] if ":job-queue/" in r]
    assert {r.rpartition("/")[2] for r in queues} == {
        f"{deployed.name}-task",
        f"{deployed.name}-task-fallback",
    }
    assert statements["TaskRole"]["Action"] == "iam:PassRole"
    assert statements["TaskRole"]["Resource"] == deployed.outputs["TaskRoleArn"]
    everywhere = [s["Sid"] for s in statements.values() if s["Resource"] == "*"]
    assert everywhere == ["Look"]
    assert all(
        action.split(":")[1].startswith(("Describe", "Get", "List"))
        for action in statements["Look"]["Action"]
    )


def test_roles_reach_the_named_buckets_only(deployed: Deployed) -> None:
    """Tasks read their buckets; the workflow writes to the deployment's and the upload bucket."""
    own = deployed.outputs["BucketName"]
    for role, writes in (("WorkflowEngineRoleArn", True), ("TaskRoleArn", False)):
        statements = deployed.policy(deployed.outputs[role], "s3")
        written = [s for s in statements if "s3:PutObject" in s["Action"]]
        assert bool(written) is writes
        for statement in written:
            assert set(statement["Resource"]) == {
                f"arn:aws:s3:::{own}/*",
                "arn:aws:s3:::uploads/*",
            }
        inputs = next(s for s in statements if s["Sid"] == "InputBuckets")
        assert set(inputs["Resource"]) == {
            "arn:aws:s3:::first",
            "arn:aws:s3:::first/*",
            "arn:aws:s3:::second",
            "arn:aws:s3:::second/*",
        }


def test_the_spot_service_role_is_made_on_demand(deployed: Deployed) -> None:
    """CreateSpotServiceRole makes the service-linked role of EC2 Spot."""
    role = deployed.client("iam").get_role(RoleName="AWSServiceRoleForEC2Spot")["Role"]
    assert role["Path"] == "/aws-service-role/spot.amazonaws.com/"


def test_it_shrinks_to_what_is_asked(deployed: Deployed) -> None:
    """Two zones and no options leave out the third subnet, the mount tag and foreign buckets; and
    stacks live side by side."""
    outputs = deploy_stack(deployed.session, template_text(), "two", {"AvailabilityZoneCount": "2"})
    assert len(outputs["SubnetIds"].split(",")) == 2
    queue = deployed.client("batch").describe_job_queues(jobQueues=["two-workflow"])
    assert "DefaultMount" not in queue["jobQueues"][0]["tags"]
    statements = deployed.policy(outputs["TaskRoleArn"], "s3")
    assert [s["Sid"] for s in statements] == ["ListBuckets", "Read"]
    deployed.client("cloudformation").delete_stack(StackName="two")
    queues = deployed.client("batch").describe_job_queues()["jobQueues"]
    assert {q["jobQueueName"] for q in queues} == {
        deployed.outputs[k] for k in ("WorkflowQueue", "TaskQueue", "TaskQueueFallback")
    }


def _boothook(deployed: Deployed) -> str:
    launch = deployed.environment("TaskQueue")["computeResources"]["launchTemplate"]
    versions = deployed.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=launch["launchTemplateId"], Versions=[launch["version"]]
    )["LaunchTemplateVersions"]
    data = versions[0]["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    volume = data["BlockDeviceMappings"][0]["Ebs"]
    assert (volume["VolumeType"], volume["VolumeSize"], volume["Encrypted"]) == ("gp3", 100, True)
    message = email.message_from_bytes(base64.b64decode(data["UserData"]))
    assert message.get_content_type() == "multipart/mixed"
    (part,) = message.get_payload()  # type: ignore[misc]
    assert part.get_content_type() == "text/cloud-boothook"  # type: ignore[union-attr]
    return str(part.get_payload())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("disks", "mounted"),
    [
        ([], None),
        (["/dev/nvme1n1"], "/dev/nvme1n1"),
        (["/dev/nvme1n1", "/dev/nvme2n1"], "/dev/md0"),
    ],
)
def test_docker_moves_to_local_disks(
    deployed: Deployed, tmp_path: Path, disks: list[str], mounted: str | None
) -> None:
    """An instance turns spot draining on, and puts Docker on its NVMe disks; only at first boot."""
    commands = tmp_path / "bin"
    commands.mkdir()
    called = tmp_path / "called"
    lines = ["/dev/nvme0n1 Amazon Elastic Block Store"]
    lines += [f"{disk} Amazon EC2 NVMe Instance Storage" for disk in disks]
    for name in ("mdadm", "mkfs.xfs", "mount", "dnf"):
        script = f'#!/bin/bash\necho {name} "$@" >> {called}\n'
        (commands / name).write_text(script)
    (commands / "lsblk").write_text("#!/bin/bash\n" + "".join(f"echo '{x}'\n" for x in lines))
    for command in commands.iterdir():
        command.chmod(0o755)
    hook = _boothook(deployed).lstrip()
    root = tmp_path / "root"
    (root / "var/lib").mkdir(parents=True)
    (root / "etc").mkdir()
    for place in ("/var/lib/", "/etc/ecs"):
        hook = hook.replace(place, f"{root}{place}")
    bash = shutil.which("bash")
    assert bash is not None
    for _ in range(2):
        subprocess.run(
            [bash, "-c", hook],
            env={"PATH": f"{commands}:{os.defpath}"},
            timeout=60,
            check=True,
        )
    config = (root / "etc/ecs/ecs.config").read_text()
    assert config == "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n"
    mounts = [x for x in called.read_text().splitlines() if x.startswith("mount ")] if disks else []
    wanted = [f"mount -o noatime {mounted} {root}/var/lib/docker"] if mounted else []
    assert mounts == wanted


def test_the_rule_sends_the_state_changes_of_task_jobs(deployed: Deployed) -> None:
    """The rule wants what the engine acts on, from the two task queues, and sends it to the queue
    that the tag names."""
    events, batch = deployed.client("events"), deployed.client("batch")
    (rule,) = events.list_rules(NamePrefix=deployed.name)["Rules"]
    arns = [
        batch.describe_job_queues(jobQueues=[deployed.outputs[name]])["jobQueues"][0]["jobQueueArn"]
        for name in ("TaskQueue", "TaskQueueFallback")
    ]
    pattern = json.loads(rule["EventPattern"])
    assert sorted(pattern["detail"].pop("jobQueue")) == sorted(arns)
    assert pattern == {
        "source": ["aws.batch"],
        "detail-type": ["Batch Job State Change"],
        "detail": {"status": ["RUNNING", "SUCCEEDED", "FAILED"]},
    }
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"].rpartition(":")[2] == _event_queue(deployed).rpartition("/")[2]


def test_the_event_queue_is_closed(deployed: Deployed) -> None:
    """The queue is encrypted, forgets soon, and takes messages of that rule alone; the workflow
    role may receive, delete and give back, nothing else."""
    (rule,) = deployed.client("events").list_rules(NamePrefix=deployed.name)["Rules"]
    attributes = deployed.client("sqs").get_queue_attributes(
        QueueUrl=_event_queue(deployed), AttributeNames=["All"]
    )["Attributes"]
    assert attributes["MessageRetentionPeriod"] == "120"
    assert attributes["SqsManagedSseEnabled"] == "true"
    (statement,) = json.loads(attributes["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": rule["Arn"]}}
    statements = deployed.policy(deployed.outputs["WorkflowEngineRoleArn"], "batch")
    (allowed,) = [s for s in statements if s["Sid"] == "Events"]
    assert allowed["Resource"] == attributes["QueueArn"]
    assert sorted(allowed["Action"]) == [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:ReceiveMessage",
    ]


def test_the_cluster_can_run_tasks_on_fargate(deployed: Deployed) -> None:
    """The ECS cluster has both of Fargate's capacity providers, and its log group is there."""
    ecs = deployed.client("ecs")
    (cluster,) = ecs.describe_clusters(clusters=[deployed.outputs["EcsCluster"]])["clusters"]
    assert sorted(cluster["capacityProviders"]) == ["FARGATE", "FARGATE_SPOT"]
    groups = deployed.client("logs").describe_log_groups(
        logGroupNamePrefix=deployed.outputs["EcsLogGroup"]
    )
    assert [group["retentionInDays"] for group in groups["logGroups"]] == [30]
