"""What the engine `aws_fargate` reads from miniwdl's configuration, and finds out about its
deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .. import settings
from ..aws.batch import BatchClient
from ..aws.discovery import Queue, look_up_queues
from ..aws.session import AwsSession
from ..errors import AccessDenied, ConfigurationError, UsageError
from .config import ConfigLoader, EngineSettings, read_settings
from .ecs_place import EcsPlace, find_place


@dataclass(frozen=True)
class FargateSettings(EcsPlace):
    """Settings of the Fargate engine; see `miniwdl_cloud.settings` for their meaning.

    Parameters
    ----------
    common
        Those that it shares with the Batch engines.
    region
        The Region, wherever it was found.
    cpu_units, memory_mib
        What a task gets that does not say.
    """

    common: EngineSettings
    region: str
    cpu_units: int
    memory_mib: int
    execute_command: bool
    definition_period_s: float
    spot_wait_s: float


def read_fargate_settings(
    cfg: ConfigLoader, environ: Mapping[str, str] | None = None
) -> FargateSettings:
    """Read the settings; what they leave open is looked up at the workflow job queue: the one that
    is named, or else the one that this workflow job was submitted to.

    Parameters
    ----------
    cfg
        miniwdl's configuration, in which the environment already ranks above the .cfg file.
    environ
        The process environment.

    Raises
    ------
    UsageError
        A setting does not have its type.
    ConfigurationError
        A setting is missing.
    NotFound
        There is no such workflow job queue.
    """
    environ = settings.environment() if environ is None else environ
    found = settings.Settings(
        lambda section, key: cfg.get(section, key) if cfg.has_option(section, key) else None
    )
    session = AwsSession(found.get(settings.REGION), found.get(settings.BOTO3_RETRIES))
    queue = _workflow_queue(found, environ, session)
    tags = queue.tags if queue else {}
    found = found.with_tags(tags)
    mount = _mount(found)
    common = read_settings(cfg, environ, tags=tags, mount=mount, on_batch=False)
    role = found.get(settings.FARGATE_TASK_ROLE) or common.task_role
    file_system = found.get(settings.FARGATE_EFS_ID)
    # ECS knows no timeout, and so no least one as Batch has it.
    timeout_s = max(1, found.get(settings.JOB_TIMEOUT))
    common = replace(common, task_role=role, job_timeout_s=timeout_s)
    if file_system:
        common = replace(common, fs=file_system)
    place = find_place(found, queue)
    cpu, memory = found.get(settings.FARGATE_CPU_SHARES), found.get(settings.FARGATE_MEMORY_MB)
    if cpu < 1 or memory < 1:
        raise UsageError("[aws_fargate] default_cpu_shares and default_memory_mb must be above 0.")
    return FargateSettings(
        **vars(place),
        common=common,
        region=session.region,
        cpu_units=cpu,
        memory_mib=memory,
        execute_command=found.get(settings.FARGATE_EXECUTE_COMMAND),
        definition_period_s=found.get(settings.FARGATE_DEFINITION_PERIOD),
        spot_wait_s=found.get(settings.FARGATE_SPOT_WAIT),
    )


def _workflow_queue(
    found: settings.Settings, environ: Mapping[str, str], session: AwsSession
) -> Queue | None:
    """The workflow job queue, if anything is left for it to say."""
    name = found.get(settings.WORKFLOW_QUEUE) or environ.get("AWS_BATCH_JQ_NAME")
    needed = (
        settings.FARGATE_CLUSTER,
        settings.FARGATE_SUBNETS,
        settings.FARGATE_SECURITY_GROUPS,
        settings.FARGATE_EXECUTION_ROLE,
        settings.FARGATE_LOG_GROUP,
    )
    if not name or all(found.get(setting) for setting in needed):
        return None
    wanted = [(name, "workflow queue ([aws] workflow_queue)")]
    try:
        (queue,) = look_up_queues(BatchClient(session), wanted)
    except AccessDenied:
        if found.get(settings.FARGATE_CLUSTER) and found.get(settings.FARGATE_SUBNETS):
            # What is necessary is there.
            return None
        raise
    return queue


def _mount(found: settings.Settings) -> str | None:
    """The mount point, if it is not ``[file_io] root``; that has to be in it then."""
    mount: str | None = found.get(settings.FARGATE_EFS_MOUNTPOINT)
    root = str(found.get(settings.FILE_IO_ROOT) or "/").rstrip("/")
    if mount is None or not root:
        return mount
    mount = mount.rstrip("/")
    if root != mount and not root.startswith(mount + "/"):
        raise ConfigurationError(
            f"[file_io] root {root} is not on the file system that is mounted at {mount}; correct"
            f" it, or [aws_fargate] efs_mountpoint ({settings.FARGATE_EFS_MOUNTPOINT.env})."
        )
    return mount
