"""The command line of `miniwdl-aws-submit`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from .. import __version__, settings
from ..errors import UsageError
from ..settings import Setting, Settings

DEFAULT_IMAGE = f"ghcr.io/miniwdl-cloud/miniwdl-cloud:v{__version__}"
"""The public image of the workflow job that matches this version."""

ENGINES = ("batch", "fargate")
DELETE_AFTER_CHOICES = ("success", "failure", "always")

# Options that are settings too: the command line is the highest of their sources.
_SETTING_OPTIONS: dict[str, Setting] = {
    "engine": settings.WORKFLOW_ENGINE,
    "workflow_queue": settings.WORKFLOW_QUEUE,
    "cluster": settings.FARGATE_CLUSTER,
    "task_queue": settings.TASK_QUEUE,
    "task_queue_fallback": settings.TASK_QUEUE_FALLBACK,
    "fsap": settings.FSAP,
    "fs": settings.FS,
    "mount": settings.MOUNT,
    "workflow_role": settings.WORKFLOW_ROLE,
    "image": settings.WORKFLOW_IMAGE,
    "s3upload": settings.S3_UPLOAD_FOLDER,
    "delete_after": settings.DELETE_AFTER,
    "stage": settings.STAGE_URI,
    "adopt": settings.ADOPT,
}


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Parameters
    ----------
    settings
        Command line, environment and .cfg file; without the tags of the workflow job queue, which
        is only known from them.
    run_arguments
        What passes through to `miniwdl run`, in order.
    vcpus, memory_mib
        Size of the workflow job.
    name
        Of the workflow job, before a unique ending is added.
    public_ip
        Whether a workflow job on Fargate gets a public address.
    directory
        Run directory prefix, if given.
    pass_environment
        Whether ``MINIWDL__*`` variables pass through.
    access_point_given
        Whether the access point is set otherwise than by tag.
    always_stage
        ``--stage`` is given.
    wait, follow, self_test, dry_run, task_engine, quiet
        As the options of these names.
    """

    settings: Settings
    run_arguments: tuple[str, ...]
    vcpus: float
    memory_mib: int
    name: str | None
    public_ip: bool
    directory: str | None
    pass_environment: bool
    access_point_given: bool
    always_stage: bool
    wait: bool
    follow: bool
    self_test: bool
    dry_run: bool
    task_engine: str | None = None
    quiet: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add our options to a parser that leaves all others alone."""
    group = parser.add_argument_group("deployment")
    group.add_argument(
        "--engine",
        choices=ENGINES,
        help="what runs the workflow job: AWS Batch, or ECS on Fargate [env"
        " MINIWDL__AWS__WORKFLOW_ENGINE; batch, or fargate where there is a cluster and no workflow"
        " queue]",
    )
    group.add_argument(
        "--task-engine",
        choices=ENGINES,
        help="what runs the tasks [env MINIWDL__SCHEDULER__CONTAINER_BACKEND; what runs the"
        " workflow job]",
    )
    group.add_argument(
        "--cluster",
        metavar="CLUSTER",
        help="ECS cluster for a workflow job on Fargate, and for tasks there [env"
        " MINIWDL__AWS_FARGATE__CLUSTER, tag DefaultEcsCluster of the workflow queue]; without"
        " workflow queue, the cluster's own tags give the defaults of other options",
    )
    group.add_argument(
        "--workflow-queue",
        metavar="QUEUE",
        help="Batch job queue for the workflow job [env MINIWDL__AWS__WORKFLOW_QUEUE]; its tags"
        " give the defaults of most other options",
    )
    group.add_argument(
        "--task-queue",
        metavar="QUEUE",
        help="Batch job queue for task jobs [env MINIWDL__AWS__TASK_QUEUE, tag DefaultTaskQueue]",
    )
    group.add_argument(
        "--task-queue-fallback",
        metavar="QUEUE",
        help="queue for a task after its `preemptible` number of spot interruptions"
        " [env MINIWDL__AWS__TASK_QUEUE_FALLBACK, tag DefaultTaskQueueFallback]",
    )
    group.add_argument(
        "--fsap",
        metavar="FSAP-ID",
        help="EFS access point to mount [env MINIWDL__AWS__FSAP, tag DefaultFsap]",
    )
    group.add_argument(
        "--fsid",
        metavar="FS-ID",
        help="file system instead: FSx for Lustre, which the compute environments mount by"
        " themselves (at /mnt/fsx unless --mount says otherwise), or EFS without access point"
        " [env MINIWDL__AWS__FS, tag DefaultFsid]",
    )
    group.add_argument(
        "--no-efs",
        "--no-EFS",
        action="store_true",
        help="the EC2 compute environments mount a shared filesystem by themselves"
        " [env MINIWDL__AWS__FS=0]",
    )
    group.add_argument(
        "--mount",
        metavar="DIR",
        help="where every container has the shared filesystem [env MINIWDL__AWS__MOUNT, tag"
        " DefaultMount; /mnt/efs, /mnt/fsx or, with --no-efs, /mnt/net]",
    )
    group.add_argument(
        "--stage",
        metavar="S3-URI",
        help="S3 location (s3://bucket/prefix) for local input files and the WDL source code; the"
        " latter goes to a location by setting only if it is large [env MINIWDL__AWS__STAGE_URI,"
        " tag DefaultStageUri]",
    )
    group = parser.add_argument_group("workflow job")
    group.add_argument(
        "--workflow-role",
        metavar="ARN",
        help="IAM role that runs the workflow job [env MINIWDL__AWS__WORKFLOW_ROLE, tag"
        " WorkflowEngineRoleArn]",
    )
    group.add_argument(
        "--image",
        help=f"container image [env MINIWDL__AWS__WORKFLOW_IMAGE; {DEFAULT_IMAGE}]",
    )
    group.add_argument("--cpu", metavar="N", type=float, default=1.0, help="vCPUs [1]")
    group.add_argument("--memory-GiB", metavar="N", type=float, default=4.0, help="memory [4]")
    group.add_argument("--name", help="job name [miniwdl_run_ and the name of the WDL file]")
    group.add_argument(
        "--no-public-ip",
        action="store_true",
        help="no public address: the workflow queue's subnets are private and have a NAT gateway",
    )
    group.add_argument(
        "--no-env",
        action="store_true",
        help="do not pass MINIWDL__* environment variables on to the workflow job",
    )
    group = parser.add_argument_group("run")
    group.add_argument(
        "--dir", "-d", metavar="DIR", help="run directory prefix [{mount}/miniwdl_run]"
    )
    group.add_argument(
        "--s3upload",
        metavar="S3-URI",
        help="upload log and outputs below this S3 location [env MINIWDL__AWS__S3_UPLOAD_FOLDER]",
    )
    group.add_argument(
        "--delete-after",
        choices=DELETE_AFTER_CHOICES,
        help="with an upload location: delete the run directory then"
        " [env MINIWDL__AWS__DELETE_AFTER_S3_UPLOAD]",
    )
    group.add_argument(
        "--adopt",
        action="store_const",
        const="true",
        help="take over the task jobs of runs that ended without notice, with the call cache"
        " [env MINIWDL__AWS__ADOPT]",
    )
    group.add_argument(
        "--wait", "-w", action="store_true", help="await the end, exit with miniwdl's exit code"
    )
    group.add_argument(
        "--follow", "-f", action="store_true", help="--wait, and show the log on standard error"
    )
    group.add_argument(
        "--quiet",
        action="store_true",
        help="with --wait or --follow: show no progress of the run's tasks on standard error",
    )
    group.add_argument(
        "--self-test", action="store_true", help="run `miniwdl run_self_test` in the workflow job"
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print the requests as JSON instead of sending them",
    )


def from_namespace(args: argparse.Namespace, rest: Sequence[str]) -> Options:
    """What a parsed command line says.

    Parameters
    ----------
    args
        From a parser that `add_arguments` was called on.
    rest
        The arguments that it does not know.

    Raises
    ------
    UsageError
        Options do not go together, or a setting is wrong.
    """
    if args.no_efs and args.fsid:
        raise UsageError("--no-efs and --fsid exclude each other; leave one out.")
    if args.no_efs and args.engine == "fargate":
        raise UsageError(
            "--no-efs and --engine fargate exclude each other: no host mounts a filesystem for"
            " Fargate; leave one out."
        )
    if not args.cpu > 0 or not args.memory_GiB > 0:
        raise UsageError("--cpu and --memory-GiB should be more than zero; correct them.")
    args.fs = "0" if args.no_efs else args.fsid
    given = {
        (setting.section, setting.key): getattr(args, name)
        for name, setting in _SETTING_OPTIONS.items()
    }
    ranked = Settings(settings.mapping_source(given), settings.env_source(), settings.cfg_source())
    return Options(
        settings=ranked,
        run_arguments=tuple(rest),
        vcpus=args.cpu,
        memory_mib=round(args.memory_GiB * 1024),
        name=args.name,
        public_ip=not args.no_public_ip,
        directory=args.dir,
        pass_environment=not args.no_env,
        access_point_given=bool(ranked.get(settings.FSAP)),
        always_stage=bool(args.stage),
        wait=args.wait,
        follow=args.follow,
        self_test=args.self_test,
        dry_run=args.dry_run,
        task_engine=args.task_engine,
        quiet=args.quiet,
    )
