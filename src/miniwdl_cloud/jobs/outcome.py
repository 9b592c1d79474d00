"""What an ended job means: a pure function from what the API and the task's own file said.

The task script records start, end and exit code beside the task (`TaskResult`). That word decides
where the API's is missing or wrong: a host can be lost after the command finished, and exit codes
of killed containers disagree (amazon-ecs-agent#1187, #2467; nextflow#3091).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from .request import JobSnapshot, JobState


class Verdict(enum.Enum):
    """What an ended job means for its task."""

    SUCCESS = "success"
    COMMAND_FAILED = "command failed"
    OUT_OF_MEMORY = "out of memory"
    INTERRUPTED = "interrupted"
    """Not the task's fault: a spot machine was taken away."""
    INFRASTRUCTURE = "interrupted by infrastructure"
    """Not the task's fault either: something in AWS failed, and may do so again for a while."""
    TIMEOUT = "timeout"
    FATAL = "fatal"
    """The image or the configuration; trying again cannot help."""
    TERMINATED = "terminated"
    """Somebody ended the job from outside."""
    FAILED = "failed"
    """A failure that no rule knows; the raw text goes along."""


@dataclass(frozen=True)
class TaskResult:
    """What the task script recorded beside the task.

    Parameters
    ----------
    exit_code
        Of the task's command; ``None`` while it has not ended.
    peak_memory_bytes
        Highest memory use of the container, where the kernel tells.
    start, end
        Seconds since the epoch.
    """

    exit_code: int | None = None
    peak_memory_bytes: int | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class JobOutcome:
    """A verdict, with what a person needs to know.

    Parameters
    ----------
    exit_code
        Of the task's command, where it has one.
    message
        What happened and what to do.
    more_info
        JSON-able details for error.json.
    """

    verdict: Verdict
    exit_code: int | None
    message: str
    more_info: dict[str, Any] = field(default_factory=dict)


# Beginnings of container reasons, as ECS writes them; matched in order, anywhere in the text.
_IMAGE_FATAL = (
    "not found",
    "manifest unknown",
    "unauthorized",
    "denied",
    "does not exist",
    "no such image",
    "invalid reference format",
)
_INFRASTRUCTURE = (
    "DockerTimeoutError",
    "ContainerRuntimeTimeoutError",
    "CannotInspectContainerError",
    "CannotCreateVolumeError",
    "failed to invoke EFS utils commands",
    "CannotPullContainerError",
    "InternalError",
    # What ECS says of tasks: repost.aws, "Why is my Amazon ECS task stopped?".
    "Capacity is unavailable at this time",
    "reached the limit on the number of",
    "network interface provisioning",
    "ECS is performing maintenance",
)
_CONFIGURATION = ("CannotStartContainerError", "CannotCreateContainerError")
_INITIALIZATION = "ResourceInitializationError"
# What fails a pull or a start without the image's or the configuration's fault, in lower case.
_PASSING = (
    "timeout",
    "timed out",
    "deadline exceeded",
    "context canceled",
    "toomanyrequests",
    "too many requests",
    "rate exceeded",
    "no space left",
    "connection reset",
    "internal server error",
    "bad gateway",
    "service unavailable",
)
# `stopCode` of a Fargate task that Spot took away (nextflow#5786; botocore's `ecs` model,
# `TaskStopCode`).
_SPOT_CODES = ("SpotInterruption", "TerminationNotice")
_TIME_LIMIT = "Canceled by JobStateTimeLimit"
# Exit codes of the task script itself; the record has none then.
FILESYSTEM_FULL = 121
STOOD_DOWN = 122
FILESYSTEM_FAILS = 125
_KILLED = 137
"""Exit code of a process that was ended by SIGKILL, as the kernel does when memory runs out."""


_LOST = "the queue service does not know the job any more"


def lost(job_id: str) -> JobSnapshot:
    """What stands for the end of a job that the queue service has not known for minutes, as ECS
    forgets tasks an hour after their end: its own record alone tells how it ended."""
    return JobSnapshot(job_id, JobState.FAILED, status_reason=_LOST)


