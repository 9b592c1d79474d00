"""What the emulated ECS holds: clusters, task definitions, tasks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ..executors.base import RunningContainer
from ..faults.endings import Ending

FARGATE = "FARGATE"
FARGATE_SPOT = "FARGATE_SPOT"
PROVIDERS = (FARGATE, FARGATE_SPOT)

PROVISIONING = "PROVISIONING"
PENDING = "PENDING"
ACTIVATING = "ACTIVATING"
RUNNING = "RUNNING"
DEACTIVATING = "DEACTIVATING"
STOPPING = "STOPPING"
DEPROVISIONING = "DEPROVISIONING"
STOPPED = "STOPPED"
STATUSES = (
    PROVISIONING,
    PENDING,
    ACTIVATING,
    RUNNING,
    DEACTIVATING,
    STOPPING,
    DEPROVISIONING,
    STOPPED,
)

Tags = dict[str, str]


def now() -> float:
    """Seconds since the epoch to the millisecond, as ECS's timestamps."""
    return round(time.time(), 3)


@dataclass
class Cluster:
    """A cluster; ``detail`` is what DescribeClusters always shows of it."""

    name: str
    arn: str
    detail: dict[str, Any]
    tags: Tags
    settings: list[dict[str, str]]

    @property
    def is_active(self) -> bool:
        """Whether tasks can run in it."""
        return bool(self.detail["status"] == "ACTIVE")


@dataclass
class TaskDefinition:
    """One revision of a family."""

    family: str
    revision: int
    arn: str
    detail: dict[str, Any]
    tags: Tags

    @property
    def is_active(self) -> bool:
        """Whether tasks may be run with it."""
        return bool(self.detail["status"] == "ACTIVE")

    @property
    def container(self) -> dict[str, Any]:
        """Its one container definition."""
        container: dict[str, Any] = self.detail["containerDefinitions"][0]
        return container


@dataclass
class Task:
    """A task. ``container`` is the container definition with the overrides of RunTask; ``times``
    has the timestamps that DescribeTasks shows; ``history`` all states it has been in."""

    id: str
    arn: str
    cluster: Cluster
    definition: TaskDefinition
    request: dict[str, Any]
    container: dict[str, Any]
    cpu: int
    memory_mib: int
    storage_gib: int | None
    tags: Tags
    subnet: str
    provider: str
    by_strategy: bool
    times: dict[str, float] = field(default_factory=lambda: {"createdAt": now()})
    status: str = PROVISIONING
    desired_status: str = RUNNING
    history: list[str] = field(default_factory=lambda: [PROVISIONING])
    version: int = 1
    stop_code: str | None = None
    stopped_reason: str | None = None
    exit_code: int | None = None
    container_reason: str | None = None
    interrupted: bool = False
    ending: Ending | None = None
    stopping: bool = False
    handle: RunningContainer | None = None

    @property
    def name(self) -> str:
        """What fault plans know it by: its tag Name, or else its group."""
        return self.tags.get("Name") or self.group

    @property
    def group(self) -> str:
        """Its task group; that of its family, if RunTask names none."""
        return str(self.request.get("group") or f"family:{self.definition.family}")

    @property
    def is_spot(self) -> bool:
        """Whether it may be interrupted."""
        return self.provider == FARGATE_SPOT
