"""`miniwdl-cloud reap`: ends the task jobs of runs that are gone."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import ConfigurationError, Unreachable, UsageError
from .operating import no_more

if TYPE_CHECKING:
    from ..accounting.reaper import Reaped
    from ..aws.session import AwsSession
    from ..engines.batch_queue import BatchQueue
    from ..jobs.service import QueueService

_DESCRIPTION = """\
Find task jobs whose workflow job is gone, terminate them, and await their end. By the leases that
runs keep on the shared filesystem (--mount, where it is at hand), which know Batch jobs and ECS
tasks; by the tags of Batch jobs (--workflow-queue or --task-queue), or by both. Every run does the
former when it starts.
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
        help="look at the task queues that the tags of this Batch job queue name",
    )
    which.add_argument("--task-queue", metavar="QUEUE", help="look at this Batch job queue")
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
    if not (mount or args.workflow_queue or args.task_queue):
        raise UsageError(
            "Say where to look: --mount with the shared filesystem, --workflow-queue or"
            " --task-queue."
        )
    from ..accounting.reaper import Reaped
    from ..aws.batch import BatchClient
    from ..aws.ecs import EcsClient
    from ..aws.session import AwsSession
    from ..engines.batch_queue import BatchQueue
    from ..engines.ecs_queue import EcsQueue

    region = found.get(s.REGION) or s.environment().get("AWS_REGION")
    session = AwsSession(region, found.get(s.BOTO3_RETRIES))
    batch = BatchClient(session)
    service = BatchQueue(batch, batch)
    done = Reaped.nothing()
    if mount:
        base = Path(mount) / found.get(s.ACCOUNTING_DIR)
        done.add(_by_leases(service, base, f"aws-batch/{session.region}", args.dry_run))
        # It starts no task, and so needs no network to start one in.
        tasks = EcsQueue(EcsClient(session), {}, describe_others=service.describe)
        done.add(_by_leases(tasks, base, f"aws-ecs/{session.region}", args.dry_run))
    if args.workflow_queue or args.task_queue:
        queues = _task_queues(session, args.workflow_queue, args.task_queue)
        done.add(_by_tags(service, queues, done, args.dry_run))
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
    holder = Holder.here(environ.get("AWS_BATCH_JOB_ID"))
    lease = Lease(base, holder, name).start_beating()
    try:
        return Reaper(service, lease).reap_all(dry_run)
    except OSError as exn:
        raise ConfigurationError(f"The leases in {base} cannot be read: {exn.strerror}.") from exn
    finally:
        lease.remove()


def _task_queues(session: AwsSession, workflow_queue: str | None, task_queue: str) -> list[str]:
    from ..aws.batch import BatchClient
    from ..aws.discovery import look_up_queues

    batch = BatchClient(session)
    if workflow_queue is None:
        return [q.name for q in look_up_queues(batch, [(task_queue, "task queue (--task-queue)")])]
    (queue,) = look_up_queues(batch, [(workflow_queue, "workflow queue (--workflow-queue)")])
    tagged = s.Settings(s.tag_source(queue.tags))
    names = [tagged.get(s.TASK_QUEUE), tagged.get(s.TASK_QUEUE_FALLBACK)]
    if not names[0]:
        raise ConfigurationError(
            f"The workflow queue {workflow_queue} has no tag DefaultTaskQueue; name the queue of"
            " the task jobs with --task-queue."
        )
    return [name for name in names if name]


def _by_tags(service: BatchQueue, queues: list[str], done: Reaped, dry_run: bool) -> Reaped:
    from ..accounting.reaper import Reaped, Terminator
    from ..accounting.tagged import orphans_by_tag

    seen = {orphan.job_id for orphan in done.orphans}
    orphans = [o for o in orphans_by_tag(service, queues) if o.job_id not in seen]
    gone = list(dict.fromkeys(orphan.holder for orphan in orphans))
    more = Reaped([holder for holder in gone if holder not in done.gone], orphans, set(), [])
    if not dry_run:
        Terminator(service).end(more)
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
        print(json.dumps({"gone": done.gone, "jobs": rows, "undone": done.undone}, indent=2))
        return
    if rows:
        from rich.console import Console
        from rich.table import Table

        table = Table(*rows[0], box=None)
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        Console(width=10_000 if not sys.stdout.isatty() else None).print(table, highlight=False)
    print(f"{len(done.gone)} run(s) are gone; {len(rows)} job(s) of theirs had not ended.")
    for sentence in done.undone:
        print(sentence, file=sys.stderr)
