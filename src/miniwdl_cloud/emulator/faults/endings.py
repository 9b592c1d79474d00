"""How jobs end that fail of something else than their command, in the words of Batch and ECS.

The texts are those that the issues named beside them quote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

BEFORE_START = "before_start"
RUNNING = "running"
AFTER_COMMAND = "after_command"
STAGES = (BEFORE_START, RUNNING, AFTER_COMMAND)
"""Instead of starting the container; while it runs; when its command has finished."""

_ESSENTIAL = "Essential container in task exited"
_NOT_STARTED = "Task failed to start"


@dataclass(frozen=True)
class Ending:
    """How an attempt ends.

    Parameters
    ----------
    stage
        When.
    reasons
        The container's reason, in each of its spellings.
    status_reason
        The attempt's reason; ``None`` is that of a lost spot instance or Fargate Spot task.
    exit_code
        The container's; ``None`` where nobody learns it. Of a lost instance nobody does.
    reason
        The container's reason.
    timed_out
        Whether Batch ends it for its timeout.
    seconds
        How long the container has run, at stage ``running``.
    graceful
        Whether the container gets SIGTERM first.
    """

    stage: str
    reasons: Mapping[str, str | None] = field(default_factory=dict)
    status_reason: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    timed_out: bool = False
    seconds: float = 1.0
    graceful: bool = False

    @property
    def is_spot(self) -> bool:
        """Whether the instance, or on Fargate the task, is taken away."""
        return self.status_reason is None

    def spelled(self, spelling: str) -> Ending:
        """With one of its reasons."""
        return replace(self, reason=self.reasons.get(spelling, self.reason))


ENDINGS: Mapping[str, Ending] = {
    "spot": Ending(RUNNING, exit_code=137),
    "out_of_memory": Ending(
        RUNNING,
        status_reason=_ESSENTIAL,
        exit_code=137,
        reason="OutOfMemoryError: Container killed due to memory usage",
    ),
    # nextflow#5099, nextflow#4096; docs.aws.amazon.com, "CannotPullContainer task errors in ECS".
    "cannot_pull": Ending(
        BEFORE_START,
        {
            spelling: f"CannotPullContainerError: {text}"
            for spelling, text in {
                "not found": "Error response from daemon: manifest for image:tag not found:"
                " manifest unknown: manifest unknown",
                "manifest unknown": "manifest unknown: Requested image not found",
                "unauthorized": "Error response from daemon: unauthorized: authentication required",
                "denied": "Error response from daemon: pull access denied for image, repository"
                " does not exist or may require 'docker login'",
                "no repository": "The repository with name 'image' does not exist in the registry"
                " with id '123456789012'",
                "timeout": "Error response from daemon: Get https://registry/v2/: net/http: request"
                " canceled while waiting for connection (Client.Timeout exceeded)",
                "context canceled": "context canceled",
                "toomanyrequests": "inspect image has been retried 5 time(s): httpReaderSeeker:"
                " failed open: unexpected status code: 429 Too Many Requests - Server message:"
                " toomanyrequests: You have reached your pull rate limit",
                "no space left": "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
                "5xx": "received unexpected HTTP status: 503 Service Unavailable",
            }.items()
        },
        _NOT_STARTED,
    ),
    "cannot_start": Ending(
        BEFORE_START,
        status_reason=_NOT_STARTED,
        reason='CannotStartContainerError: Error response from daemon: exec: "/bin/bash": stat'
        " /bin/bash: no such file or directory: unknown",
    ),
    "cannot_create": Ending(
        BEFORE_START,
        status_reason=_NOT_STARTED,
        reason="CannotCreateContainerError: Error response from daemon: No command specified",
    ),
    # nextflow#3091, amazon-ecs-agent#2312.
    "cannot_inspect": Ending(
        AFTER_COMMAND,
        status_reason=_ESSENTIAL,
        reason="CannotInspectContainerError: Could not transition to inspecting; timed out after"
        " waiting 30s",
    ),
    # efs-utils#32, #125.
    "efs_mount": Ending(
        BEFORE_START,
        status_reason=_NOT_STARTED,
        reason="ResourceInitializationError: failed to invoke EFS utils commands to set up EFS"
        " volumes: stderr: mount.nfs4: Connection reset by peer : unsuccessful EFS utils command"
        " execution; code: 32",
    ),
    "create_volume": Ending(
        BEFORE_START,
        status_reason=_NOT_STARTED,
        reason="CannotCreateVolumeError: Error response from daemon: VolumeDriver.Create: mounting"
        " volume failed",
    ),
    "docker_timeout": Ending(
        BEFORE_START,
        {
            "docker": "DockerTimeoutError: Could not transition to created; timed out after waiting"
            " 4m0s",
            "runtime": "ContainerRuntimeTimeoutError: Could not transition to running; timed out"
            " after waiting 3m0s",
        },
        _NOT_STARTED,
    ),
    "configuration": Ending(
        BEFORE_START,
        {
            "secrets": "ResourceInitializationError: unable to pull secrets or registry auth:"
            " execution resource retrieval failed: unable to retrieve ecr registry auth",
            "log group": "ResourceInitializationError: failed to validate logger args: create"
            " stream has been retried 1 times: failed to create Cloudwatch log stream:"
            " ResourceNotFoundException: The specified log group does not exist.",
        },
        _NOT_STARTED,
    ),
    "timeout": Ending(
        RUNNING,
        status_reason="Job attempt duration exceeded timeout",
        exit_code=137,
        timed_out=True,
        graceful=True,
    ),
    "custom": Ending(RUNNING, status_reason=_ESSENTIAL, exit_code=1),
}

# Batch user guide, "Troubleshooting: jobs stuck in a RUNNABLE status".
BLOCKED: Mapping[str, str] = {
    "capacity": "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity"
    " requested for instance type [m5.large]",
    "max resource": "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) associated with the"
    " job queue have a maxvCpus that is smaller than the job requirements.",
    "job resource": "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement"
    " (vCPU, memory or GPU) is higher than what CE(s) associated with the job queue can provide.",
    "service role": "MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS - Batch service role has a"
    " permission issue.",
    "instance configuration": "MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED - The"
    " instance type is not supported with this configuration.",
    "action required": "ACTION_REQUIRED - CE(s) associated with the job queue are invalid.",
    "undetermined": "UNDETERMINED - Batch job is blocked, root cause is undetermined.",
}
CANCELED: Mapping[str, str] = {
    spelling: f"Canceled by JobStateTimeLimit action due to reason: {text.partition(' - ')[0]}"
    for spelling, text in BLOCKED.items()
}

# What ECS's RunTask says of a task that it does not place: ECS developer guide, "API failure
# reasons" and "Service event messages"; AWS re:Post, "Capacity is unavailable".
NOT_PLACED: Mapping[str, str] = {
    "capacity": "Capacity is unavailable at this time. Please try again later or in a different"
    " availability zone",
    "limit": "You\u2019ve reached the limit on the number of vCPUs you can run concurrently",
    "resource": "RESOURCE:MEMORY",
    "missing": "MISSING",
}
