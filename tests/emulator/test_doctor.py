"""`miniwdl-cloud doctor` on a deployment with one thing wrong at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest
from batch_helper import unique

from miniwdl_cloud import settings as s
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.doctor.examine import examine
from miniwdl_cloud.doctor.facts import Facts
from miniwdl_cloud.doctor.finding import Finding, Level
from miniwdl_cloud.doctor.workflow import check_workflow
from miniwdl_cloud.errors import AccessDenied

BIN = Path(sys.executable).parent
ACCOUNT = "123456789012"


@dataclass
class Cloud:
    """A shipped deployment on an embedded AWS, and the variables that name it."""

    env: dict[str, str]

    @cached_property
    def session(self) -> AwsSession:
        """The checks' session; its clients take a while to make."""
        return AwsSession("us-east-1")

    def client(self, service: str) -> Any:
        """A client of it."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def facts(self, **settings: str | None) -> Facts:
        """What the checks would see with these settings, by their names in [aws] or, with
        ``fargate_`` before them, in [aws_fargate]."""
        given = {
            ("aws", "workflow_queue"): self.env["MINIWDL__AWS__WORKFLOW_QUEUE"],
            ("aws", "workflow_image"): "image:1",
        }
        for name, value in settings.items():
            section = "aws_fargate" if name.startswith("fargate_") else "aws"
            given[section, name.removeprefix("fargate_")] = value or ""
        return Facts(self.session, s.Settings(s.mapping_source(given)))

    def queue(self, **changes: Any) -> str:
        """Another workflow queue like the deployed one, but for these members."""
        batch = self.client("batch")
        found = self.describe(self.env["MINIWDL__AWS__WORKFLOW_QUEUE"])
        name = unique("queue")
        request = {
            "jobQueueName": name,
            "priority": 1,
            "computeEnvironmentOrder": found["computeEnvironmentOrder"],
            "tags": {k: v for k, v in found["tags"].items() if not k.startswith("aws:")},
        }
        batch.create_job_queue(**{**request, **changes})
        return name

    def describe(self, queue: str) -> dict[str, Any]:
        """A job queue."""
        return dict(self.client("batch").describe_job_queues(jobQueues=[queue])["jobQueues"][0])

    def environment(self, queue: str) -> dict[str, Any]:
        """The first compute environment of a queue."""
        name = self.describe(queue)["computeEnvironmentOrder"][0]["computeEnvironment"]
        found = self.client("batch").describe_compute_environments(computeEnvironments=[name])
        return dict(found["computeEnvironments"][0])

    @property
    def task_queue(self) -> str:
        """The deployed task queue's name."""
        workflow = self.describe(self.env["MINIWDL__AWS__WORKFLOW_QUEUE"])
        return str(workflow["tags"]["DefaultTaskQueue"]).rpartition("/")[2]

    def environment_like(self, **resources: Any) -> str:
        """Another compute environment like that of the task queue; gives its ARN."""
        found = self.environment(self.task_queue)
        made = self.client("batch").create_compute_environment(
            computeEnvironmentName=unique("environment"),
            type="MANAGED",
            computeResources={**found["computeResources"], **resources},
        )
        return str(made["computeEnvironmentArn"])

    def task_queue_on(self, environment: str) -> str:
        """A new workflow queue whose task queue has this compute environment."""
        tasks = self.queue(
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}], tags={}
        )
        tags = self.describe(self.env["MINIWDL__AWS__WORKFLOW_QUEUE"])["tags"]
        return self.queue(tags={**tags, "DefaultTaskQueue": tasks})

    def subnet(self, **attributes: Any) -> dict[str, str]:
        """A subnet in a VPC of its own, without any way out."""
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.0.0/24", **attributes)["Subnet"]
        return {"vpc": vpc, "subnet": subnet["SubnetId"]}

    def role(self, service: str) -> str:
        """A role without policies that a service may assume."""
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": service},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        made = self.client("iam").create_role(
            RoleName=unique("role"), AssumeRolePolicyDocument=json.dumps(trust)
        )
        return str(made["Role"]["Arn"])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The shipped template, deployed as `miniwdl-cloud local up` does it."""
    state = tmp_path_factory.mktemp("doctor") / "state"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MINIWDL"))}
    local = [str(BIN / "miniwdl-cloud"), "local"]
    up = subprocess.run(
        [*local, "up", "--state", str(state)],
        env=clean,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert up.returncode == 0, up.stderr
    exports = dict(
        line.removeprefix("export ").split("=", 1)
        for line in up.stdout.splitlines()
        if line.startswith("export ")
    )
    env = {**clean, **{name: value.strip("'\"") for name, value in exports.items()}}
    yield Cloud(env)
    subprocess.run([*local, "down", "--state", str(state)], env=clean, check=True, timeout=150)


@pytest.fixture(autouse=True)
def credentials(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks ask this embedded AWS."""
    for name, value in cloud.env.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)


