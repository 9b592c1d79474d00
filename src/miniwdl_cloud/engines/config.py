"""What the engines read from miniwdl's configuration, once, as frozen values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .. import settings
from ..errors import ConfigurationError, UsageError
from ..housekeeping.space import check_space
from ..workflow_job import workflow_job_id
from .task_settings import check_mapping


class ConfigLoader(Protocol):
    """The part of miniwdl's configuration loader that is needed here."""

    def has_option(self, section: str, key: str) -> bool:
        """Whether anything says this option."""

    def get(self, section: str, key: str) -> str:
        """Its text."""


@dataclass(frozen=True)
class EngineSettings:
    """Settings of the Batch engines; see `miniwdl_cloud.settings` for their meaning.

    JSON objects are kept as their canonical text, so that the whole can be compared and hashed.
    """

    region: str | None
    mount: str
    task_queue: str
    task_queue_fallback: str | None
    fs: str | None
    fsap: str | None
    efs_iam: bool
    output_hardlinks: bool
    isolation: str
    task_role: str | None
    event_queue: str | None
    job_timeout_s: int
    describe_period_s: float
    submit_period_s: float
    array_jobs_min: int
    retry_wait_s: float
    memory_retry_factor: float
    blocked_wait_s: float
    container_sync: bool
    gpu_value: int
    memory_delta_mib: int
    container_properties: str
    job_tags: str
    boto3_retries: str
    accounting_dir: str
    adopt: bool
    parent_job_id: str | None
    parent_attempt: int = 1
    usage_period_s: int = 10
    budget_usd: float | None = None
    task_queues: tuple[str, ...] = ()
    task_settings: str = "{}"
    small_tasks_vcpus: float = 0.0

    @property
    def queues(self) -> tuple[str, ...]:
        """The Batch job queues that tasks may use, the default one first."""
        named = (self.task_queue, self.task_queue_fallback, *self.task_queues)
        return tuple(dict.fromkeys(queue for queue in named if queue))

    @property
    def task_settings_dict(self) -> dict[str, dict[str, Any]]:
        """Task settings by patterns of task names, in their order."""
        return dict(json.loads(self.task_settings))

    @property
    def container_properties_dict(self) -> dict[str, Any]:
        """Further members of containerProperties."""
        return dict(json.loads(self.container_properties))

    @property
    def job_tags_dict(self) -> dict[str, str]:
        """Tags for every job."""
        return {str(k): str(v) for k, v in json.loads(self.job_tags).items()}


def read_settings(
    cfg: ConfigLoader,
    environ: Mapping[str, str] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    mount: str | None = None,
    on_batch: bool = True,
) -> EngineSettings:
    """Read the engines' settings.

    Parameters
    ----------
    cfg
        miniwdl's configuration, in which the environment already ranks above the .cfg file.
    environ
        The process environment.
    tags
        Tags of the workflow job queue, for what nothing else says.
    mount
        Mount point of the shared filesystem, if it is not ``[file_io] root``.
    on_batch
        Whether the engine runs tasks as Batch jobs, and needs a task queue.

    Raises
    ------
    UsageError
        A setting does not have its type.
    ConfigurationError
        The mount point or the task queue is not set, or the filesystem there is nearly full.
    """
    environ = settings.environment() if environ is None else environ
    found = settings.Settings(
        lambda section, key: cfg.get(section, key) if cfg.has_option(section, key) else None
    )
    for setting in settings.ALL:
        # miniwdl warns of options that nobody reads; other parts of this package read the rest.
        if cfg.has_option(setting.section, setting.key):
            cfg.get(setting.section, setting.key)
    own = found
    found = found.with_tags(tags or {})
    mount = str(mount or found.get(settings.FILE_IO_ROOT) or "").rstrip("/")
    if not mount.startswith("/"):
        raise ConfigurationError(
            "Set [file_io] root (MINIWDL__FILE_IO__ROOT) to the directory that the shared"
            " filesystem is mounted at."
        )
    queue = found.get(settings.TASK_QUEUE) or ""
    if on_batch and not queue:
        raise ConfigurationError(
            "Set [aws] task_queue (MINIWDL__AWS__TASK_QUEUE) to the Batch job queue for tasks."
        )
    isolation = found.get(settings.ISOLATION) or ("shared" if on_batch else "strict")
    if isolation not in ("shared", "strict"):
        raise UsageError("Set [aws] isolation (MINIWDL__AWS__ISOLATION) to shared or to strict.")
    task_settings = found.get(settings.TASK_SETTINGS)
    check_mapping(task_settings, f"[aws] task_settings ({settings.TASK_SETTINGS.env})")
    check_space(Path(mount), found)
    fs = found.get(settings.FS)
    events = found.get(settings.EVENT_QUEUE)
    return EngineSettings(
        region=found.get(settings.REGION),
        mount=mount,
        task_queue=queue,
        task_queue_fallback=found.get(settings.TASK_QUEUE_FALLBACK),
        fs=None if fs is None or settings.is_false(fs) else fs,
        # Somebody who names a file system does not mean the deployment's access point.
        fsap=(own if own.get(settings.FS) else found).get(settings.FSAP),
        efs_iam=found.get(settings.EFS_IAM),
        output_hardlinks=found.get(settings.FILE_IO_HARDLINKS),
        isolation=isolation,
        task_role=found.get(settings.TASK_ROLE),
        event_queue=None if events is None or settings.is_false(events) else events,
        job_timeout_s=max(60, found.get(settings.JOB_TIMEOUT)),
        describe_period_s=found.get(settings.DESCRIBE_PERIOD),
        submit_period_s=found.get(settings.SUBMIT_PERIOD),
        array_jobs_min=found.get(settings.ARRAY_JOBS_MIN),
        retry_wait_s=found.get(settings.RETRY_WAIT),
        memory_retry_factor=found.get(settings.MEMORY_RETRY_FACTOR),
        blocked_wait_s=found.get(settings.BLOCKED_WAIT),
        container_sync=found.get(settings.CONTAINER_SYNC),
        gpu_value=found.get(settings.GPU_VALUE),
        memory_delta_mib=found.get(settings.MEMORY_DELTA),
        container_properties=_canonical(found.get(settings.CONTAINER_PROPERTIES)),
        job_tags=_canonical(found.get(settings.JOB_TAGS)),
        boto3_retries=_canonical(found.get(settings.BOTO3_RETRIES)),
        accounting_dir=str(Path(mount) / found.get(settings.ACCOUNTING_DIR)),
        adopt=found.get(settings.ADOPT),
        parent_job_id=workflow_job_id(environ),
        parent_attempt=_attempt(environ.get("AWS_BATCH_JOB_ATTEMPT")),
        usage_period_s=max(0, found.get(settings.LOG_TASK_USAGE_PERIOD)),
        budget_usd=_budget(found.get(settings.BUDGET)),
        task_queues=settings.names(found.get(settings.TASK_QUEUES)),
        # In its own order, which counts.
        task_settings=json.dumps(task_settings),
        small_tasks_vcpus=found.get(settings.SMALL_TASKS_ON_FARGATE),
    )


def _budget(dollars: float | None) -> float | None:
    if dollars is not None and not (math.isfinite(dollars) and dollars > 0):
        raise UsageError(
            f"Set [aws] budget ({settings.BUDGET.env}) to a number of US dollars above 0."
        )
    return dollars


def _attempt(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 1


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
