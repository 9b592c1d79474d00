"""Workflows run on what `miniwdl-cloud deploy` makes, whichever template it is made of; and the
roles that were made allow what was done there, and nothing that is never done.

The emulator writes down every API call. Each call of a job is held against the policies of the
job's role as they were deployed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from iam_requests import requests_of

from miniwdl_cloud import __version__
from miniwdl_cloud.emulator.iam_policy import all_grants, grants
from miniwdl_cloud.emulator.recording import access_key
from miniwdl_cloud.emulator.state import read_state
from miniwdl_cloud.infra.specification.template import VARIANTS

pytestmark = pytest.mark.timeout(900)

WDL = """\
version 1.2
workflow w {
  input {
    File? letters
    Directory? folder
  }
  scatter (i in range(2)) {
    call twice { input: i, letters, folder }
  }
  output { Array[Int] doubled = twice.out }
}
task twice {
  input {
    Int i
    File? letters
    Directory? folder
  }
  command <<< echo $((2 * ~{i})) >>>
  output { Int out = read_int(stdout()) }
  runtime { container: "ubuntu:22.04" }
}
"""
# The second task is terminated when the first one fails.
FAILING = """\
version 1.1
workflow f {
  input { String go }
  call wrong { input: go }
  call long { input: go }
}
task wrong {
  input { String go }
  command <<< until [ -e ~{go} ]; do sleep 0.1; done; exit 3 >>>
  output {}
  runtime { container: "ubuntu:22.04" }
}
task long {
  input { String go }
  command <<< touch ~{go}; sleep 300 >>>
  output {}
  runtime { container: "ubuntu:22.04" }
}
"""
ECS = "what ECS and its agent do by themselves, which the embedded AWS has no part of"
MOUNT = "a mount, which is no API call"
DOUBT = "looks for what was submitted where an answer was lost, or a run was killed"
INTERRUPTED = "ends what is under way when a run is ended"
EVENTS = "a message may come to another run that is under way, or after a run has asked by itself"
COSTS = "prices are looked up beside a run, which may be over first"
NOT_USED = {
    ("EcsExecutionRole", "", ""): ECS,
    ("InstanceRole", "", ""): ECS,
    ("WorkflowEngineRole", "Login", ""): ECS,
    ("WorkflowEngineRole", "Images", ""): ECS,
    ("WorkflowEngineRole", "Logs", ""): ECS,
    ("WorkflowEngineRole", "", "elasticfilesystem:ClientMount"): MOUNT,
    ("WorkflowEngineRole", "", "elasticfilesystem:ClientRootAccess"): MOUNT,
    ("WorkflowEngineRole", "", "elasticfilesystem:ClientWrite"): MOUNT,
    ("WorkflowEngineRole", "Look", "batch:ListJobs"): DOUBT,
    ("WorkflowEngineRole", "ListTasks", "ecs:ListTasks"): DOUBT,
    ("WorkflowEngineRole", "Events", "sqs:ChangeMessageVisibility"): EVENTS,
    ("WorkflowEngineRole", "Events", "sqs:DeleteMessage"): EVENTS,
    ("WorkflowEngineRole", "Look", "ec2:DescribeSpotPriceHistory"): COSTS,
    ("WorkflowEngineRole", "Look", "pricing:GetProducts"): COSTS,
    ("WorkflowEngineRole", "Machines", "ecs:DescribeContainerInstances"): COSTS,
    ("WorkflowEngineRole", "", "fsx:CancelDataRepositoryTask"): INTERRUPTED,
    ("WorkflowEngineRole", "", "s3:AbortMultipartUpload"): INTERRUPTED,
}
"""What is allowed and may not be used here: role, statement and action, empty for any; and why."""
OPTIONS = {
    "batch-efs": [],
    "batch-efs-private": ["--private", "--engine", "fargate"],
    "batch-efs-existing-vpc": ["--architecture", "arm64", "--gpu"],
    "batch-fsx": ["--gpu"],
    "batch-fsx-private": ["--private"],
    "batch-fsx-existing-vpc": ["--enable-task-fallback", "false", "--enable-events", "false"],
}
"""Of each variant, so that every choice is made at least once."""


@dataclass
class Made:
    """A variant that was deployed and run on.

    Parameters
    ----------
    outputs
        Of its stack.
    policies
        Of each role, by its logical id and then by the policy's name.
    calls
        Of each role, by its logical id: lines of the emulator's record.
    """

    outputs: dict[str, str]
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: dict[str, list[dict[str, str]]] = field(default_factory=dict)


class Shell:
    """Runs our commands as a person would, on an embedded AWS of its own."""

    def __init__(self, endpoint_url: str, mount: Path, directory: Path) -> None:
        self.endpoint_url = endpoint_url
        self.mount = mount
        self.directory = directory
        kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        self._environ = {
            **{k: v for k, v in kept.items() if not k.startswith(("AWS_", "MINIWDL"))},
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MINIWDL__AWS__WORKFLOW_IMAGE": f"miniwdl-cloud:{__version__}",
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
        }
        for name, text in (("w.wdl", WDL), ("f.wdl", FAILING)):
            (directory / name).write_text(text)

    def client(self, service: str) -> Any:
        """A client of the embedded AWS."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name(command[0])), *command[1:]],
            cwd=self.directory,
            env={**self._environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *command: str, **environ: str) -> str:
        """Run a command that has to succeed; its standard output."""
        return finish(self.start(*command, **environ))

    def deploy(self, *options: str) -> Made:
        """Make a deployment."""
        text = self("miniwdl-cloud", "deploy", "create", "own", "--no-self-test", *options)
        return Made(dict(line.split("\t", 1) for line in text.splitlines()))

    def submit(
        self, made: Made, folder: str, *arguments: str, **environ: str
    ) -> subprocess.Popen[str]:
        """Start a run of the workflow on a deployment."""
        return self.start(
            *("miniwdl-aws-submit", "w.wdl", *arguments, "--wait"),
            *("--s3upload", f"s3://{made.outputs['BucketName']}/{folder}/"),
            *("--workflow-queue", made.outputs["WorkflowQueue"]),
            **environ,
        )

    def check(self, made: Made, folder: str) -> None:
        """Look at the outputs of a run in S3."""
        body = self.client("s3").get_object(
            Bucket=made.outputs["BucketName"], Key=f"{folder}/outputs.json"
        )["Body"]
        assert json.loads(body.read())["w.doubled"] == [0, 2]

    def look_at(self, made: Made) -> None:
        """Fill in the policies of what was deployed, and the calls that its roles made."""
        iam = self.client("iam")
        stack = self.client("cloudformation").describe_stack_resources(StackName="own")
        names = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in stack["StackResources"]
            if resource["ResourceType"] == "AWS::IAM::Role"
        }
        for role, name in names.items():
            made.policies[role] = {
                policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
            }
        keys = {access_key(f"role/{name}"): role for role, name in names.items()}
        made.calls = {role: [] for role in names}
        for line in (self.directory / "calls").read_text().splitlines():
            call = json.loads(line)
            if call["accessKey"] in keys:
                made.calls[keys[call["accessKey"]]].append(call)
            else:
                assert call["accessKey"] == "local", call  # a person's


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Await a command; its standard output."""
    try:
        out, err = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == code, out + err
    return out


@contextmanager
def embedded_aws(directory: Path) -> Iterator[Shell]:
    """An embedded AWS in a process of its own with nothing in it: the file system that is made
    first there is the directory that jobs see."""
    state, mount = directory / "state", directory / "mount"
    options = ["--state", str(state), "--filesystem", str(mount)]
    options += ["--record", str(directory / "calls")]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "miniwdl_cloud.emulator", *options], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while (running := read_state(state)) is None:
            assert process.poll() is None and time.monotonic() < deadline, (
                directory / "log"
            ).read_text()
            time.sleep(0.1)
        yield Shell(running.endpoint_url, mount, directory)
    finally:
        process.terminate()
        process.wait(60)


class Variants:
    """Each variant, deployed and run on when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[str, Made | BaseException] = {}

    def __getitem__(self, name: str) -> Made:
        if name not in self._made:
            directory = self._root / name
            directory.mkdir()
            try:
                with embedded_aws(directory) as shell:
                    made = _run(name, shell)
                    shell.look_at(made)
                self._made[name] = made
            except Exception as exn:
                self._made[name] = exn
        found = self._made[name]
        if isinstance(found, BaseException):
            raise AssertionError(f"{name} did not run: {found}") from found
        return found


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Variants:
    """All variants."""
    return Variants(tmp_path_factory.mktemp("variants"))


