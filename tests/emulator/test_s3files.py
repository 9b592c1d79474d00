"""S3 Files: the embedded service, and runs on a bucket as the shared filesystem."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from batch_helper import Batch, make_client, shared_access_point, unique, wait_until
from ecs_helper import ROLE
from engine_runs import Deployment
from fargate_runs import FargateDeployment

import isolation_workflow
from miniwdl_cloud.emulator.executors import namespaces
from miniwdl_cloud.emulator.executors.base import Mount
from miniwdl_cloud.emulator.server import LocalCloud

ARN = "arn:aws:s3files:us-east-1:123456789012:file-system/"
TASK_ROLE = "arn:aws:iam::123456789012:role/task"

NO_HARD_LINKS = """
import errno, os
_link = os.link
def link(source, target, **options):
    if os.path.abspath(target).startswith({root!r}):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), source, None, target)
    return _link(source, target, **options)
os.link = link
"""


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    """An embedded AWS whose shared directory is small, as all of it goes to a bucket."""
    root = tmp_path / "own"
    with LocalCloud(root / "state", root / "filesystem", stop_grace_s=1.0) as running:
        shared_access_point(running)
        yield running


class Bucket:
    """A bucket with versioning, and a file system over it."""

    def __init__(self, cloud: LocalCloud, prefix: str = "") -> None:
        self.s3 = make_client(cloud, "s3")
        self.name = unique("bucket")
        self.s3.create_bucket(Bucket=self.name)
        self.s3.put_bucket_versioning(
            Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
        )
        self.api = make_client(cloud, "s3files")
        self.file_system = self.api.create_file_system(
            bucket=f"arn:aws:s3:::{self.name}", roleArn=ROLE, prefix=prefix
        )
        subnet = make_client(cloud, "ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        self.target = self.api.create_mount_target(
            fileSystemId=self.file_system["fileSystemId"], subnetId=subnet
        )
        self.arn = str(self.file_system["fileSystemArn"])

    def keys(self) -> list[str]:
        """Keys of all objects."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def content(self, key: str) -> bytes:
        """An object's content; empty if there is none."""
        try:
            return bytes(self.s3.get_object(Bucket=self.name, Key=key)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return b""


def test_resources_are_made_and_deleted(own_cloud: LocalCloud) -> None:
    """File systems, access points and mount targets can be made, described, tagged, listed and
    deleted, in this order of dependence alone."""
    bucket = Bucket(own_cloud)
    api, identifier = bucket.api, bucket.file_system["fileSystemId"]
    assert bucket.file_system["status"] == "creating"
    assert api.get_file_system(fileSystemId=bucket.arn)["status"] == "available"
    assert [f["fileSystemId"] for f in api.list_file_systems()["fileSystems"]] == [identifier]
    point = api.create_access_point(
        fileSystemId=identifier,
        posixUser={"uid": 0, "gid": 0},
        rootDirectory={"path": "/shared"},
        clientToken="once",
        tags=[{"key": "Name", "value": "runs"}],
    )
    again = api.create_access_point(
        fileSystemId=identifier,
        posixUser={"uid": 0, "gid": 0},
        rootDirectory={"path": "/shared"},
        clientToken="once",
        tags=[{"key": "Name", "value": "runs"}],
    )
    assert again["accessPointId"] == point["accessPointId"]
    found = api.get_access_point(accessPointId=point["accessPointArn"])
    assert (found["rootDirectory"], found["name"]) == ({"path": "/shared"}, "runs")
    api.tag_resource(resourceId=point["accessPointArn"], tags=[{"key": "a", "value": "b"}])
    api.untag_resource(resourceId=point["accessPointId"], tagKeys=["Name"])
    tags = api.list_tags_for_resource(resourceId=point["accessPointId"])["tags"]
    assert tags == [{"key": "a", "value": "b"}]
    targets = api.list_mount_targets(fileSystemId=identifier)["mountTargets"]
    assert [t["mountTargetId"] for t in targets] == [bucket.target["mountTargetId"]]
    with pytest.raises(api.exceptions.ConflictException):
        api.delete_file_system(fileSystemId=identifier)
    api.delete_mount_target(mountTargetId=bucket.target["mountTargetId"])
    api.delete_access_point(accessPointId=point["accessPointId"])
    api.delete_file_system(fileSystemId=identifier)
    with pytest.raises(api.exceptions.ResourceNotFoundException):
        api.get_file_system(fileSystemId=identifier)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"bucket": "arn:aws:s3:::missing"}, "ResourceNotFoundException"),
        ({"bucket": "arn:aws:s3:::plain"}, "ValidationException"),
        ({"bucket": "plain"}, "ValidationException"),
        ({"bucket": "arn:aws:s3:::plain", "prefix": "no-slash"}, "ValidationException"),
    ],
    ids=["no bucket", "no versioning", "no ARN", "no prefix"],
)
def test_refusals(own_cloud: LocalCloud, params: dict[str, Any], error: str) -> None:
    """What botocore's model or the user guide excludes is refused."""
    make_client(own_cloud, "s3").create_bucket(Bucket="plain")
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        make_client(own_cloud, "s3files").create_file_system(roleArn=ROLE, **params)
    assert caught.value.response["Error"]["Code"] == error