def bad(findings: list[Finding]) -> dict[str, Finding]:
    """Problems and warnings, by name."""
    return {f.name: f for f in findings if f.level in (Level.PROBLEM, Level.WARNING)}


def test_the_shipped_deployment_is_in_order(cloud: Cloud) -> None:
    """Nothing is wrong with it; every check that can be made says so."""
    findings = list(examine(cloud.facts()))
    assert bad(findings) == {}
    said = {finding.name for finding in findings if finding.level is Level.OK}
    assert said == {
        *("identity", "queue", "environment", "role", "permissions", "filesystem", "network"),
        *("bucket", "cluster", "log-group", "event-queue"),
    }


Seed = Callable[[Cloud], "Facts"]


def _disabled_queue(cloud: Cloud) -> Facts:
    tasks = cloud.queue(tags={}, state="DISABLED")
    tags = cloud.describe(cloud.env["MINIWDL__AWS__WORKFLOW_QUEUE"])["tags"]
    return cloud.facts(workflow_queue=cloud.queue(tags={**tags, "DefaultTaskQueue": tasks}))


def _disabled_environment(cloud: Cloud) -> Facts:
    arn = cloud.environment_like()
    queue = cloud.task_queue_on(arn)
    cloud.client("batch").update_compute_environment(computeEnvironment=arn, state="DISABLED")
    return cloud.facts(workflow_queue=queue)


def _no_fallback(cloud: Cloud) -> Facts:
    tags = cloud.describe(cloud.env["MINIWDL__AWS__WORKFLOW_QUEUE"])["tags"]
    kept = {k: v for k, v in tags.items() if k != "DefaultTaskQueueFallback"}
    return cloud.facts(workflow_queue=cloud.queue(tags=kept))


def _workflow_on_spot(cloud: Cloud) -> Facts:
    arn = cloud.environment(cloud.task_queue)["computeEnvironmentArn"]
    order = [{"order": 1, "computeEnvironment": arn}]
    return cloud.facts(workflow_queue=cloud.queue(computeEnvironmentOrder=order))


def _unknown_types(cloud: Cloud) -> Facts:
    arn = cloud.environment_like(instanceTypes=["m99z"])
    return cloud.facts(workflow_queue=cloud.task_queue_on(arn))


def _always_on(cloud: Cloud) -> Facts:
    arn = cloud.environment_like(minvCpus=4)
    return cloud.facts(workflow_queue=cloud.task_queue_on(arn))


def _no_way_out(cloud: Cloud) -> Facts:
    arn = cloud.environment_like(subnets=[cloud.subnet()["subnet"]])
    return cloud.facts(workflow_queue=cloud.task_queue_on(arn))


def _no_public_address(cloud: Cloud) -> Facts:
    ec2, made = cloud.client("ec2"), cloud.subnet()
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=made["vpc"])
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [made["vpc"]]}])
    ec2.create_route(
        RouteTableId=tables["RouteTables"][0]["RouteTableId"],
        DestinationCidrBlock="0.0.0.0/0",
        GatewayId=gateway,
    )
    arn = cloud.environment_like(subnets=[made["subnet"]])
    return cloud.facts(workflow_queue=cloud.task_queue_on(arn))


def _no_mount_target(cloud: Cloud) -> Facts:
    made = cloud.client("efs").create_file_system(CreationToken=unique("efs"))
    return cloud.facts(fs=made["FileSystemId"])


