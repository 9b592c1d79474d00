"""`miniwdl-cloud deploy` on an embedded AWS, from the command line to what exists."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.cli import main as cli
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.infra import parameters
from miniwdl_cloud.infra.deploy import template_text
from miniwdl_cloud.infra.stack import parameter_names


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running embedded AWS, with nothing deployed."""
    root = tmp_path_factory.mktemp("deploy")
    with LocalCloud(root / "state", root / "filesystem") as running:
        yield running


@pytest.fixture
def session(cloud: LocalCloud) -> LocalSession:
    """Clients of it."""
    return LocalSession(cloud.endpoint_url, cloud.region)


class Command:
    """The command, as a shell would run it."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Run it; what it printed on both streams."""
        self._monkeypatch.setattr("sys.argv", ["miniwdl-cloud", "deploy", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        found = self._capsys.readouterr()
        assert caught.value.code == code, found.err
        return found.out, found.err


@pytest.fixture
def deploy(
    cloud: LocalCloud,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Command:
    """`miniwdl-cloud deploy` in an environment that leads to the embedded AWS."""
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": cloud.region,
        "NO_PROXY": "127.0.0.1",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("miniwdl_cloud.cli.deploy._POLL_S", 0.01)
    return Command(capsys, monkeypatch)


def _table(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines())


def _stacks(session: LocalSession) -> set[str]:
    found = session.client("cloudformation").describe_stacks()["Stacks"]
    return {stack["StackName"] for stack in found}


def _job_queue(session: LocalSession, name: str) -> dict[str, Any]:
    (queue,) = session.client("batch").describe_job_queues(jobQueues=[name])["jobQueues"]
    return dict(queue)


def test_options_are_the_templates_parameters() -> None:
    """Every parameter of a shipped template has an option, and every option a parameter."""
    names = {f"batch-{f}{n}" for f in ("efs", "fsx") for n in ("", "-private", "-existing-vpc")}
    known = set().union(*(parameter_names(template_text(name)) for name in names))
    assert {item.name for item in parameters.ALL} == known


def test_a_deployment_lives_and_dies(deploy: Command, session: LocalSession) -> None:
    """Created with its parameters and tags, looked at, changed (all else stays), taken down: bucket
    and file system stay."""
    out, err = deploy(
        "create", "cli-life", "--owner", "me", "--max-vcpu-task", "32", "--tag", "Project=x=y"
    )
    outputs = _table(out)
    assert outputs["WorkflowQueue"] == "cli-life-workflow"
    assert "CREATE_COMPLETE      AWS::Batch::JobQueue WorkflowQueue\n" in err
    assert "--self-test" in err and "cli-life-workflow" in err
    tags = _job_queue(session, "cli-life-workflow")["tags"]
    assert (tags["Owner"], tags["Project"]) == ("me", "x=y")
    # Where the account lacked the role of EC2 Spot, it was made.
    session.client("iam").get_role(RoleName="AWSServiceRoleForEC2Spot")

    assert json.loads(deploy("outputs", "cli-life", "--json")[0]) == outputs
    _, err = deploy("update", "cli-life", "--max-vcpu-task", "64", "--tag", "Project=z")
    assert "UPDATE_COMPLETE      AWS::Batch::ComputeEnvironment TaskEnvironment\n" in err
    assert "CREATE_COMPLETE" not in err
    status = json.loads(deploy("status", "cli-life", "--json")[0])
    assert status["status"] == "UPDATE_COMPLETE"
    assert status["parameters"]["Owner"] == "me"
    assert status["parameters"]["MaxVCPUTask"] == "64"
    queues = ("cli-life-workflow", "cli-life-task", "cli-life-task-fallback")
    assert status["jobs"] == {queue: {} for queue in queues}
    assert "queue cli-life-task\tno jobs\n" in deploy("status", "cli-life")[0]

    _, err = deploy("destroy", "cli-life", code=64)
    assert "confirm it with --yes" in err
    _, err = deploy("destroy", "cli-life", "--yes")
    assert "DELETE_COMPLETE      AWS::EC2::VPC VPC\n" in err
    assert f"Kept: the bucket {outputs['BucketName']} and the file system" in err
    session.client("s3").head_bucket(Bucket=outputs["BucketName"])
    session.client("efs").describe_file_systems(FileSystemId=outputs["FileSystemId"])
    session.client("iam").get_role(RoleName="AWSServiceRoleForEC2Spot")
    assert "cli-life" not in _stacks(session)


def test_the_file_system_goes_if_told(
    deploy: Command, session: LocalSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the name has to be typed; then the file system is deleted with the stack."""
    outputs = _table(deploy("create", "cli-gone")[0])

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    _, err = deploy("destroy", "cli-gone", "--delete-filesystem", code=64)
    assert f"with its file system {outputs['FileSystemId']} and all that is on it" in err
    assert "nothing was done" in err and "cli-gone" in _stacks(session)
    monkeypatch.setattr("sys.stdin", Terminal("cli-gone\n"))
    deploy("destroy", "cli-gone", "--delete-filesystem")
    known = session.client("efs").describe_file_systems()["FileSystems"]
    assert outputs["FileSystemId"] not in {system["FileSystemId"] for system in known}


def test_it_does_not_go_while_jobs_run(deploy: Command, session: LocalSession) -> None:
    """A job that has not ended keeps the deployment; once terminated it may go."""
    outputs = _table(deploy("create", "cli-busy")[0])
    batch = session.client("batch")
    definition = batch.register_job_definition(
        jobDefinitionName="sleeper",
        type="container",
        containerProperties={
            "image": "busybox",
            "command": ["sleep", "600"],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "128"},
            ],
        },
    )["jobDefinitionArn"]
    job = batch.submit_job(
        jobName="sleeper", jobQueue=outputs["TaskQueue"], jobDefinition=definition
    )["jobId"]
    _, err = deploy("destroy", "cli-busy", "--yes", code=78)
    assert "'cli-busy' has jobs that have not ended (1 in cli-busy-task); wait for them" in err
    batch.terminate_job(jobId=job, reason="test")
    for _ in range(1800):
        (found,) = batch.describe_jobs(jobs=[job])["jobs"]
        if found["status"] == "FAILED":
            break
        time.sleep(0.1)
    deploy("destroy", "cli-busy", "--yes")


def test_a_dry_run_shows_and_does_nothing(deploy: Command, session: LocalSession) -> None:
    """What would be added, modified, replaced and removed; no stack and no change set is left."""
    out, err = deploy("create", "cli-shown", "--dry-run")
    lines = out.splitlines()
    assert "add          AWS::EFS::FileSystem FileSystem" in lines
    assert f"{len(lines)} resources would change." in err
    assert "cli-shown" not in _stacks(session)
    deploy("create", "cli-shown")
    assert deploy("update", "cli-shown", "--dry-run")[1] == "Nothing would change.\n"
    change = ("--availability-zones", "2", "--owner", "you")
    out, _ = deploy("update", "cli-shown", *change, "--dry-run")
    assert "remove       AWS::EC2::Subnet Subnet2\n" in out
    assert "modify       AWS::S3::Bucket Bucket\n" in out
    # The tags of a compute environment cannot change (AWS::Batch::ComputeEnvironment).
    assert "replace      AWS::Batch::ComputeEnvironment TaskEnvironment\n" in out
    status = json.loads(deploy("status", "cli-shown", "--json")[0])
    assert status["parameters"]["AvailabilityZoneCount"] == "3"
    deploy("destroy", "cli-shown", "--yes", "--delete-filesystem")


def test_print_gives_the_template(deploy: Command) -> None:
    """--print needs no AWS: it is the text for `aws cloudformation deploy`."""
    assert deploy("create", "any", "--print") == (template_text(), "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("create", "x", "--s3-upload-bucket", "nowhere"),
            69,
            "The bucket nowhere of --s3-upload-bucket does not exist; create it",
        ),
        (
            ("create", "x", "--s3-input-buckets", "s3://a/b"),
            64,
            "--s3-input-buckets s3://a/b should be the name of a bucket",
        ),
        (
            ("create", "x", "--max-vcpu-workflow", "0"),
            64,
            "--max-vcpu-workflow must be a number not less than 1; correct it.",
        ),
        (
            ("create", "x", "--mount", "efs"),
            64,
            "--mount failed to satisfy constraint: an absolute path without a slash at its end",
        ),
        (("create", "x", "--mount", "efs", "--dry-run"), 64, "--mount failed to satisfy"),
        (
            ("create", "x", "--storage-capacity", "1200"),
            64,
            "--storage-capacity is not of the template batch-efs; leave it out, or choose another",
        ),
        (
            ("create", "x", "--subnet0", "subnet-1"),
            64,
            "This template needs --security-group-id and --subnet1; give them.",
        ),
        (
            (
                *("create", "x", "--filesystem", "fsx"),
                *("--subnet-id", "subnet-1", "--security-group-id", "sg-1"),
            ),
            69,
            "subnet-1 (--subnet-id) does not exist in this account and Region; correct it.",
        ),
        (("create", "1x"), 64, "'1x' cannot be a deployment's name"),
        (("create", "x", "--tag", "plain"), 64, "--tag plain should be KEY=VALUE."),
        (("update", "x"), 69, "There is no stack 'x' in us-east-1"),
        (("status", "x"), 69, "There is no stack 'x' in us-east-1"),
        (("destroy", "x", "--yes"), 69, "There is no stack 'x' in us-east-1"),
        (("create", "x", "--nonsense"), 64, "deploy create takes no --nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_sentence(
    deploy: Command, session: LocalSession, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """Each ends in its exit code, and nothing is made."""
    _, err = deploy(*arguments, code=code)
    assert err.startswith(f"miniwdl-cloud: {'miniwdl-cloud ' * ('takes no' in message)}{message}")
    assert err.count("\n") == 1
    assert "x" not in _stacks(session)


def test_a_name_that_is_taken(deploy: Command, session: LocalSession) -> None:
    """By a deployment, by a stack of something else, or by a queue of no stack."""
    client = session.client("cloudformation")
    other = {"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}
    client.create_stack(StackName="cli-other", TemplateBody=json.dumps(other))
    _, err = deploy("create", "cli-other", code=78)
    assert "There is a stack 'cli-other' already; choose another name" in err
    _, err = deploy("destroy", "cli-other", "--yes", code=78)
    assert "The stack 'cli-other' is no deployment of miniwdl-cloud" in err
    bad = {"Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": {"DelaySeconds": "x"}}}}
    client.create_stack(StackName="cli-dead", TemplateBody=json.dumps(bad))
    (dead,) = client.describe_stacks(StackName="cli-dead")["Stacks"]
    assert dead["StackStatus"] == "ROLLBACK_COMPLETE"
    _, err = deploy("create", "cli-dead", code=78)
    assert "There is a stack 'cli-dead' already" in err

    batch = session.client("batch")
    outputs = _table(deploy("create", "cli-first")[0])
    environment = _job_queue(session, outputs["TaskQueue"])["computeEnvironmentOrder"]
    batch.create_job_queue(
        jobQueueName="cli-second-task", priority=1, computeEnvironmentOrder=environment
    )
    _, err = deploy("create", "cli-second", code=78)
    assert "CREATE_FAILED        AWS::Batch::JobQueue TaskQueue: Error executing request" in err
    assert err.splitlines()[-1] == (
        "miniwdl-cloud: The stack 'cli-second' ended in ROLLBACK_COMPLETE because of TaskQueue"
        " (AWS::Batch::JobQueue): Object already exists; something of this name is there, but not"
        " of this stack: delete it, or deploy under another name."
    )
    assert "ended in ROLLBACK_COMPLETE because of TaskQueue" in deploy("status", "cli-second")[1]
    _, err = deploy("update", "cli-second", code=78)
    assert "cannot be updated; `deploy create` replaces it" in err
    _, err = deploy("create", "cli-second", "--dry-run", code=78)
    assert "left the stack 'cli-second' in ROLLBACK_COMPLETE" in err
    batch.update_job_queue(jobQueue="cli-second-task", state="DISABLED")
    batch.delete_job_queue(jobQueue="cli-second-task")
    deploy("create", "cli-second")
    for name in ("cli-first", "cli-second"):
        deploy("destroy", name, "--yes", "--delete-filesystem")