def _run(name: str, shell: Shell) -> Made:
    """Deploy a variant and run on it: the workflow on each, and on one all that the engines do."""
    variant = VARIANTS[name]
    options = ["--filesystem", variant.filesystem, *OPTIONS[name]]
    options += ["--vpc", _vpc(shell)] if variant.network == "existing" else []
    environ = {}
    if variant.filesystem == "efs":
        options += ["--mount", str(shell.mount)]
    else:
        # Nothing is mounted here: jobs see the directory at its own path.
        environ = {
            "MINIWDL__AWS__MOUNT": str(shell.mount),
            "MINIWDL__FSX_TO_S3__METHOD": "task",
            # An export task is looked at every few seconds.
            "MINIWDL__FSX_TO_S3__AUTO": "true" if name == "batch-fsx" else "false",
        }
    made = shell.deploy(*options)
    assert made.outputs["Template"] == name
    if name == "batch-efs":
        runs = _all_runs(shell, made)
    else:
        runs = {"plain": shell.submit(made, "plain", **environ)}
    for folder, process in runs.items():
        finish(process)
        shell.check(made, folder)
    return made


def _vpc(shell: Shell) -> str:
    """Somebody's VPC with two subnets."""
    ec2 = shell.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])[
        "RouteTables"
    ]
    ec2.create_route(
        RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
    )
    for index, zone in enumerate("ab"):
        subnet = ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.9.{index}.0/24", AvailabilityZone=f"us-east-1{zone}"
        )["Subnet"]["SubnetId"]
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    return str(vpc)


