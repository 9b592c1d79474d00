"""A small deployment made by API calls, for tests of `miniwdl-aws-submit`."""

from __future__ import annotations

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

from miniwdl_cloud.emulator.state import read_state

TRUST = '{"Version":"2012-10-17","Statement":[]}'


@dataclass
class Deployment:
    """Names of what was made, and the environment that a person would have."""

    endpoint_url: str
    mount: Path
    bucket: str = "stage-bucket"
    workflow_queue: str = "workflow"
    task_queue: str = "task"
    fsap: str = ""
    file_system: str = ""
    role: str = ""
    cluster: str = "cluster"
    log_group: str = "/cluster"
    env: dict[str, str] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """A client of the embedded AWS."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs of the workflow queue."""
        batch = self.client("batch")
        ids = [
            job["jobId"]
            for page in batch.get_paginator("list_jobs").paginate(
                jobQueue=self.workflow_queue, filters=[{"name": "JOB_NAME", "values": ["*"]}]
            )
            for job in page["jobSummaryList"]
        ]
        return [
            job
            for start in range(0, len(ids), 100)
            for job in batch.describe_jobs(jobs=ids[start : start + 100])["jobs"]
        ]


@contextmanager
def deployment(root: Path, ecs: bool = False) -> Iterator[Deployment]:
    """A deployment in an embedded AWS of its own, with an ECS cluster if asked for.

    It runs in a process of its own: moto's state belongs to its process, and the file system that
    is made first there is the shared one.
    """
    state, mount = root / "state", root / "mount"
    options = ["--state", str(state), "--filesystem", str(mount)]
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "miniwdl_cloud.emulator", *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
        )
    try:
        deadline = time.monotonic() + 120
        while (running := read_state(state)) is None:
            assert process.poll() is None and time.monotonic() < deadline, (
                root / "log"
            ).read_text()
            time.sleep(0.1)
        made = deploy(running.endpoint_url, mount)
        if ecs:
            add_cluster(made)
        yield made
    finally:
        process.terminate()
        process.wait(60)


def deploy(endpoint_url: str, mount: Path) -> Deployment:
    """Make queues, filesystem, role and bucket in a running embedded AWS."""
    made = Deployment(endpoint_url, mount)
    made.env = {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "MINIWDL__AWS__WORKFLOW_QUEUE": made.workflow_queue,
    }
    made.client("s3").create_bucket(Bucket=made.bucket)
    made.role = made.client("iam").create_role(
        RoleName="workflow-engine", AssumeRolePolicyDocument=TRUST
    )["Role"]["Arn"]
    efs = made.client("efs")
    made.file_system = efs.create_file_system(CreationToken="one")["FileSystemId"]
    made.fsap = efs.create_access_point(
        ClientToken="one", FileSystemId=made.file_system, RootDirectory={"Path": "/"}
    )["AccessPointId"]
    batch = made.client("batch")
    for name, kind in (("fargate", "FARGATE"), ("ec2", "EC2")):
        resources: dict[str, Any] = {
            "type": kind,
            "maxvCpus": 64,
            "subnets": ["subnet-12345678"],
            "securityGroupIds": ["sg-12345678"],
        }
        if kind == "EC2":
            resources.update(minvCpus=0, instanceTypes=["optimal"], instanceRole="ecsInstanceRole")
        batch.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", state="ENABLED", computeResources=resources
        )
    queue(batch, made.task_queue, "ec2")
    queue(
        batch,
        made.workflow_queue,
        "fargate",
        {
            "DefaultTaskQueue": made.task_queue,
            "DefaultFsap": made.fsap,
            "WorkflowEngineRoleArn": made.role,
            "DefaultMount": str(made.mount),
        },
    )
    return made


def queue(
    batch: Any,
    name: str,
    environment: str,
    tags: dict[str, str] | None = None,
    state: str = "ENABLED",
) -> None:
    """Make a job queue on one of the deployment's compute environments."""
    batch.create_job_queue(
        jobQueueName=name,
        state=state,
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
        tags=tags or {},
    )


def add_cluster(made: Deployment) -> None:
    """Make an ECS cluster, which the tags of the workflow queue name, and carry its own tags."""
    subnet = made.client("ec2").describe_subnets()["Subnets"][0]
    groups = made.client("ec2").describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}]
    )["SecurityGroups"]
    made.client("logs").create_log_group(logGroupName=made.log_group)
    own = {
        "DefaultEcsExecutionRoleArn": made.role,
        "DefaultEcsLogGroup": made.log_group,
        "DefaultEcsSubnets": subnet["SubnetId"],
        "DefaultEcsSecurityGroups": groups[0]["GroupId"],
    }
    common = {
        "DefaultFsap": made.fsap,
        "WorkflowEngineRoleArn": made.role,
        "DefaultMount": str(made.mount),
    }
    made.client("ecs").create_cluster(
        clusterName=made.cluster,
        capacityProviders=["FARGATE", "FARGATE_SPOT"],
        tags=[{"key": key, "value": value} for key, value in {**own, **common}.items()],
    )
    (queue,) = made.client("batch").describe_job_queues(jobQueues=[made.workflow_queue])[
        "jobQueues"
    ]
    made.client("batch").tag_resource(
        resourceArn=queue["jobQueueArn"], tags={**own, "DefaultEcsCluster": made.cluster}
    )
