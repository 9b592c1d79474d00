"""What the emulator's tests do with Batch, through boto3."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import boto3
import botocore.config

from miniwdl_cloud.emulator.server import LocalCloud

REGION = "us-east-1"
PATIENCE_S = 60.0
TERMINAL = ("SUCCEEDED", "FAILED")
_numbers = itertools.count()


def make_client(cloud: LocalCloud, service: str, region: str = REGION, **config: Any) -> Any:
    """A boto3 client of an embedded AWS; it does not retry."""
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=cloud.endpoint_url,
        region_name=region,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=botocore.config.Config(
            **{"retries": {"total_max_attempts": 1}, "connect_timeout": 10, **config}
        ),
    )


def shared_access_point(cloud: LocalCloud) -> str:
    """The access point of a cloud's shared filesystem, which is the first that is made in it."""
    efs, token = make_client(cloud, "efs"), cloud.endpoint_url
    points = efs.describe_access_points()["AccessPoints"]
    for point in points:
        if point.get("ClientToken") == token:
            return str(point["AccessPointId"])
    made = efs.create_file_system(CreationToken=token)["FileSystemId"]
    point = efs.create_access_point(ClientToken=token, FileSystemId=made)
    return str(point["AccessPointId"])


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of a condition.

    Raises
    ------
    AssertionError
        It does not come within `PATIENCE_S`.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE_S:g} s in vain: {what}")


def unique(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


class Batch:
    """What tests do with Batch, by its HTTP API."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.api = make_client(cloud, "batch")
        self.logs = make_client(cloud, "logs")

    def environment(self, **resources: Any) -> str:
        """A new compute environment's name."""
        name = unique("ce")
        given: dict[str, Any] = {
            "type": "SPOT",
            "maxvCpus": 64,
            "instanceTypes": ["m5", "g4dn"],
            "instanceRole": "ecsInstanceRole",
            "subnets": ["subnet-1"],
            "securityGroupIds": ["sg-1"],
            **resources,
        }
        if given["type"].startswith("FARGATE"):
            del given["instanceTypes"], given["instanceRole"]
        self.api.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", computeResources=given
        )
        return name

    def queue(self, *environments: str, **params: Any) -> str:
        """A new job queue's name; on a new environment if none is given."""
        name = unique("queue")
        self.api.create_job_queue(
            jobQueueName=name,
            priority=params.pop("priority", 1),
            computeEnvironmentOrder=[
                {"order": i, "computeEnvironment": e}
                for i, e in enumerate(environments or (self.environment(),))
            ],
            **params,
        )
        return name

    def definition(self, *command: str, **params: Any) -> str:
        """A new job definition's ARN; members of containerProperties in ``container``."""
        container = {
            "image": "busybox",
            "command": list(command or ("true",)),
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "64"},
            ],
            **params.pop("container", {}),
        }
        answer = self.api.register_job_definition(
            **{
                "jobDefinitionName": unique("definition"),
                "type": "container",
                "containerProperties": container,
                **params,
            }
        )
        return str(answer["jobDefinitionArn"])

    def submit(self, definition: str, queue: str, *command: str, **params: Any) -> str:
        """A new job's id; with a command override if one is given."""
        if command:
            params["containerOverrides"] = {
                **params.get("containerOverrides", {}),
                "command": list(command),
            }
        answer = self.api.submit_job(
            **{"jobName": "job", "jobQueue": queue, "jobDefinition": definition, **params}
        )
        return str(answer["jobId"])

    def describe(self, job_id: str) -> dict[str, Any]:
        """A job's detail."""
        (detail,) = self.api.describe_jobs(jobs=[job_id])["jobs"]
        return dict(detail)

    def wait(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """A job's detail once it has one of these statuses, or else any terminal one."""
        wanted = statuses or TERMINAL

        def look() -> dict[str, Any] | None:
            detail = self.describe(job_id)
            if detail["status"] in TERMINAL and detail["status"] not in wanted:
                raise AssertionError(f"{detail['status']}: {detail.get('statusReason')}")
            return detail if detail["status"] in wanted else None

        return dict(wait_until(look, f"job {job_id} to be {wanted}"))

    def run(self, queue: str, *command: str, **params: Any) -> dict[str, Any]:
        """The detail of a job with this command that has ended."""
        return self.wait(self.submit(self.definition(*command), queue, **params))

    def log(self, detail: dict[str, Any]) -> list[str]:
        """The messages in a job's log."""
        events = self.logs.get_log_events(
            logGroupName="/aws/batch/job",
            logStreamName=detail["container"]["logStreamName"],
            startFromHead=True,
        )["events"]
        return [event["message"] for event in events]
