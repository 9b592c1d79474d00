"""From a task's runtime values to its job: pure functions."""

from __future__ import annotations

import base64
import math
import re
import secrets
from collections.abc import Mapping
from typing import Any

from ..accounting.tagged import CALL_TAG, PARENT_TAG
from ..errors import ConfigurationError
from ..filesystems.base import SharedFilesystem
from ..jobs.request import ArrayItem, Definition, JobRequest, Resources
from ..settings import LOG_TASK_USAGE_PERIOD
from . import task_files
from .batch_queue import alone_definition, resource_requirements
from .config import EngineSettings
from .task_settings import ulimits_of

MIN_MEMORY_MIB = 991
"""Least memory request: 1 GiB with the default `memory_delta`, as existing deployments expect."""

DEFAULT_IMAGE = "ubuntu:20.04"
TAG_VALUE_MAX = 256
"""Characters of a tag's value (API reference, SubmitJob, `tags`)."""
JOB_NAME_MAX = 128
"""Characters of a job name (API reference, SubmitJob, `jobName`)."""


def resources_of(
    runtime: Mapping[str, Any], settings: EngineSettings, least_mib: int = MIN_MEMORY_MIB
) -> Resources:
    """What a task's job reserves.

    Parameters
    ----------
    runtime
        miniwdl's `runtime_values`: ``cpu``, ``memory_reservation`` (bytes), ``gpu``,
        ``acceleratorCount``.
    least_mib
        Least memory in MiB: more than the task asked for, once it has run out.
    """
    mib = math.ceil(runtime.get("memory_reservation", 0) / 2**20) + settings.memory_delta_mib
    gpus = 0
    if runtime.get("gpu"):
        gpus = int(runtime.get("acceleratorCount", settings.gpu_value))
    return Resources(int(runtime.get("cpu", 1)), max(mib, least_mib), max(0, gpus))


def definition_of(
    runtime: Mapping[str, Any],
    filesystem: SharedFilesystem,
    settings: EngineSettings,
    user: str | None,
) -> Definition:
    """The job definition of a task: all that SubmitJob cannot override.

    Parameters
    ----------
    runtime
        miniwdl's `runtime_values`: ``docker``, ``privileged``; and of our task settings in ``aws``,
        ``shared_memory_mib`` and ``ulimits``.
    user
        ``uid:gid`` for ``--as-me``.

    Raises
    ------
    ConfigurationError
        ``[aws] container_properties`` names a member that the engine sets itself.
    """
    properties: dict[str, Any] = {
        "image": runtime.get("docker", DEFAULT_IMAGE),
        "command": ["/bin/bash", "-c", task_files.task_script()],
        "environment": [],
        # Overridden by every submission; a definition must have some all the same.
        "resourceRequirements": resource_requirements(Resources()),
        "privileged": bool(runtime.get("privileged", False)),
        "volumes": filesystem.volumes(),
        "mountPoints": filesystem.mount_points(),
    }
    if settings.task_role:
        properties["jobRoleArn"] = settings.task_role
    if user is not None:
        properties["user"] = user
    for key, value in settings.container_properties_dict.items():
        if key in properties:
            raise ConfigurationError(
                f"[aws] container_properties may not set `{key}`, which the engine sets itself;"
                " remove it."
            )
        properties[key] = value
    asked = runtime.get("aws", {})
    if "shared_memory_mib" in asked:
        linux = properties.get("linuxParameters") or {}
        properties["linuxParameters"] = {**linux, "sharedMemorySize": asked["shared_memory_mib"]}
    if "ulimits" in asked:
        others = [u for u in properties.get("ulimits") or [] if u["name"] not in asked["ulimits"]]
        properties["ulimits"] = [*others, *ulimits_of(asked["ulimits"])]
    return Definition.of({"type": "container", "containerProperties": properties})


def environment_of(shell: str, settings: EngineSettings) -> tuple[tuple[str, str], ...]:
    """What the task script needs to know that all tasks of a kind share."""
    pairs = {"MINIWDL_CLOUD_SHELL": shell}
    if settings.container_sync:
        pairs["MINIWDL_CLOUD_SYNC"] = "1"
    if settings.usage_period_s != LOG_TASK_USAGE_PERIOD.default:
        pairs["MINIWDL_CLOUD_USAGE"] = str(settings.usage_period_s)
    return tuple(pairs.items())


def item_of(task_dir: str, attempt: int, cache_key: str = "") -> ArrayItem:
    """What the task script needs to know of this task alone.

    As a line of an array's manifest: run directory and attempt, a tab between them.
    """
    suffix = task_files.attempt_suffix(attempt)
    return ArrayItem(
        directory=task_dir,
        line=f"{task_dir}\t{suffix}",
        environment=(("MINIWDL_CLOUD_TASK_DIR", task_dir), ("MINIWDL_CLOUD_TRY", suffix)),
        attempt=attempt,
        cache_key=cache_key,
    )


