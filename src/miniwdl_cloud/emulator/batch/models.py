"""What the emulated Batch service holds: environments, queues, definitions, jobs."""

from __future__ import annotations

import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ..executors.base import RunningContainer
from ..faults.endings import Ending

ACCOUNT_ID = "123456789012"

SUBMITTED = "SUBMITTED"
PENDING = "PENDING"
RUNNABLE = "RUNNABLE"
STARTING = "STARTING"
RUNNING = "RUNNING"
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
STATUSES = (SUBMITTED, PENDING, RUNNABLE, STARTING, RUNNING, SUCCEEDED, FAILED)
TERMINAL = frozenset({SUCCEEDED, FAILED})
BEFORE_STARTING = frozenset({SUBMITTED, PENDING, RUNNABLE})


def now_ms() -> int:
    """Milliseconds since the epoch, as Batch's timestamps."""
    return int(time.time() * 1000)


@dataclass
class ComputeEnvironment:
    """A compute environment, and how many of its vCPUs are taken."""

    name: str
    arn: str
    detail: dict[str, Any]
    vcpus_used: float = 0.0

    @property
    def resources(self) -> dict[str, Any]:
        """Its computeResources; empty for an unmanaged one."""
        return self.detail.get("computeResources") or {}

    @property
    def is_fargate(self) -> bool:
        """Whether its jobs run on Fargate."""
        return str(self.resources.get("type", "")).startswith("FARGATE")

    @property
    def max_vcpus(self) -> float:
        """vCPUs that it may grow to."""
        return float(self.resources.get("maxvCpus", self.detail.get("unmanagedvCpus", 0)))


@dataclass
class JobQueue:
    """A job queue, and its jobs that wait for room, oldest first."""

    name: str
    arn: str
    detail: dict[str, Any]
    environments: list[ComputeEnvironment]
    runnable: deque[Job] = field(default_factory=deque)
    misfits: dict[str, Job] = field(default_factory=dict)

    @property
    def is_fargate(self) -> bool:
        """Whether its jobs run on Fargate."""
        return any(environment.is_fargate for environment in self.environments)


@dataclass
class JobDefinition:
    """One revision of a job definition."""

    name: str
    revision: int
    arn: str
    detail: dict[str, Any]

    @property
    def is_active(self) -> bool:
        """Whether jobs may be submitted with it."""
        return bool(self.detail["status"] == "ACTIVE")

    @property
    def is_fargate(self) -> bool:
        """Whether it asks for Fargate."""
        return "FARGATE" in self.detail.get("platformCapabilities", ())


@dataclass
class Attempt:
    """One attempt of a job: one ECS task on AWS."""

    number: int
    environment: ComputeEnvironment
    task_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    container_instance_arn: str | None = None
    task_arn: str | None = None
    log_stream: str | None = None
    started_at: int | None = None
    stopped_at: int | None = None
    exit_code: int | None = None
    reason: str | None = None
    status_reason: str | None = None
    timed_out: bool = False
    interrupted: bool = False
    ending: Ending | None = None
    stopping: bool = False
    handle: RunningContainer | None = None


@dataclass
class Job:
    """A job, an array job (``children`` not None) or a child of one (``parent`` not None)."""

    id: str
    arn: str
    name: str
    queue: JobQueue
    definition: JobDefinition
    created_at: int
    container: dict[str, Any]
    parameters: dict[str, str]
    vcpus: float
    memory_mib: int
    gpus: int
    tags: dict[str, str]
    retry_strategy: dict[str, Any]
    timeout_s: int | None
    request: dict[str, Any]
    status: str = SUBMITTED
    status_reason: str | None = None
    started_at: int | None = None
    stopped_at: int | None = None
    runnable_at: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    parent: Job | None = None
    index: int | None = None
    children: list[Job] | None = None
    child_counts: dict[str, int] = field(default_factory=dict)
    waits_for: set[str] = field(default_factory=set)
    dependents: list[Job] = field(default_factory=list)
    is_cancelled: bool = False
    is_terminated: bool = False
    stop_reason: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self.status in TERMINAL

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that runs, or else the last one."""
        return self.attempts[-1] if self.attempts else None
