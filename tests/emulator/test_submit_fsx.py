"""`miniwdl-aws-submit --fsid` with FSx for Lustre: found, checked, mounted by the host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from submit_deployment import Deployment, queue
from submit_deployment import deployment as deployed

from miniwdl_cloud.cli import submit
from miniwdl_cloud.errors import MiniwdlCloudError

WDL = "version 1.1\nworkflow w {\n  output { Int x = 1 }\n}\n"


def subnet(made: Deployment, number: int) -> str:
    """A subnet in a VPC of its own."""
    ec2 = made.client("ec2")
    vpc = ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
    found = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.{number}.0.0/24")["Subnet"]
    return str(found["SubnetId"])


def environment(made: Deployment, name: str, subnets: list[str]) -> None:
    """An EC2 compute environment."""
    made.client("batch").create_compute_environment(
        computeEnvironmentName=name,
        type="MANAGED",
        computeResources={
            "type": "EC2",
            "minvCpus": 0,
            "maxvCpus": 64,
            "instanceTypes": ["optimal"],
            "instanceRole": "ecsInstanceRole",
            "subnets": subnets,
            "securityGroupIds": ["sg-12345678"],
        },
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose compute environments share a VPC with an FSx file system."""
    with deployed(tmp_path_factory.mktemp("cloud")) as deployment:
        here, elsewhere = subnet(deployment, 1), subnet(deployment, 2)
        environment(deployment, "here", [here])
        environment(deployment, "elsewhere", [elsewhere])
        fsx = deployment.client("fsx")
        deployment.file_system = fsx.create_file_system(
            FileSystemType="LUSTRE",
            FileSystemTypeVersion="2.15",
            StorageCapacity=1200,
            SubnetIds=[here],
            LustreConfiguration={"DeploymentType": "SCRATCH_2"},
        )["FileSystem"]["FileSystemId"]
        zfs = fsx.create_file_system(
            FileSystemType="OPENZFS",
            StorageCapacity=64,
            SubnetIds=[here],
            OpenZFSConfiguration={"DeploymentType": "SINGLE_AZ_1", "ThroughputCapacity": 64},
        )["FileSystem"]["FileSystemId"]
        batch = deployment.client("batch")
        queue(batch, "fsx-task", "here")
        queue(batch, "task-elsewhere", "elsewhere")
        tags = {
            "DefaultTaskQueue": "fsx-task",
            "DefaultFsid": deployment.file_system,
            "DefaultMount": str(deployment.mount),
        }
        queue(batch, "fsx-workflow", "here", tags)
        queue(batch, "zfs-workflow", "here", {**tags, "DefaultFsid": zfs})
        queue(batch, "no-mount", "here", {k: v for k, v in tags.items() if k != "DefaultMount"})
        queue(batch, "both", "here", {**tags, "DefaultFsap": deployment.fsap})
        deployment.env["MINIWDL__AWS__WORKFLOW_QUEUE"] = "fsx-workflow"
        yield deployment


@pytest.fixture
def run(made: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Submits a small workflow with these options."""
    (tmp_path / "w.wdl").write_text(WDL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    return lambda *options: submit.main(["w.wdl", *options])


def dry_run(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a dry run printed: container properties, and variables by name."""
    requests = {
        item["operation"]: item["request"]
        for item in json.loads(capsys.readouterr().out)["requests"]
    }
    job = requests["SubmitJob"]["containerOverrides"]
    return {
        "container": requests["RegisterJobDefinition"]["containerProperties"],
        "variables": {item["name"]: item["value"] for item in job["environment"]},
    }


def test_the_queue_alone_is_named(
    run: Callable[..., int], made: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the queue's tags the file system is found, and the host's mount is used at its place."""
    assert run("--dry-run") == 0
    found = dry_run(capsys)
    assert found["container"]["volumes"] == [
        {"name": "shared", "host": {"sourcePath": str(made.mount)}}
    ]
    variables = found["variables"]
    assert variables["MINIWDL__SCHEDULER__CONTAINER_BACKEND"] == "aws_batch_job_no_efs"
    assert variables["MINIWDL__FILE_IO__ROOT"] == str(made.mount)
    assert variables["MINIWDL__AWS__FS"] == "0"
    assert variables["MINIWDL__FSX_TO_S3__FILE_SYSTEM"] == made.file_system


def test_mount_point(
    run: Callable[..., int], made: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without another word FSx is mounted at /mnt/fsx."""
    assert run("--workflow-queue", "no-mount", "--dry-run") == 0
    assert dry_run(capsys)["variables"]["MINIWDL__FILE_IO__ROOT"] == "/mnt/fsx"


def test_a_run_on_fsx(
    run: Callable[..., int], made: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """A workflow really runs so, and writes its outputs into the mounted directory; back to S3
    they cannot go, as the file system is linked to none."""
    assert run("--wait", "--verbose") == 0
    last = made.mount / "miniwdl_run/_LAST"
    assert json.loads((last / "outputs.json").read_text()) == {"w.x": 1}
    assert "No S3 location is known" in (last / "workflow.log").read_text()


def test_efs_and_fsx_are_told_apart(
    run: Callable[..., int], made: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """The id of an EFS file system means EFS; an access point ranks above the tag of FSx."""
    efs = made.client("efs").describe_file_systems()["FileSystems"][0]["FileSystemId"]
    for options in (["--fsid", efs], ["--fsap", made.fsap], ["--workflow-queue", "both"]):
        assert run(*options, "--dry-run") == 0
        found = dry_run(capsys)
        (volume,) = found["container"]["volumes"]
        assert volume["efsVolumeConfiguration"]["fileSystemId"] == efs
        assert "MINIWDL__FSX_TO_S3__FILE_SYSTEM" not in found["variables"]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--fsid", "fs-0123456789"], 69, "no EFS or FSx for Lustre file system fs-0123456789"),
        (["--workflow-queue", "zfs-workflow"], 78, "is of type OPENZFS; name one of type LUSTRE"),
        (["--task-queue", "task-elsewhere"], 78, "queue task-elsewhere are in vpc-"),
        (["--workflow-queue", "workflow", "--fsid", "FSX"], 78, "Fargate, where no host mounts"),
    ],
)
def test_file_systems_that_cannot_be_mounted(
    options: list[str], code: int, text: str, run: Callable[..., int], made: Deployment
) -> None:
    """What cannot work is said in one sentence before anything is submitted."""
    with pytest.raises(MiniwdlCloudError) as error:
        run(*(made.file_system if option == "FSX" else option for option in options))
    assert text in error.value.message
    assert "\n" not in error.value.message
    assert error.value.exit_code == code