def call_and_shard(run_id: str) -> tuple[str, str]:
    """Call name and shard of a miniwdl run id, such as ``call-align-3-sampleA``: a call name is a
    WDL identifier, which holds no hyphen. A task that runs by itself has no call, but its name."""
    call, _, shard = run_id.removeprefix("call-").partition("-")
    return call, shard


def identity_of(
    *, run: str, task: str, run_id: str, attempt: int, workflow_job: str | None
) -> dict[str, str]:
    """Variables that tell a command who it is; documented in docs/task-settings.md.

    Parameters
    ----------
    run
        Name of the run's directory.
    task
        The task's name in WDL.
    run_id
        miniwdl's run id of the call.
    workflow_job
        Id of the workflow job, if there is one.
    """
    call, shard = call_and_shard(run_id)
    return {
        "MINIWDL_CLOUD_RUN": run,
        "MINIWDL_CLOUD_TASK": task,
        "MINIWDL_CLOUD_CALL": call,
        "MINIWDL_CLOUD_SHARD": shard,
        "MINIWDL_CLOUD_ATTEMPT": str(attempt),
        "MINIWDL_CLOUD_WORKFLOW_JOB_ID": workflow_job or "",
    }


def tags_of(
    settings: EngineSettings, run_id: str, asked: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    """Tags of a task job: the user's, the task's own, which call it is of, and which workflow job
    submitted it.

    Parameters
    ----------
    asked
        The task's settings.
    """
    tags = {**settings.job_tags_dict, **asked.get("tags", {})}
    tags[CALL_TAG] = call_and_shard(run_id)[0][:TAG_VALUE_MAX]
    if settings.parent_job_id:
        tags[PARENT_TAG] = settings.parent_job_id
    return tuple(tags.items())


def unique_job_name(run_id: str, attempt: int) -> str:
    """A job name that no other job has: the call, the attempt, and a random end.

    Parameters
    ----------
    run_id
        miniwdl's run id of the call, such as ``call-align-3-sampleA``.
    """
    suffix = f"-try{attempt}" if attempt > 1 else ""
    suffix += "-" + base64.b32encode(secrets.token_bytes(5)).decode().lower()
    name = re.sub(r"[^A-Za-z0-9_-]", "_", run_id.removeprefix("call-"))
    name = name if name[:1].isalnum() else "t" + name
    return name[: JOB_NAME_MAX - len(suffix)] + suffix


def request_of(
    *,
    run_id: str,
    task_dir: str,
    attempt: int,
    shell: str,
    queue: str,
    runtime: Mapping[str, Any],
    filesystem: SharedFilesystem,
    settings: EngineSettings,
    user: str | None,
    least_mib: int = MIN_MEMORY_MIB,
    cache_key: str = "",
    alone: bool = False,
) -> JobRequest:
    """The whole request of one attempt of a task.

    Parameters
    ----------
    runtime
        miniwdl's `runtime_values`, and our task settings in ``aws``.
    alone
        Whether its definition is for this attempt alone, and has a name that says so.
    """
    asked: Mapping[str, Any] = runtime.get("aws", {})
    return job_request(
        run_id=run_id,
        task_dir=task_dir,
        attempt=attempt,
        shell=shell,
        queue=queue,
        definition=definition_of(runtime, filesystem, settings, user),
        resources=resources_of(runtime, settings, least_mib),
        settings=settings,
        asked=asked,
        cache_key=cache_key,
        alone=alone,
        # A manifest has a line a task, and a tab within it.
        may_coalesce=(
            not alone and asked.get("array", True) and not any(c in task_dir for c in "\t\n")
        ),
    )


def job_request(
    *,
    run_id: str,
    task_dir: str,
    attempt: int,
    shell: str,
    queue: str,
    definition: Definition,
    resources: Resources,
    settings: EngineSettings,
    asked: Mapping[str, Any],
    cache_key: str,
    alone: bool,
    may_coalesce: bool,
) -> JobRequest:
    """The request of one attempt of a task, on whatever queue service.

    Parameters
    ----------
    asked
        The task's settings.
    alone
        Whether its definition is for this attempt alone, and has a name that says so.
    """
    name = unique_job_name(run_id, attempt)
    if alone:
        definition = alone_definition(definition, name[-8:], settings.parent_job_id)
    return JobRequest(
        name=name,
        queue=queue,
        definition=definition,
        resources=resources,
        environment=environment_of(shell, settings),
        timeout_s=settings.job_timeout_s,
        tags=tags_of(settings, run_id, asked),
        share_identifier=asked.get("share_identifier"),
        scheduling_priority=asked.get("scheduling_priority"),
        item=item_of(task_dir, attempt, cache_key),
        may_coalesce=may_coalesce,
    )
