"""`miniwdl-cloud reap`: ends the task jobs of runs that are gone."""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import ConfigurationError, MiniwdlCloudError, NotFound, Unreachable, UsageError
from ..workflow_job import workflow_job_id
from .operating import no_more

if TYPE_CHECKING:
    from ..accounting.reaper import Reaped
    from ..accounting.tagged import TaggingService
    from ..aws.session import AwsSession
    from ..jobs.service import QueueService

_DESCRIPTION = """\
Find task jobs whose workflow job is gone, terminate them, and await their end. By the leases that
runs keep on the shared filesystem (--mount, where it is at hand), which know Batch jobs and ECS
tasks; by the tags of jobs and tasks (--workflow-queue, --task-queue, --cluster), or by both. Every
run does the former when it starts. By tags, definitions of isolated tasks that are left go as well.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "reap",
        help="end the task jobs of runs that are gone",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--workflow-queue",
        metavar="QUEUE",
        help="look at the task queues and the ECS cluster that the tags of this job queue name",
    )
    which.add_argument("--task-queue", metavar="QUEUE", help="look at this Batch job queue")
    parser.add_argument("--cluster", metavar="CLUSTER", help="look at this ECS cluster")
    parser.add_argument(
        "--mount",
        metavar="DIR",
        help="where this machine has the shared filesystem [env MINIWDL__FILE_IO__ROOT]",
    )
    parser.add_argument("--region", help="AWS Region [env AWS_REGION, AWS_DEFAULT_REGION]")
    parser.add_argument("--dry-run", action="store_true", help="show them, and do nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code: that of `Unreachable` if anything is left to do.

    Raises
    ------
    UsageError
        It is not said where to look.
    MiniwdlCloudError
        AWS or the filesystem cannot be asked.
    """
    no_more(rest, "miniwdl-cloud reap")
    given = {(s.REGION.section, s.REGION.key): args.region}
    given[(s.FILE_IO_ROOT.section, s.FILE_IO_ROOT.key)] = args.mount
    found = s.Settings(s.mapping_source(given), s.env_source(), s.cfg_source())
    mount = found.get(s.FILE_IO_ROOT)
    by_tags = args.workflow_queue or args.task_queue or args.cluster
    if not (mount or by_tags):
        raise UsageError(
            "Say where to look: --mount with the shared filesystem, --workflow-queue, --task-queue"
            " or --cluster."
        )
    from ..accounting.reaper import Reaped
    from ..aws.batch import BatchClient
    from ..aws.ecs import EcsClient
    from ..aws.session import AwsSession
    from ..engines.batch_queue import BatchQueue
    from ..engines.ecs_queue import EcsQueue, queue_name

    region = found.get(s.REGION) or s.environment().get("AWS_REGION")
    session = AwsSession(region, found.get(s.BOTO3_RETRIES))
    batch = BatchClient(session)
    # They start no task, and so need no network to start one in.
    bare = EcsQueue(EcsClient(session), {})
    jobs = BatchQueue(batch, batch, describe_others=bare.describe_workflow_jobs)
    tasks = EcsQueue(EcsClient(session), {}, describe_others=jobs.describe)
    done = Reaped.nothing()
    if mount:
        base = Path(mount) / found.get(s.ACCOUNTING_DIR)
        done.add(_by_leases(jobs, base, f"aws-batch/{session.region}", args.dry_run))
        done.add(_by_leases(tasks, base, f"aws-ecs/{session.region}", args.dry_run))
    if by_tags:
        queues, cluster = _where(session, args.workflow_queue, args.task_queue, args.cluster)
        if queues:
            done.add(_by_tags(jobs, queues, done, args.dry_run))
        if cluster:
            both = [queue_name(cluster, spot) for spot in (True, False)]
            done.add(_by_tags(tasks, both, done, args.dry_run))
    _show(done, args.dry_run, args.json)
    return Unreachable.exit_code if done.undone else 0