def _all_runs(shell: Shell, made: Made) -> dict[str, subprocess.Popen[str]]:
    """All that is done on a deployment; those that succeed are still under way."""
    bucket = made.outputs["BucketName"]
    for key in ("letters", "folder/a"):
        shell.client("s3").put_object(Bucket=bucket, Key=key, Body=b"abc")
    inputs = [f"letters=s3://{bucket}/letters", f"folder=s3://{bucket}/folder"]
    failing = [_failing_run(shell, made, engine) for engine in ("aws_batch_job", "aws_fargate")]
    for process in failing:
        finish(process, 3)
    return {
        "plain": shell.submit(made, "plain", *inputs),
        # Its inputs are fetched by task jobs.
        "strict": shell.submit(
            *(made, "strict", *inputs, "--no-cache"),
            MINIWDL__AWS__DOWNLOAD_IN_PROCESS_MAX_MB="0",
            MINIWDL__AWS__ISOLATION="strict",
        ),
        "fargate": shell.submit(
            *(made, "fargate", "--no-cache"),
            MINIWDL__SCHEDULER__CONTAINER_BACKEND="aws_fargate",
            MINIWDL__AWS__ISOLATION="strict",
        ),
    }


def _failing_run(shell: Shell, made: Made, engine: str) -> subprocess.Popen[str]:
    return shell.start(
        *("miniwdl-aws-submit", "f.wdl", f"go={shell.mount}/go-{engine}", "--wait", "--no-cache"),
        *("--workflow-queue", made.outputs["WorkflowQueue"]),
        MINIWDL__SCHEDULER__CONTAINER_BACKEND=engine,
        # One task waits for a file of the other.
        MINIWDL__AWS__ISOLATION="shared",
    )


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_workflows_run_on_every_variant(variants: Variants, name: str) -> None:
    """Deployed by the command, found by the queue's tags, outputs in S3."""
    assert variants[name].outputs["WorkflowQueue"] == "own-workflow"


def test_the_engine_is_the_deployments(variants: Variants) -> None:
    """On a deployment with --engine fargate a workflow that says nothing runs there."""
    engine = variants["batch-efs-private"].calls["WorkflowEngineRole"]
    done = {call["operation"] for call in engine}
    assert "RunTask" in done and "SubmitJob" not in done


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_call_was_allowed(variants: Variants, name: str) -> None:
    """Each role's policies allow what its jobs have done."""
    made = variants[name]
    assert len(made.calls["WorkflowEngineRole"]) > 10
    denied = {
        (role, request.action, request.resource)
        for role, calls in made.calls.items()
        for call in calls
        for request in requests_of(call)
        if not grants(made.policies[role].values(), request)
    }
    assert denied == set()


def test_nothing_is_allowed_that_is_never_done(variants: Variants) -> None:
    """Each action that a role is allowed, and each kind of resource, was used in some variant, or
    has its reason here."""
    allowed, used = set(), set()
    for made in (variants[name] for name in VARIANTS):
        for role, policies in made.policies.items():
            for grant in all_grants(policies.values()):
                allowed.add((role, grant.sid, grant.action))
            for call in made.calls[role]:
                for request in requests_of(call):
                    for grant in grants(policies.values(), request):
                        used.add((role, grant.sid, grant.action))
    assert {grant for grant in allowed - used if not _is_explained(*grant)} == set()
    # Nor is anything explained that is not there.
    missing = {key for key in NOT_USED if not any(_key_fits(key, grant) for grant in allowed)}
    assert missing == set()


def _is_explained(role: str, sid: str, action: str) -> bool:
    return any(_key_fits(key, (role, sid, action)) for key in NOT_USED)


def _key_fits(key: tuple[str, str, str], grant: tuple[str, str, str]) -> bool:
    return all(wanted in ("", found) for wanted, found in zip(key, grant, strict=True))
