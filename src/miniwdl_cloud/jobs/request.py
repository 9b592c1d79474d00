"""What an engine asks for, and what a queue service tells about it."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Definition:
    """What a job definition holds, in the queue service's own terms.

    Parameters
    ----------
    content
        Canonical JSON of the registration request, without its name.
    prefix
        What names made of this content begin with.
    """

    content: str
    prefix: str = "miniwdl-cloud-task"

    @classmethod
    def of(cls, request: Mapping[str, Any], prefix: str = "miniwdl-cloud-task") -> Definition:
        """The definition with this content."""
        return cls(json.dumps(request, sort_keys=True, separators=(",", ":")), prefix)

    @property
    def name(self) -> str:
        """Named by the hash of what it holds, so that equal ones are reused, across runs too."""
        return f"{self.prefix}-{hashlib.sha256(self.content.encode()).hexdigest()[:24]}"


@dataclass(frozen=True)
class Resources:
    """What a job reserves.

    Parameters
    ----------
    vcpus
        CPUs; whole ones on machines, while Fargate has quarters too.
    memory_mib
        Hard memory limit in MiB.
    gpus
        Number of GPUs.
    storage_gib
        Ephemeral storage in GiB; 0 for what the service gives by itself.
    """

    vcpus: float = 1
    memory_mib: int = 991
    gpus: int = 0
    storage_gib: int = 0


@dataclass(frozen=True)
class ArrayItem:
    """What tells a job from the others of an array job that it may be part of.

    Parameters
    ----------
    directory
        A directory of the job's own that all jobs see.
    line
        The job's line in the array's manifest; no line end in it.
    environment
        The same as variables, for a job that is submitted alone.
    attempt
        Which attempt at its task it is.
    cache_key
        Equal for tasks that do the same on the same inputs; empty if unknown.
    """

    directory: str
    line: str
    environment: tuple[tuple[str, str], ...] = ()
    attempt: int = 1
    cache_key: str = ""


@dataclass(frozen=True)
class JobRequest:
    """One job, ready to be submitted.

    Parameters
    ----------
    name
        Unique: a submission in doubt is looked up by it.
    queue
        Job queue, name or ARN.
    definition
        What the job's definition holds.
    resources
        What it reserves.
    environment
        Variables that it shares with the other jobs of its kind.
    timeout_s
        Seconds an attempt may run.
    tags
        Tags of the job, the name of its call among them, so that those of an array job are of one
        call and can be counted by its tags.
    share_identifier, scheduling_priority
        For a job queue with a fair-share policy.
    item
        What is its own.
    may_coalesce
        Whether it may be submitted as part of an array job.
    """

    name: str
    queue: str
    definition: Definition
    resources: Resources = Resources()
    environment: tuple[tuple[str, str], ...] = ()
    timeout_s: int = 86400
    tags: tuple[tuple[str, str], ...] = ()
    share_identifier: str | None = None
    scheduling_priority: int | None = None
    item: ArrayItem = ArrayItem("", "")
    may_coalesce: bool = False

    @property
    def kind(self) -> Hashable:
        """Equal for jobs that one array job can hold: children differ in their item alone."""
        return (
            self.queue,
            self.definition,
            self.resources,
            self.environment,
            self.timeout_s,
            self.tags,
            self.share_identifier,
            self.scheduling_priority,
        )


class JobState(str, enum.Enum):
    """The states of AWS Batch, in its order (Batch user guide, "Job states")."""

    SUBMITTED = "SUBMITTED"
    PENDING = "PENDING"
    RUNNABLE = "RUNNABLE"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self in (JobState.SUCCEEDED, JobState.FAILED)


@dataclass(frozen=True)
class JobSnapshot:
    """What the queue service said of a job when last asked.

    Parameters
    ----------
    exit_code
        Of the container, where known.
    reason
        The container's reason.
    status_reason
        The job's reason.
    attempt_reasons
        Reasons of the job's attempts, container's and attempt's own; some failures show only there.
    log_stream
        Name of the container's log stream, where known.
    stop_code
        ECS's word for what stopped a task.
    terminated
        Whether somebody asked for its end.
    children
        For an array job: how many of its children are in each state.
    detail
        The answer itself, JSON-able.
    """

    job_id: str
    state: JobState
    exit_code: int | None = None
    reason: str | None = None
    status_reason: str | None = None
    attempt_reasons: tuple[str, ...] = ()
    log_stream: str | None = None
    stop_code: str | None = None
    terminated: bool = False
    children: Mapping[JobState, int] = field(default_factory=dict, compare=False)
    detail: Mapping[str, Any] = field(default_factory=dict, compare=False)