def test_directory_and_bucket_are_the_same(own_cloud: LocalCloud) -> None:
    """Files become objects and objects files, changes and deletions follow, and the bucket wins."""
    bucket = Bucket(own_cloud, "data/")
    directory, synchronize = own_cloud.filesystem, own_cloud.s3files.synchronize
    (directory / "runs").mkdir()
    (directory / "runs" / "out.txt").write_text("one")
    (directory / "link").symlink_to("runs/out.txt")
    bucket.s3.put_object(Bucket=bucket.name, Key="data/in/reads.fq", Body=b"reads")
    bucket.s3.put_object(Bucket=bucket.name, Key="elsewhere", Body=b"x")
    synchronize()
    assert bucket.content("data/runs/out.txt") == b"one"
    assert bucket.content("data/link") == b"runs/out.txt"
    assert (directory / "in" / "reads.fq").read_text() == "reads"
    assert not (directory / "elsewhere").exists()

    (directory / "runs" / "out.txt").rename(directory / "runs" / "moved.txt")
    bucket.s3.delete_object(Bucket=bucket.name, Key="data/in/reads.fq")
    synchronize()
    assert bucket.content("data/runs/moved.txt") == b"one"
    assert bucket.content("data/runs/out.txt") == b""
    assert not (directory / "in" / "reads.fq").exists()

    (directory / "runs" / "moved.txt").write_text("here")
    bucket.s3.put_object(Bucket=bucket.name, Key="data/runs/moved.txt", Body=b"in the bucket")
    synchronize()
    assert (directory / "runs" / "moved.txt").read_text() == "in the bucket"


@pytest.mark.parametrize("isolation", ["shared", "strict"])
def test_a_run_on_a_bucket(own_cloud: LocalCloud, tmp_path: Path, isolation: str) -> None:
    """The same outputs as on any filesystem, though it has no hard links; and the run directory is
    in the bucket. Tasks mount it by its ARN, and isolated ones directories of it."""
    mounts = [Mount(own_cloud.filesystem, str(own_cloud.filesystem / "x"))]
    if isolation == "strict" and (reason := namespaces.why_not(mounts)):
        pytest.skip(reason)
    bucket = Bucket(own_cloud)
    deployment = FargateDeployment(own_cloud, Batch(own_cloud), tmp_path)
    patch = tmp_path / "patch"
    patch.mkdir()
    root = str(own_cloud.filesystem)
    (patch / "sitecustomize.py").write_text(NO_HARD_LINKS.format(root=root))
    run = deployment.run(
        isolation_workflow.SOURCE,
        *isolation_workflow.make_inputs(deployment.root),
        env={**_settings(bucket, isolation), "PYTHONPATH": str(patch)},
    )
    isolation_workflow.check(run.outputs, deployment.root)
    key = str((run.directory / "outputs.json").relative_to(own_cloud.filesystem))
    wait_until(lambda: bucket.content(key), f"{key} in the bucket")
    assert json.loads(bucket.content(key)) == run.outputs
    definitions = {task["taskDefinitionArn"] for task in deployment.tasks()}
    for arn in definitions:
        definition = deployment.ecs.api.describe_task_definition(taskDefinition=arn)
        volumes = definition["taskDefinition"]["volumes"]
        given = [volume["s3filesVolumeConfiguration"] for volume in volumes]
        assert {volume["fileSystemArn"] for volume in given} == {bucket.arn}
        parts = [volume.get("rootDirectory") for volume in given]
        inside = f"/{deployment.root.name}/runs/"
        if isolation == "strict":
            assert parts
            assert all(
                part.startswith((inside, f"/{deployment.root.name}/genome")) for part in parts
            )
        else:
            assert parts == [None]


