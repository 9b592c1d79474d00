"""Every setting once: its name, type, default and meaning; and where its value comes from.

Precedence, highest first: command line, environment (``MINIWDL__SECTION__KEY``), miniwdl's .cfg
file, tag on the workflow job queue, built-in default. `Settings` holds one source per rank and
looks a setting up in that order. This module alone reads the process environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .setting import RankedSources, Source, read_cfg, read_environment_file
from .setting import Setting as Setting
from .setting import env_name as env_name
from .setting import is_false as is_false
from .setting import mapping_source as mapping_source
from .setting import names as names
from .setting import parse as parse


def _aws(key: str, help: str, **more: Any) -> Setting:
    return Setting("aws", key, help, **more)


REGION = _aws("region", "AWS Region")
TASK_QUEUE = _aws("task_queue", "Batch job queue for task jobs", tag="DefaultTaskQueue")
TASK_QUEUE_FALLBACK = _aws(
    "task_queue_fallback",
    "Batch job queue for a task after `preemptible` interruptions",
    tag="DefaultTaskQueueFallback",
)
TASK_QUEUES = _aws(
    "task_queues",
    "further Batch job queues that tasks may use by their setting `queue` or `fallback`, with"
    " blanks or commas between them",
)
TASK_SETTINGS = _aws(
    "task_settings",
    "JSON object of task settings by the names of tasks, which may have *, such as"
    ' {"bwa_*": {"queue": "big"}}; they come before those in the WDL',
    kind="json",
    default={},
)
SMALL_TASKS_ON_FARGATE = _aws(
    "small_tasks_on_fargate",
    "vCPUs up to which a task without GPU and without setting `engine` runs on Fargate, and all"
    " others on Batch; 0 means that all run with [scheduler] container_backend",
    kind="float",
    default=0.0,
)
WORKFLOW_QUEUE = _aws("workflow_queue", "Batch job queue for the workflow job")
WORKFLOW_ENGINE = _aws(
    "workflow_engine",
    "what runs the workflow job: batch, or fargate for an ECS task; by default fargate where an ECS"
    " cluster is named and no workflow queue, else batch",
)
WORKFLOW_ROLE = _aws(
    "workflow_role",
    "ARN of the IAM role of the workflow job (job role and execution role)",
    tag="WorkflowEngineRoleArn",
)
TASK_ROLE = _aws(
    "task_role", "ARN of the IAM role of task jobs (job role)", tag="DefaultTaskRoleArn"
)
EVENT_QUEUE = _aws(
    "event_queue",
    "URL of the SQS queue that tells of task jobs' state changes; 0 means none: Batch is asked",
    tag="DefaultEventQueueUrl",
)
WORKFLOW_IMAGE = _aws("workflow_image", "container image of the workflow job")
FS = _aws(
    "fs",
    "EFS file system id, or ARN of an S3 Files file system (for miniwdl-aws-submit: or FSx for"
    " Lustre id); 0 means none of these (a filesystem mounted by the host)",
    tag="DefaultFsid",
)
FSAP = _aws("fsap", "EFS access point id, or ARN of an S3 Files access point", tag="DefaultFsap")
EFS_IAM = _aws(
    "efs_iam",
    "mount EFS with the permissions of a job's role: `workflow_role` and `task_role`",
    kind="bool",
    default=False,
)
ISOLATION = _aws(
    "isolation",
    "what of the shared filesystem a task sees: all of it (shared), or its own files and inputs"
    " (strict); by default strict on Fargate, and shared on Batch",
)
STAGE_URI = _aws(
    "stage_uri",
    "S3 location (s3://bucket/prefix) for WDL source code and local input files",
    tag="DefaultStageUri",
)
MOUNT = _aws("mount", "mount point of the shared filesystem in every container", tag="DefaultMount")
S3_UPLOAD_FOLDER = _aws("s3_upload_folder", "S3 location for logs and outputs")
DELETE_AFTER = _aws(
    "delete_after_s3_upload",
    "delete the run directory after upload: success, failure or always",
    aliases=("s3_upload_delete_after",),
)
S3_REQUESTER_PAYS = _aws(
    "s3_requester_pays",
    "pay for requests to buckets whose owners leave that to whoever asks (requester pays)",
    kind="bool",
    default=False,
)
S3_KMS_KEY = _aws(
    "s3_kms_key",
    "id, ARN or alias of the AWS KMS key that uploads are encrypted with; by default the bucket's"
    " own configuration decides",
)
JOB_TIMEOUT = _aws("job_timeout", "seconds an attempt may run", kind="int", default=86400)
DESCRIBE_PERIOD = _aws(
    "describe_period", "seconds between looks at a running job", kind="float", default=1.0
)
SUBMIT_PERIOD = _aws(
    "submit_period", "least seconds between two SubmitJob calls", kind="float", default=0.025
)
ARRAY_JOBS_MIN = _aws(
    "array_jobs_min",
    "least number of like tasks that wait at the same moment to become a Batch array job; 0 turns"
    " array jobs off",
    kind="int",
    default=8,
)
RETRY_WAIT = _aws("retry_wait", "seconds to wait before a retry", kind="float", default=20.0)
MEMORY_RETRY_FACTOR = _aws(
    "memory_retry_factor",
    "factor by which a task's memory is raised for the next attempt after it ran out; 1 turns this"
    " off",
    kind="float",
    default=2.0,
)
BLOCKED_WAIT = _aws(
    "blocked_wait",
    "seconds that a task may wait after Batch has said why it cannot start; then the fallback queue"
    " takes it, or it fails",
    kind="float",
    default=1800.0,
)
ACCOUNTING_DIR = _aws(
    "accounting_dir",
    "directory of the shared filesystem where runs keep account of their jobs; relative to"
    " [file_io] root",
    default="miniwdl_run/_ACCOUNTS",
)
ADOPT = _aws(
    "adopt",
    "take over the task jobs of runs that ended without notice, instead of terminating them; needs"
    " the call cache",
    kind="bool",
    default=False,
)
CONTAINER_SYNC = _aws(
    "container_sync", "flush a task's files before its job ends", kind="bool", default=False
)
GPU_VALUE = _aws("gpu_value", "GPUs for a task with `gpu: true`", kind="int", default=1)
CONTAINER_PROPERTIES = _aws(
    "container_properties",
    "JSON object of further Batch containerProperties for task jobs",
    kind="json",
    default={},
)
JOB_TAGS = _aws("job_tags", "JSON object of tags for every job", kind="json", default={})
MEMORY_DELTA = _aws(
    "memory_delta",
    "MiB added to a task's memory request, so that a power of two fits a worker of that size",
    kind="int",
    default=-33,
)
LOG_TASK_USAGE_PERIOD = Setting(
    "log_task_usage",
    "period",
    "seconds between two samples of the CPU, memory and disk that a task uses, twice as many each"
    " time there are 240; 0 turns sampling off",
    kind="int",
    default=10,
)
BUDGET = _aws(
    "budget",
    "US dollars that the tasks of a run may cost, as estimated; once they have, no task is"
    " submitted any more and the run fails",
    kind="float",
)
BOTO3_RETRIES = _aws(
    "boto3_retries",
    "JSON object: botocore's `retries` configuration",
    kind="json",
    default={"max_attempts": 5, "mode": "standard"},
)
DOWNLOAD_IN_PROCESS_MAX = _aws(
    "download_in_process_max_mb",
    "MB up to which an s3:// or https:// input is fetched by the workflow job itself; a larger"
    " one gets a task job",
    kind="int",
    default=100,
)
FSX_AUTO = Setting(
    "fsx_to_s3",
    "auto",
    "write the outputs of each run back to the S3 location that the FSx for Lustre file system is"
    " linked to",
    kind="bool",
    default=True,
)
FSX_METHOD = Setting(
    "fsx_to_s3",
    "method",
    "how files get from FSx for Lustre to S3: hsm (the command `lfs hsm_archive`), task (FSx export"
    " tasks), upload, or auto, the first of these that can be had",
    default="auto",
)
FSX_FILE_SYSTEM = Setting(
    "fsx_to_s3",
    "file_system",
    "FSx for Lustre file system id; by default found by the name that it is mounted by",
)
FSX_LFS = Setting(
    "fsx_to_s3",
    "lfs",
    "the command `lfs` and what has to stand before it, such as `sudo -n lfs`: archiving needs"
    " root",
    default="lfs",
)
FSX_WAIT = Setting(
    "fsx_to_s3",
    "wait",
    "seconds without progress after which files that did not get from FSx for Lustre to S3 are"
    " given up",
    kind="float",
    default=3600.0,
)


def _fargate(key: str, help: str, **more: Any) -> Setting:
    return Setting("aws_fargate", key, help, **more)


FARGATE_CLUSTER = _fargate(
    "cluster", "ECS cluster of the engine aws_fargate, name or ARN", tag="DefaultEcsCluster"
)
FARGATE_SUBNETS = _fargate(
    "subnets",
    "ids of the subnets of ECS tasks, with blanks or commas between them; by default those of the"
    " workflow job queue",
    tag="DefaultEcsSubnets",
)
FARGATE_SECURITY_GROUPS = _fargate(
    "security_groups",
    "ids of the security groups of ECS tasks, as of `subnets`; by default those of the workflow job"
    " queue",
    tag="DefaultEcsSecurityGroups",
)
FARGATE_EFS_SECURITY_GROUP = _fargate(
    "efs_security_group", "id of one more security group of ECS tasks, which lets them reach EFS"
)
FARGATE_ASSIGN_PUBLIC_IP = _fargate(
    "assign_public_ip",
    "give ECS tasks public addresses, which they need in a subnet without a NAT gateway or"
    " endpoints",
    kind="bool",
    default=True,
)
FARGATE_EXECUTION_ROLE = _fargate(
    "execution_role",
    "ARN of the IAM role with which ECS pulls images and writes logs; by default that of the"
    " workflow job",
    tag="DefaultEcsExecutionRoleArn",
)
FARGATE_TASK_ROLE = _fargate(
    "task_role", "ARN of the IAM role of ECS tasks; by default `[aws] task_role`"
)
FARGATE_LOG_GROUP = _fargate(
    "log_group",
    "CloudWatch Logs log group of ECS tasks; 0 means none, and their logs are in the run directory"
    " alone",
    tag="DefaultEcsLogGroup",
)
FARGATE_EFS_ID = _fargate(
    "efs_id", "EFS file system of ECS tasks; by default `[aws] fs` or that of `[aws] fsap`"
)
FARGATE_EFS_MOUNTPOINT = _fargate(
    "efs_mountpoint",
    "where the EFS file system is mounted, here and in ECS tasks; by default `[file_io] root`",
)
FARGATE_CPU_SHARES = _fargate(
    "default_cpu_shares",
    "CPU units (1024 are a vCPU) of a task that does not say its cpu",
    kind="int",
    default=1024,
)
FARGATE_MEMORY_MB = _fargate(
    "default_memory_mb", "memory in MiB of a task that does not say it", kind="int", default=2048
)
FARGATE_SPOT_WAIT = _fargate(
    "spot_wait", "seconds to wait for Spot capacity, then on demand", kind="float", default=300.0
)
FARGATE_DEFINITION_PERIOD = _fargate(
    "definition_period", "seconds between changes of task definitions", kind="float", default=1.0
)
FARGATE_EXECUTE_COMMAND = _fargate(
    "execute_command",
    "let people run commands in ECS tasks (`aws ecs execute-command`); needs a task role that may"
    " open Systems Manager channels",
    kind="bool",
    default=False,
)


def _fleet(key: str, help: str, **more: Any) -> Setting:
    return Setting("fleet", key, help, **more)


FLEET_DIR = _fleet(
    "dir",
    "directory of the shared filesystem in which manager and workers of a fleet know of each other",
    default="/mnt/shared/.swarm",
)
FLEET_PERIOD = _fleet(
    "period", "seconds between two looks of a manager or worker", kind="float", default=10.0
)
FLEET_BURST = _fleet(
    "burst", "whether this worker shuts down when idle", kind="bool", default=False
)
FLEET_IDLE_MINUTES = _fleet(
    "burst_worker_idle_minutes",
    "minutes without tasks after which a burst worker shuts down",
    kind="float",
    default=30.0,
)
FLEET_ORPHAN_MINUTES = _fleet(
    "orphan_minutes",
    "minutes outside of the swarm after which a worker shuts down",
    kind="float",
    default=30.0,
)
FLEET_DRAIN_SECONDS = _fleet(
    "drain_seconds",
    "seconds that a worker's tasks have to end after a spot interruption notice, before it leaves",
    kind="float",
    default=60.0,
)
FLEET_GROUP = _fleet(
    "group",
    "name of the auto scaling group of this worker, which becomes smaller when an idle or orphaned"
    " worker shuts down; without it the group would start another",
)
FLEET_SHUTDOWN_COMMAND = _fleet(
    "shutdown_command", "command that ends a worker's machine", default="shutdown -h now"
)
FLEET_METADATA_URL = _fleet(
    "metadata_url",
    "URL of the EC2 instance metadata service; 0 means none",
    default="http://169.254.169.254",
)
FLEET_SCALE = _fleet(
    "scale",
    "whether the manager raises the burst group for tasks that wait: off, dry-run (it only logs"
    " what it would do) or on",
    default="off",
)
FLEET_BURST_GROUP = _fleet(
    "burst_group", "name of the auto scaling group of burst workers, for the manager"
)
FLEET_BURST_MAX = _fleet(
    "burst_max",
    "most burst workers that the manager asks for; by default the maximum of the group",
    kind="int",
)
FLEET_SCALE_WAIT = _fleet(
    "scale_wait",
    "seconds that tasks have to have waited for room before the manager raises the burst group, and"
    " between two changes",
    kind="float",
    default=60.0,
)
FLEET_FORGET_MINUTES = _fleet(
    "forget_minutes",
    "minutes after which the manager removes a lost worker from the swarm",
    kind="float",
    default=10.0,
)
FLEET_SSH_USER = _fleet("ssh_user", "user of `miniwdl-cloud fleet ssh`")
FLEET_SSH_KEY = _fleet("ssh_key", "private key of `miniwdl-cloud fleet ssh`")

NOTIFY = _aws(
    "notify",
    "where to tell that a run has ended: ARNs of SNS topics and https:// URLs of webhooks, with"
    " blanks between them",
)
NOTIFY_WHEN = _aws("notify_when", "of which runs: always, failure or success", default="always")
MIN_FREE_SPACE = _aws(
    "min_free_space_gib",
    "GiB that have to be free on the shared filesystem for a run to begin; 0 for no such condition",
    kind="float",
    default=0.0,
)
MIN_FREE_INODES = _aws(
    "min_free_inodes",
    "files that have to fit on the shared filesystem yet for a run to begin; 0 for no such"
    " condition",
    kind="int",
    default=0,
)
CALL_CACHE_DIR = Setting(
    "call_cache", "dir", "miniwdl's call cache; relative to [file_io] root (read by `clean`)"
)
DOWNLOAD_CACHE_DIR = Setting(
    "download_cache",
    "dir",
    "miniwdl's download cache; relative to [file_io] root (read by `clean`)",
)
FILE_IO_ROOT = Setting("file_io", "root", "directory that the shared filesystem is mounted at")
FILE_IO_HARDLINKS = Setting(
    "file_io",
    "output_hardlinks",
    "miniwdl's: outputs are hard links in place of symbolic ones; not on S3 Files",
    kind="bool",
    default=False,
)
CONTAINER_BACKEND = Setting(
    "scheduler", "container_backend", "engine that runs the tasks", tag="DefaultEngine"
)

ALL: tuple[Setting, ...] = tuple(v for v in list(globals().values()) if isinstance(v, Setting))


class Settings(RankedSources):
    """Looks settings up in ranked sources."""

    def with_tags(self, tags: Mapping[str, str]) -> Settings:
        """The same, with the tags of the workflow job queue as the lowest source."""
        return self.with_source(tag_source(tags))


S3_ENDPOINT = "AWS_ENDPOINT_URL_S3"
"""boto3's variable for the URL of an S3-compatible store, which takes the place of S3."""


