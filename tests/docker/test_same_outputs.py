"""The same workflow gives the same outputs on every kind of shared filesystem, isolated or not, in
processes and in containers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_tier import Runs, local_aws

import isolation_workflow
from miniwdl_cloud.emulator.executors import namespaces
from miniwdl_cloud.emulator.executors.base import Mount

ROLE = "arn:aws:iam::123456789012:role/task"


@pytest.fixture(scope="module", params=["process", "docker"])
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """miniwdl on an embedded AWS with either executor."""
    host = image = None
    if request.param == "docker":
        image = request.getfixturevalue("workflow_image")
        host = os.environ["DOCKER_HOST"]
    state = tmp_path_factory.mktemp("filesystems") / "state"
    with local_aws(state, host) as aws:
        if image:
            aws.env["MINIWDL__AWS__WORKFLOW_IMAGE"] = image
        yield Runs(aws)


@pytest.fixture
def directory(runs: Runs, request: pytest.FixtureRequest) -> Path:
    """A directory of the shared filesystem for one test."""
    made = runs.aws.filesystem / request.node.callspec.id
    made.mkdir()
    return made


@pytest.mark.parametrize("isolation", ["shared", "strict"])
@pytest.mark.parametrize("flavour", ["efs", "host", "fsx", "s3files"])
def test_outputs_are_the_same(runs: Runs, directory: Path, flavour: str, isolation: str) -> None:
    """EFS and a host's mount under Batch, FSx for Lustre as a submission finds it, S3 Files under
    Fargate."""
    in_processes = "DOCKER_HOST" not in runs.aws.env
    if isolation == "strict" and in_processes:
        reason = namespaces.why_not([Mount(runs.aws.filesystem, str(directory))])
        if reason:
            pytest.skip(reason)
    inputs = isolation_workflow.make_inputs(directory)
    if flavour == "fsx":
        outputs = _submitted(runs, directory, inputs, isolation)
    else:
        done = runs.run(
            directory,
            isolation_workflow.SOURCE,
            *inputs,
            isolation=isolation,
            **_settings(runs, flavour),
        )
        assert done.code == 0, done.log[-5000:]
        outputs = done.answer["outputs"]
    isolation_workflow.check(outputs, directory)


def _settings(runs: Runs, flavour: str) -> dict[str, str]:
    """What differs from EFS under Batch."""
    if flavour == "efs":
        return {}
    if flavour == "host":
        return {"MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job_no_efs"}
    api = runs.aws.client("s3files")
    if not api.list_file_systems()["fileSystems"]:
        s3 = runs.aws.client("s3")
        s3.create_bucket(Bucket="everything")
        s3.put_bucket_versioning(Bucket="everything", VersioningConfiguration={"Status": "Enabled"})
        made = api.create_file_system(bucket="arn:aws:s3:::everything", roleArn=ROLE)
        api.create_mount_target(fileSystemId=made["fileSystemId"], subnetId=_subnet(runs))
    (system,) = api.list_file_systems()["fileSystems"]
    return {
        "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_fargate",
        "MINIWDL__AWS__WORKFLOW_QUEUE": str(runs.queue["jobQueueName"]),
        "MINIWDL__AWS__FS": system["fileSystemArn"],
        "MINIWDL__AWS__FSAP": "",
        "MINIWDL__AWS__TASK_ROLE": ROLE,
    }


def _submitted(runs: Runs, directory: Path, inputs: list[str], isolation: str) -> dict[str, Any]:
    """The outputs of a workflow job that was told of FSx for Lustre, on instances that mount it."""
    subnet = _subnet(runs)
    batch = runs.aws.client("batch")
    (task_queue,) = batch.describe_job_queues(jobQueues=[runs.tags["DefaultTaskQueue"]])[
        "jobQueues"
    ]
    name = f"instances-{isolation}"
    batch.create_job_queue(
        jobQueueName=name,
        priority=1,
        computeEnvironmentOrder=task_queue["computeEnvironmentOrder"],
        tags={k: v for k, v in runs.tags.items() if k != "DefaultFsap"},
    )
    made = runs.aws.client("fsx").create_file_system(
        FileSystemType="LUSTRE",
        FileSystemTypeVersion="2.15",
        StorageCapacity=1200,
        SubnetIds=[subnet],
        LustreConfiguration={"DeploymentType": "SCRATCH_2"},
    )["FileSystem"]["FileSystemId"]
    wdl = directory / "source.wdl"
    wdl.write_text(isolation_workflow.SOURCE)
    done = runs.aws.submit(
        *(str(wdl), *inputs, "--fsid", made, "--mount", str(runs.aws.filesystem)),
        *("--workflow-queue", name, "--follow", "--dir", f"{directory}/run/."),
        variables={
            "MINIWDL__AWS__ISOLATION": isolation,
            # It is not linked to S3.
            "MINIWDL__FSX_TO_S3__AUTO": "false",
        },
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Any] = json.loads((directory / "run" / "outputs.json").read_text())
    return found


def _subnet(runs: Runs) -> str:
    """A subnet of the deployment's compute environments."""
    batch = runs.aws.client("batch")
    name = runs.queue["computeEnvironmentOrder"][0]["computeEnvironment"]
    (environment,) = batch.describe_compute_environments(computeEnvironments=[name])[
        "computeEnvironments"
    ]
    return str(environment["computeResources"]["subnets"][0])