def _nfs_blocked(cloud: Cloud) -> Facts:
    efs, ec2 = cloud.client("efs"), cloud.client("ec2")
    made = efs.create_file_system(CreationToken=unique("efs"))["FileSystemId"]
    subnets = {
        subnet
        for queue in (cloud.env["MINIWDL__AWS__WORKFLOW_QUEUE"], cloud.task_queue)
        for subnet in cloud.environment(queue)["computeResources"]["subnets"]
    }
    vpc = ec2.describe_subnets(SubnetIds=sorted(subnets))["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName=unique("closed"), Description="x", VpcId=vpc)
    for subnet in sorted(subnets):
        efs.create_mount_target(
            FileSystemId=made, SubnetId=subnet, SecurityGroups=[group["GroupId"]]
        )
    return cloud.facts(fs=made)


def _far_bucket(cloud: Cloud) -> Facts:
    name = unique("far-bucket").lower()
    cloud.client("s3").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    return cloud.facts(stage_uri=f"s3://{name}/stage")


_ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
_ROLE = f"arn:aws:iam::{ACCOUNT}:role/missing"

SEEDS: dict[str, tuple[Seed, str]] = {
    "workflow-queue-unset": (lambda c: c.facts(workflow_queue=None), "No workflow job queue"),
    "queue-missing": (lambda c: c.facts(workflow_queue="nowhere"), "workflow queue nowhere"),
    "queue-disabled": (_disabled_queue, "is disabled"),
    "task-queue-unset": (
        lambda c: c.facts(workflow_queue=c.queue(tags={})),
        "tagged with DefaultTaskQueue",
    ),
    "queue-without-environment": (_disabled_environment, "no enabled, valid compute environment"),
    "environment-disabled": (_disabled_environment, "is disabled"),
    "environment-always-on": (_always_on, "keeps 4 vCPUs"),
    "fallback-unset": (_no_fallback, "is all spot"),
    "workflow-on-spot": (_workflow_on_spot, "has spot capacity"),
    "instance-types-unknown": (_unknown_types, "m99z"),
    "no-way-out": (_no_way_out, "no way to the Internet"),
    "no-public-address": (_no_public_address, "gives machines no public address"),
    "mount-target-missing": (_no_mount_target, "no mount target in us-east-1"),
    "nfs-blocked": (_nfs_blocked, "do not admit TCP 2049"),
    "access-point-missing": (lambda c: c.facts(fsap="fsap-00000000"), "fsap-00000000"),
    "filesystem-missing": (lambda c: c.facts(fs="fs-00000000"), "fs-00000000"),
    "filesystem-unset": (
        lambda c: c.facts(workflow_queue=c.queue(tags={"DefaultTaskQueue": c.task_queue})),
        "No shared filesystem",
    ),
    "role-missing": (lambda c: c.facts(workflow_role=_ROLE), _ROLE),
    "role-not-trusting": (
        lambda c: c.facts(task_role=c.role("ec2.amazonaws.com")),
        "does not trust ecs-tasks.amazonaws.com",
    ),
    "permission-missing": (
        lambda c: c.facts(workflow_role=c.role("ecs-tasks.amazonaws.com")),
        "may not call batch:",
    ),
    "bucket-missing": (lambda c: c.facts(stage_uri="s3://not-there/x"), "bucket not-there"),
    "bucket-in-another-region": (_far_bucket, "is in eu-west-1"),
    "setting-wrong": (lambda c: c.facts(stage_uri="not-an-uri"), "not-an-uri"),
    "image-missing": (lambda c: c.facts(workflow_image=f"{_ECR}/tools:1"), f"{_ECR}/tools:1"),
    "cluster-missing": (lambda c: c.facts(fargate_cluster="nowhere"), "cluster nowhere"),
    "log-group-missing": (lambda c: c.facts(fargate_log_group="/not/there"), "/not/there"),
    "event-queue-missing": (
        lambda c: c.facts(event_queue=f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/gone"),
        f"{ACCOUNT}/gone",
    ),
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_misconfiguration_is_found_and_named(cloud: Cloud, name: str) -> None:
    """The finding has the name, says what is wrong, why that matters, and what to do."""
    seed, says = SEEDS[name]
    findings = bad(list(examine(seed(cloud))))
    assert name in findings
    found = findings[name]
    assert says in found.what
    assert found.why and found.how
    assert "Traceback" not in found.what


class _Quota(Facts):
    """An account of small quotas, which moto does not have."""

    def __init__(self, cloud: Cloud) -> None:
        made = cloud.facts()
        super().__init__(made.session, made.own_settings)
        self.aws.quota = lambda service, code: 5.0  # type: ignore[method-assign]


def test_a_small_quota(cloud: Cloud) -> None:
    """Where the account's quota is below what a compute environment asks for."""
    found = bad(list(examine(_Quota(cloud))))
    assert set(found) == {"quota-small"}
    assert "is 5 vCPUs" in found["quota-small"].what


def test_what_may_not_be_looked_at(cloud: Cloud) -> None:
    """A check that is not allowed says so, and the others go on; without any credentials there is
    nothing to go on with."""
    facts = cloud.facts()

    def denied() -> tuple[str, str]:
        raise AccessDenied("You may not call GetCallerIdentity.", {"code": "AccessDenied"})

    facts.aws.caller = denied  # type: ignore[method-assign]
    findings = list(examine(facts))
    assert findings[0].level is Level.UNKNOWN
    assert "check of identity could not look" in findings[0].what
    assert len(findings) > 5

    def missing() -> tuple[str, str]:
        raise AccessDenied("No AWS credentials were found.")

    facts.aws.caller = missing  # type: ignore[method-assign]
    with pytest.raises(AccessDenied):
        list(examine(facts))


WDL = """
version 1.1
workflow w {{
  input {{ Int n = 2 }}
  scatter (i in range(n)) {{ call t {{ input: cpus = {cpus} }} }}
}}
task t {{
  input {{ Int cpus  String memory = "2 GiB" }}
  command <<< : >>>
  output {{}}
  runtime {{ cpu: cpus  memory: memory  gpu: {gpu}  container: "{image}" }}
}}
"""


@pytest.mark.parametrize(
    ("changes", "name", "level"),
    [
        ({}, "task", Level.OK),
        ({"cpus": "i"}, "task", Level.UNKNOWN),
        ({"cpus": "4000"}, "task-too-large", Level.WARNING),
        ({"gpu": "true"}, "task-without-gpu", Level.PROBLEM),
        ({"image": f"{_ECR}/tools:9"}, "task-image-missing", Level.PROBLEM),
        ({"cpus": "nobody"}, "wdl-invalid", Level.PROBLEM),
    ],
    ids=["fits", "unknown", "too large", "gpu", "image", "invalid"],
)
def test_tasks_that_could_not_start(
    cloud: Cloud, tmp_path: Path, changes: dict[str, str], name: str, level: Level
) -> None:
    """Tasks are told by their place in the WDL."""
    values = {"cpus": "2", "gpu": "false", "image": "ubuntu:22.04", **changes}
    wdl = tmp_path / "w.wdl"
    wdl.write_text(WDL.format(**values))
    queue = None
    if "gpu" in changes:
        queue = cloud.task_queue_on(cloud.environment_like(instanceTypes=["m5d"]))
    facts = cloud.facts(workflow_queue=queue) if queue else cloud.facts()
    (finding,) = check_workflow(facts, str(wdl), [])
    assert (finding.name, finding.level) == (name, level)
    assert "w.wdl" in finding.what
    assert ("an hour of it costs about $" in finding.what) == (finding.level is Level.OK)


def test_inputs_of_a_task(cloud: Cloud, tmp_path: Path) -> None:
    """What is given as inputs counts."""
    wdl = tmp_path / "t.wdl"
    wdl.write_text(
        "version 1.1\ntask t { input { Int c } command <<< : >>> output {} runtime { cpu: c } }"
    )
    findings = [
        finding
        for cpus in (2, 4000)
        for finding in check_workflow(cloud.facts(), str(wdl), [f"c={cpus}"])
    ]
    assert [finding.name for finding in findings] == ["task", "task-too-large"]


def test_the_command(cloud: Cloud) -> None:
    """Exit code 0 and 78, lines for people and JSON for scripts."""

    def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "miniwdl-cloud"), "doctor", *arguments],
            env=cloud.env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    well = doctor()
    assert well.returncode == 0, well.stderr
    assert well.stdout.splitlines()[-1].startswith("no problems, no warnings")
    ill = doctor("--workflow-queue", "nowhere", "--json")
    assert ill.returncode == 78
    found = json.loads(ill.stdout)["findings"]
    assert next(f["name"] for f in found if f["level"] == "problem") == "queue-missing"
    spot = cloud.queue(
        computeEnvironmentOrder=cloud.describe(cloud.task_queue)["computeEnvironmentOrder"]
    )
    assert doctor("--workflow-queue", spot).returncode == 0
    assert doctor("--workflow-queue", spot, "--strict").returncode == 78