def environment() -> Mapping[str, str]:
    """The process environment."""
    return os.environ


def env_source(environ: Mapping[str, str] | None = None) -> Source:
    """Settings from ``MINIWDL__SECTION__KEY`` variables."""
    environ = environment() if environ is None else environ
    return lambda section, key: environ.get(env_name(section, key))


FLEET_ENVIRONMENT = Path("/etc/miniwdl-cloud/fleet.env")
"""The environment file of a fleet's systemd units, which people's commands read too."""


def env_file_source(path: Path) -> Source:
    """Settings from a systemd environment file; none if there is no such file, or if it may not be
    read."""
    return env_source(read_environment_file(path))


def cfg_files(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Where miniwdl looks for its .cfg file, in its order; the first that exists counts.

    miniwdl's runner reference, "Configuration": ``MINIWDL_CFG``, else ``miniwdl.cfg`` in the XDG
    configuration directories.
    """
    environ = environment() if environ is None else environ
    if environ.get("MINIWDL_CFG"):
        return [Path(name) for name in environ["MINIWDL_CFG"].split(":")]
    home = environ.get("XDG_CONFIG_HOME") or str(
        Path(environ.get("HOME", "~")).expanduser() / ".config"
    )
    dirs = [*(environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"), home]
    return [Path(name) / "miniwdl.cfg" for name in reversed(dirs)]


def cfg_source(files: list[Path] | None = None) -> Source:
    """Settings from the first of these .cfg files that exists; see `read_cfg`."""
    return read_cfg(cfg_files() if files is None else files)


def tag_source(tags: Mapping[str, str]) -> Source:
    """Settings from the tags of the workflow job queue."""
    by_key = {(s.section, s.key): s.tag for s in ALL if s.tag}

    def lookup(section: str, key: str) -> str | None:
        tag = by_key.get((section, key))
        return tags.get(tag) if tag else None

    return lookup