def test_exact_volumes_of_an_access_point(own_cloud: LocalCloud, tmp_path: Path) -> None:
    """Through an access point there is no root directory in the request."""
    bucket = Bucket(own_cloud)
    point = bucket.api.create_access_point(fileSystemId=bucket.file_system["fileSystemId"])
    deployment = FargateDeployment(own_cloud, Batch(own_cloud), tmp_path)
    settings = {**_settings(bucket, "shared"), "MINIWDL__AWS__FSAP": point["accessPointArn"]}
    deployment.run("version 1.1\ntask t { command <<< : >>> output {} }", env=settings)
    (task,) = deployment.tasks()
    definition = deployment.ecs.api.describe_task_definition(
        taskDefinition=task["taskDefinitionArn"]
    )["taskDefinition"]
    assert definition["volumes"] == [
        {
            "name": "file_io_root",
            "s3filesVolumeConfiguration": {
                "fileSystemArn": bucket.arn,
                "accessPointArn": point["accessPointArn"],
            },
        }
    ]
    assert definition["taskRoleArn"] == TASK_ROLE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MINIWDL__AWS__TASK_ROLE": ""}, "role that tasks mount S3 Files with"),
        ({"MINIWDL__FILE_IO__OUTPUT_HARDLINKS": "true"}, "S3 Files has no hard links"),
        ({"MINIWDL__AWS__FS": "arn:aws:s3files:us-east-1:1:fs-1"}, "is not the ARN of an S3 Files"),
        (
            {"MINIWDL__AWS__FSAP": "arn:aws:s3files:us-east-1:1:fsap-1"},
            "should be the ARN of an access point of the S3 Files file system",
        ),
    ],
    ids=["role", "hard links", "file system", "access point"],
)
def test_settings_that_cannot_be(
    own_cloud: LocalCloud, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    """Each gets one sentence, and no task is started."""
    bucket = Bucket(own_cloud)
    deployment = FargateDeployment(own_cloud, Batch(own_cloud), tmp_path)
    run = deployment.run(
        "version 1.1\ntask t { command <<< : >>> output {} }",
        env={**_settings(bucket, "shared"), **settings},
        fails=True,
    )
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert deployment.tasks() == []


def test_instances_cannot_mount_it(own_cloud: LocalCloud, tmp_path: Path) -> None:
    """A Batch queue of EC2 instances is refused before a job would fail there."""
    bucket = Bucket(own_cloud)
    deployment = Deployment(own_cloud, Batch(own_cloud), tmp_path)
    run = deployment.run(
        "version 1.1\ntask t { command <<< : >>> output {} }",
        env=_settings(bucket, "shared"),
        fails=True,
    )
    assert f"The instances of the queue {deployment.queue} cannot mount S3 Files" in run.stderr


def test_a_workflow_job_on_a_bucket(own_cloud: LocalCloud, tmp_path: Path) -> None:
    """Submitted with the file system's ARN, workflow and task are ECS tasks that mount it."""
    bucket = Bucket(own_cloud)
    deployment = FargateDeployment(own_cloud, Batch(own_cloud), tmp_path)
    done = _submit(deployment, bucket, "--engine", "fargate", "--wait")
    assert done.returncode == 0, done.stderr
    kinds = [
        definition["volumes"][0]["s3filesVolumeConfiguration"]
        for task in deployment.tasks()
        for definition in [
            deployment.ecs.api.describe_task_definition(taskDefinition=task["taskDefinitionArn"])[
                "taskDefinition"
            ]
        ]
    ]
    assert len(kinds) == 2
    assert {kind["fileSystemArn"] for kind in kinds} == {bucket.arn}
    (outputs,) = {path.resolve() for path in (own_cloud.filesystem / "runs").glob("*/outputs.json")}
    assert json.loads(outputs.read_text()) == {"t.out": "there"}


@pytest.mark.parametrize(
    ("options", "environ", "message", "code"),
    [
        (["--engine", "fargate", "--task-engine", "batch"], {}, "use --task-engine fargate", 78),
        (["--engine", "batch"], {}, "which cannot mount S3 Files", 78),
        (["--engine", "fargate"], {"FS": f"{ARN}fs-{'0' * 17}"}, "does not exist", 69),
        (["--engine", "fargate"], {"FS": f"{ARN}fs-1"}, "is not the ARN of an S3 Files", 64),
        (["--engine", "fargate"], {"FSAP": f"{ARN}x"}, "ARN of an access point", 64),
    ],
    ids=["tasks", "workflow", "missing", "no ARN", "access point"],
)
def test_submissions_that_cannot_be(
    own_cloud: LocalCloud,
    tmp_path: Path,
    options: list[str],
    environ: dict[str, str],
    message: str,
    code: int,
) -> None:
    """Each gets one sentence and its exit code, and nothing is submitted."""
    bucket = Bucket(own_cloud)
    deployment = FargateDeployment(own_cloud, Batch(own_cloud), tmp_path)
    more = {f"MINIWDL__AWS__{name}": value for name, value in environ.items()}
    done = _submit(deployment, bucket, *options, **more)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert deployment.tasks() == []


def _submit(
    deployment: FargateDeployment, bucket: Bucket, *options: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    wdl = deployment.write(
        "version 1.1\n"
        "task t { command <<< echo there >>> output { String out = read_string(stdout()) } }"
    )
    mount = deployment.cloud.filesystem
    role = make_client(deployment.cloud, "iam").create_role(
        RoleName=unique("role"), AssumeRolePolicyDocument="{}"
    )["Role"]["Arn"]
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("miniwdl-aws-submit")),
            *(str(wdl), *options, "--mount", str(mount), "--dir", str(mount / "runs")),
            *("--workflow-role", role, "--task-queue", deployment.fallback),
            *(("--workflow-queue", deployment.queue) if "batch" in options else ()),
        ],
        env=deployment.environ(
            **{
                **_settings(bucket, "shared"),
                "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "",
                **environ,
            }
        ),
        capture_output=True,
        text=True,
        timeout=240,
    )


def _settings(bucket: Bucket, isolation: str) -> dict[str, str]:
    return {
        "MINIWDL__AWS__FS": bucket.arn,
        "MINIWDL__AWS__FSAP": "",
        "MINIWDL__AWS__TASK_ROLE": TASK_ROLE,
        "MINIWDL__AWS__ISOLATION": isolation,
    }