def classify(snapshot: JobSnapshot, result: TaskResult | None) -> JobOutcome:
    """The verdict over an ended job.

    Parameters
    ----------
    snapshot
        What the API said of the job, in a state that has ended.
    result
        What the task script recorded, if its file is there.
    """
    info: dict[str, Any] = {"jobId": snapshot.job_id}
    if snapshot.log_stream:
        info["logStreamName"] = snapshot.log_stream
    if snapshot.reason:
        info["reason"] = snapshot.reason
    if snapshot.status_reason:
        info["statusReason"] = snapshot.status_reason
    if result is not None and result.peak_memory_bytes is not None:
        info["peakMemoryBytes"] = result.peak_memory_bytes
    recorded = result.exit_code if result is not None else None

    if snapshot.state is JobState.SUCCEEDED:
        return JobOutcome(Verdict.SUCCESS, snapshot.exit_code or 0, "succeeded", info)
    if recorded == 0:
        info["note"] = "the command had finished before the job failed"
        return JobOutcome(Verdict.SUCCESS, 0, "succeeded; the job failed afterwards", info)

    verdict, message = _failed(snapshot, recorded)
    exit_code = recorded if recorded is not None else snapshot.exit_code
    info["verdict"] = verdict.value
    return JobOutcome(verdict, exit_code, f"{message} (job {snapshot.job_id})", info)


def _failed(snapshot: JobSnapshot, recorded: int | None) -> tuple[Verdict, str]:
    texts = [t for t in (snapshot.status_reason, snapshot.reason) if t]
    texts += snapshot.attempt_reasons
    everything = " | ".join(dict.fromkeys(texts))
    reason = snapshot.reason or next(
        (t for t in snapshot.attempt_reasons if "Error:" in t), snapshot.status_reason or ""
    )

    # Exit codes of SIGKILL and SIGTERM say that the command was stopped, not how it did.
    cut_short = recorded in (None, _KILLED, 143)
    passing = any(word in everything.lower() for word in _PASSING)
    if cut_short and any(t.startswith("Host EC2") for t in texts):
        return Verdict.INTERRUPTED, "the instance was taken away (spot) or lost"
    if snapshot.stop_code in _SPOT_CODES or "Your Spot Task was interrupted" in everything:
        return Verdict.INTERRUPTED, "the Fargate Spot task was interrupted"
    if "OutOfMemoryError" in everything:
        return (
            Verdict.OUT_OF_MEMORY,
            "the container was killed because it used more memory than the task asked for;"
            " raise the task's `memory`",
        )
    if (
        "CannotPullContainerError" in everything
        and not passing
        and any(word in everything.lower() for word in _IMAGE_FATAL)
    ):
        return Verdict.FATAL, f"the container image could not be pulled: {reason}"
    if recorded is None and snapshot.status_reason == _LOST:
        return Verdict.INFRASTRUCTURE, _LOST
    if _INITIALIZATION in everything and "failed to invoke EFS utils commands" not in everything:
        return Verdict.FATAL, f"the container could not be set up: {reason}"
    not_started = any(word in everything for word in _CONFIGURATION)
    if not_started and not passing:
        return Verdict.FATAL, f"the container could not be started: {reason}"
    if cut_short and (not_started or any(word in everything for word in _INFRASTRUCTURE)):
        full = "no space left" in everything.lower()
        what = "the instance's disk is full" if full else "the infrastructure failed"
        return Verdict.INFRASTRUCTURE, f"{what}: {reason}"
    if "Container Overrides length must be at most" in everything:
        return Verdict.FATAL, f"the job's overrides are too long for ECS: {reason}"
    if _TIME_LIMIT in everything and "CAPACITY:" in everything:
        return Verdict.INTERRUPTED, f"the queue had no capacity for too long: {reason}"
    if _TIME_LIMIT in everything and "MISCONFIGURATION:" in everything:
        return Verdict.FATAL, f"the queue can never start the job: {reason}"
    if "Job attempt duration exceeded timeout" in everything:
        return Verdict.TIMEOUT, "the attempt ran longer than [aws] job_timeout allows; raise it"
    if cut_short and snapshot.terminated:
        return Verdict.TERMINATED, f"the job was terminated: {snapshot.status_reason}"
    if recorded is None and snapshot.exit_code == FILESYSTEM_FULL:
        return (
            Verdict.FATAL,
            "the shared filesystem is full, or a quota on it is used up; delete what is not needed"
            " there, or enlarge it, and run the workflow again",
        )
    if recorded is None and snapshot.exit_code == FILESYSTEM_FAILS:
        return (
            Verdict.INFRASTRUCTURE,
            "the job could not read or write the shared filesystem; its log says more",
        )
    if recorded is None and snapshot.exit_code == STOOD_DOWN:
        return Verdict.INFRASTRUCTURE, "the job left the task to another one, which nobody sees"
    exit_code = snapshot.exit_code if recorded is None else recorded
    if exit_code:
        who = "container" if recorded is None else "command"
        killed = "; it was killed, possibly for want of memory" if exit_code == _KILLED else ""
        return Verdict.COMMAND_FAILED, f"the {who} ended with exit code {exit_code}{killed}"
    return Verdict.FAILED, f"the job failed: {everything or 'no reason was given'}"
