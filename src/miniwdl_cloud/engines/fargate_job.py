"""From a task's runtime values to its ECS task on Fargate: pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError
from ..fargate_sizes import smallest_size
from ..filesystems.base import SharedFilesystem
from ..jobs.request import Definition, JobRequest, Resources
from . import task_files
from .ecs_queue import CONTAINER, LOG_PREFIX
from .fargate_config import FargateSettings
from .task_job import DEFAULT_IMAGE, job_request
from .task_settings import ulimits_of

STORAGE_GIB = (21, 200)
"""Least and most ephemeral storage that can be asked for (API reference, EphemeralStorage)."""
INCLUDED_GIB = 20
"""Ephemeral storage of a task that does not ask (ECS developer guide, "Fargate task ephemeral
storage")."""
ARCHITECTURES = ("X86_64", "ARM64")
_UNITS = {"": 1.0, "G": 1.0, "M": 1 / 1024, "T": 1024.0, "K": 1 / 1024**2}


@dataclass(frozen=True)
class Size:
    """What a task asks for, and what it gets.

    Parameters
    ----------
    vcpus, memory_mib, storage_gib
        What it asks for; storage 0 if it does not say.
    given
        What Fargate has.
    """

    vcpus: float
    memory_mib: int
    storage_gib: int
    given: Resources

    @property
    def is_less(self) -> bool:
        """Whether it gets less than it asks for: Fargate has no more."""
        return (
            self.given.vcpus < self.vcpus
            or self.given.memory_mib < self.memory_mib
            or 0 < self.given.storage_gib < self.storage_gib
        )


def size_of(runtime: Mapping[str, Any], settings: FargateSettings, least_mib: int = 0) -> Size:
    """The size of a task.

    Parameters
    ----------
    runtime
        `runtime_values`: ``cpu``, ``memory_reservation`` (bytes), ``disks_gib``.
    least_mib
        Least memory in MiB: more than the task asked for, once it has run out.
    """
    vcpus = float(runtime["cpu"]) if "cpu" in runtime else settings.cpu_units / 1024
    memory = settings.memory_mib
    if "memory_reservation" in runtime:
        memory = math.ceil(runtime["memory_reservation"] / 2**20)
    memory = max(memory, least_mib)
    storage = int(runtime.get("disks_gib", 0))
    cpus, mib = smallest_size(vcpus, memory)
    gib = min(max(storage, STORAGE_GIB[0]), STORAGE_GIB[1]) if storage > INCLUDED_GIB else 0
    return Size(vcpus, memory, storage, Resources(cpus, mib, 0, gib))


def disks_gib(text: str) -> int | None:
    """GiB that a task's `disks` asks for, whole; ``None`` if the text is not understood.

    The sum of all disks: a task on Fargate has one. Both Cromwell's ``local-disk 100 SSD`` and
    WDL 1.2's ``/mnt/data 100 GiB`` are known (WDL 1.2 specification, "disks").
    """
    total = 0.0
    for disk in text.split(","):
        found = re.fullmatch(
            r"\s*(?:(?:local-disk|/\S*)\s+)?(\d+(?:\.\d+)?)\s*(?:([KMGT])i?B?)?"
            r"(?:\s+(?:SSD|HDD|LOCAL))?\s*",
            disk,
            re.IGNORECASE,
        )
        if found is None:
            return None
        total += float(found[1]) * _UNITS[(found[2] or "").upper()]
    return math.ceil(total)


def check_runtime(runtime: Mapping[str, Any]) -> None:
    """Refuse what Fargate does not have.

    Raises
    ------
    ConfigurationError
        The task asks for it.
    """
    for value, what in (("gpu", "GPUs"), ("privileged", "privileged containers")):
        if runtime.get(value):
            raise ConfigurationError(
                f"Fargate has no {what}; run the task with the engine aws_batch_job, or take"
                f" `{value}` out of its runtime section."
            )


def architecture_of(text: str) -> str:
    """A CPU architecture as ECS spells it.

    Raises
    ------
    ConfigurationError
        Fargate has no such architecture.
    """
    known = {"AMD64": "X86_64", "X86-64": "X86_64", "AARCH64": "ARM64"}
    wanted = text.strip().upper()
    wanted = known.get(wanted, wanted)
    if wanted not in ARCHITECTURES:
        raise ConfigurationError(
            f"Fargate has no CPU architecture {text!r}; use X86_64 or ARM64 in the task's"
            " runtime.cpuArchitecture."
        )
    return wanted


def definition_of(
    runtime: Mapping[str, Any],
    filesystem: SharedFilesystem,
    settings: FargateSettings,
    user: str | None,
) -> Definition:
    """The task definition of a task: all that RunTask cannot override.

    Parameters
    ----------
    runtime
        `runtime_values`: ``docker``, ``cpuArchitecture``; and of our task settings in ``aws``,
        ``ulimits``.
    user
        ``uid:gid`` for ``--as-me``.

    """
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": runtime.get("docker", DEFAULT_IMAGE),
        "essential": True,
        # In place of the image's own entry point, which need not be a shell.
        "entryPoint": ["/bin/bash", "-c"],
        "command": [task_files.task_script()],
        "mountPoints": filesystem.mount_points(),
    }
    if user is not None:
        container["user"] = user
    if "ulimits" in runtime.get("aws", {}):
        container["ulimits"] = ulimits_of(runtime["aws"]["ulimits"])
    if settings.log_group:
        container["logConfiguration"] = {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": settings.log_group,
                "awslogs-region": settings.region,
                "awslogs-stream-prefix": LOG_PREFIX,
                # Standard error is on the shared filesystem; a task need not wait for its log.
                "mode": "non-blocking",
                "max-buffer-size": "25m",
            },
        }
    architecture = runtime.get("cpuArchitecture", ARCHITECTURES[0])
    # The size is overridden by every RunTask; a definition must have one all the same.
    content: dict[str, Any] = {
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "1024",
        "memory": "2048",
        "runtimePlatform": {"cpuArchitecture": architecture, "operatingSystemFamily": "LINUX"},
        "volumes": filesystem.volumes(),
        "containerDefinitions": [container],
    }
    if settings.execution_role:
        content["executionRoleArn"] = settings.execution_role
    if settings.common.task_role:
        content["taskRoleArn"] = settings.common.task_role
    return Definition.of(content)


def fargate_request(
    *,
    run_id: str,
    task_dir: str,
    attempt: int,
    shell: str,
    queue: str,
    runtime: Mapping[str, Any],
    filesystem: SharedFilesystem,
    settings: FargateSettings,
    user: str | None,
    resources: Resources,
    cache_key: str = "",
    alone: bool = False,
) -> JobRequest:
    """The whole request of one attempt of a task.

    Parameters
    ----------
    alone
        Whether its definition is for this attempt alone, and has a name that says so.
    """
    return job_request(
        run_id=run_id,
        task_dir=task_dir,
        attempt=attempt,
        shell=shell,
        queue=queue,
        definition=definition_of(runtime, filesystem, settings, user),
        resources=resources,
        settings=settings.common,
        asked=runtime.get("aws", {}),
        cache_key=cache_key,
        alone=alone,
        may_coalesce=False,
    )