def _by_leases(service: QueueService, base: Path, name: str, dry_run: bool) -> Reaped:
    from ..accounting.holder import Holder
    from ..accounting.lease import Lease
    from ..accounting.reaper import Reaper

    if not base.is_dir():
        raise ConfigurationError(
            f"There is no accounting directory {base}; correct --mount, or [aws] accounting_dir"
            " (MINIWDL__AWS__ACCOUNTING_DIR)."
        )
    environ = s.environment()
    holder = Holder.here(workflow_job_id(environ))
    lease = Lease(base, holder, name).start_beating()
    try:
        return Reaper(service, lease).reap_all(dry_run)
    except OSError as exn:
        raise ConfigurationError(f"The leases in {base} cannot be read: {exn.strerror}.") from exn
    finally:
        lease.remove()


def _where(
    session: AwsSession, workflow_queue: str | None, task_queue: str | None, cluster: str | None
) -> tuple[list[str], str | None]:
    """Task queues and ECS cluster."""
    from ..aws.batch import BatchClient
    from ..aws.discovery import look_up_queues
    from ..aws.ecs import EcsClient

    batch, names = BatchClient(session), []
    if task_queue:
        wanted = [(task_queue, "task queue (--task-queue)")]
        names = [queue.name for queue in look_up_queues(batch, wanted)]
    elif workflow_queue:
        wanted = [(workflow_queue, "workflow queue (--workflow-queue)")]
        tagged = s.Settings(s.tag_source(look_up_queues(batch, wanted)[0].tags))
        found = [tagged.get(s.TASK_QUEUE), tagged.get(s.TASK_QUEUE_FALLBACK)]
        names = [name for name in found if name]
        cluster = cluster or tagged.get(s.FARGATE_CLUSTER)
        if not names and not cluster:
            raise ConfigurationError(
                f"The workflow queue {workflow_queue} has no tag {s.TASK_QUEUE.tag} and no tag"
                f" {s.FARGATE_CLUSTER.tag}; name the queue of the task jobs with --task-queue, or"
                " the ECS cluster with --cluster."
            )
    if cluster and EcsClient(session).describe_cluster(cluster) is None:
        raise NotFound(
            f"The ECS cluster {cluster} does not exist in this account and Region; correct"
            " --cluster, or choose the Region with --region."
        )
    return names, cluster.rpartition("/")[2] if cluster else None


def _by_tags(service: TaggingService, queues: list[str], done: Reaped, dry_run: bool) -> Reaped:
    from ..accounting.reaper import Reaped, Terminator, unhurried
    from ..accounting.tagged import orphans_by_tag, unused_definitions

    seen = {orphan.job_id for orphan in done.orphans}
    orphans = [o for o in orphans_by_tag(service, queues) if o.job_id not in seen]
    gone = list(dict.fromkeys(orphan.holder for orphan in orphans))
    more = Reaped([holder for holder in gone if holder not in done.gone], orphans, set(), [])
    more.definitions = [each.name for each in unused_definitions(service)]
    if not dry_run:
        Terminator(service).end(more)
        for name in more.definitions:
            try:
                unhurried(partial(service.retire_named, name), time.sleep)
            except MiniwdlCloudError as exn:
                more.undone.append(f"Definition {name} could not be deregistered: {exn.message}")
    return more


def _show(done: Reaped, dry_run: bool, as_json: bool) -> None:
    def state(job_id: str) -> str:
        if dry_run:
            return "found"
        return "ended" if job_id in done.ended else "terminated"

    rows = [
        {
            "run": orphan.holder,
            "job": orphan.job_id,
            "name": orphan.name,
            "queue": orphan.queue,
            "tasks": orphan.tasks,
            "state": state(orphan.job_id),
        }
        for orphan in done.orphans
    ]
    if as_json:
        found = {"gone": done.gone, "jobs": rows, "undone": done.undone}
        print(json.dumps({**found, "definitions": done.definitions}, indent=2))
        return
    if rows:
        from rich.console import Console
        from rich.table import Table

        table = Table(*rows[0], box=None)
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        Console(width=10_000 if not sys.stdout.isatty() else None).print(table, highlight=False)
    print(f"{len(done.gone)} run(s) are gone; {len(rows)} job(s) of theirs had not ended.")
    if done.definitions:
        became = "found" if dry_run else "deregistered"
        print(f"{len(done.definitions)} definition(s) of isolated tasks were left; {became}.")
    for sentence in done.undone:
        print(sentence, file=sys.stderr)
