"""Finding orphans by tags alone, where the shared filesystem with the leases is not at hand.

Every job that a workflow job submits is tagged with its id, and one that is adopted gets the new
id. A job without the tag belongs to a run outside of AWS, of which nobody here can say whether it
lives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..jobs.request import JobSnapshot
from ..jobs.service import QueueService
from ..workflow_job import BATCH_JOB, ECS_TASK, is_ecs_task
from .reaper import Orphan, describe_all

PARENT_TAG = "AWS_BATCH_PARENT_JOB_ID"
"""The tag that names a job's workflow job."""
CALL_TAG = "miniwdl-cloud-call"
"""The tag that names the call of a job's task, or of all tasks of an array job."""
FORGOTTEN_S = 7 * 86400.0
"""Seconds for which Batch keeps a job that has ended, at least (Batch user guide, "Job states")."""
TASK_FORGOTTEN_S = 3600.0
"""Seconds for which ECS keeps a task that has stopped, at least (API reference, DescribeTasks)."""
ALONE_PREFIX = "miniwdl-cloud-alone-"
"""What the names of definitions begin with that are for one attempt at one task alone."""
OWNER_VARIABLE = "MINIWDL_CLOUD_WORKFLOW_JOB_ID"
"""The variable that names the workflow job in such a definition."""
SECOND_LOOK_S = 2.0
"""Seconds to a second look at a workflow job that was not known."""


@dataclass(frozen=True)
class OpenJob:
    """A job that has not ended.

    Parameters
    ----------
    job_id, name, queue
        The job; of an array job the whole.
    created
        When it was submitted, in seconds since the epoch.
    tags
        Its tags.
    tasks
        Children, if it is an array job; else 1.
    """

    job_id: str
    name: str
    queue: str
    created: float
    tags: dict[str, str]
    tasks: int = 1


@dataclass(frozen=True)
class AloneDefinition:
    """A definition for one attempt at one task.

    Parameters
    ----------
    name
        Its name, or family.
    owner
        Id of the workflow job.
    """

    name: str
    owner: str


class TaggingService(QueueService, Protocol):
    """A queue service whose jobs can be listed with their tags, and tagged anew."""

    def alone_definitions(self) -> Sequence[AloneDefinition]:
        """The active definitions for one attempt alone of which a workflow job is known."""

    def retire_named(self, name: str) -> None:
        """Let go of a definition by its name."""

    def open_jobs(self, queue: str) -> Sequence[OpenJob]:
        """The jobs of a queue that have not ended."""

    def tag(self, job_id: str, name: str, value: str) -> None:
        """Set a tag of a job; of an array's child, that of its array job."""


def orphans_by_tag(
    service: TaggingService,
    queues: Sequence[str],
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Orphan]:
    """The jobs of these queues whose workflow jobs have ended.

    A workflow job that the service does not know either ended so long ago that it is forgotten, or
    was left out of an answer. If it ended `FORGOTTEN_S` ago, its jobs are older than that; so no
    younger job is taken for an orphan.

    Raises
    ------
    MiniwdlCloudError
        The service does not answer.
    """
    tagged: dict[str, list[OpenJob]] = {}
    for queue in queues:
        for job in service.open_jobs(queue):
            parent = job.tags.get(PARENT_TAG, "")
            if _is_job(parent):
                tagged.setdefault(parent, []).append(job)
    known = _known(service, sorted(tagged), sleep)
    found = []
    for parent, jobs in sorted(tagged.items()):
        snapshot = known.get(parent)
        for job in jobs:
            after = TASK_FORGOTTEN_S if is_ecs_task(parent) else FORGOTTEN_S
            forgotten = snapshot is None and now() - job.created > after
            if forgotten or (snapshot is not None and snapshot.state.ended):
                holder = f"workflow job {parent}"
                found.append(Orphan(holder, job.job_id, job.name, job.queue, job.tasks))
    return found


def unused_definitions(
    service: TaggingService, sleep: Callable[[float], None] = time.sleep
) -> list[AloneDefinition]:
    """The definitions for one attempt alone that were left by workflow jobs which have ended, or
    which are forgotten.

    A job that was submitted with one goes on without it (Batch API reference,
    DeregisterJobDefinition; ECS API reference, DeregisterTaskDefinition).

    Raises
    ------
    MiniwdlCloudError
        The service does not answer.
    """
    found = [each for each in service.alone_definitions() if _is_job(each.owner)]
    known = _known(service, sorted({each.owner for each in found}), sleep)
    return [each for each in found if each.owner not in known or known[each.owner].state.ended]


def _is_job(text: str) -> bool:
    return bool(BATCH_JOB.fullmatch(text) or ECS_TASK.fullmatch(text))


def _known(
    service: TaggingService, ids: Sequence[str], sleep: Callable[[float], None]
) -> dict[str, JobSnapshot]:
    """What the service knows of workflow jobs, after two looks."""
    known = dict(describe_all(service, ids, sleep))
    missing = [job_id for job_id in ids if job_id not in known]
    if missing:
        sleep(SECOND_LOOK_S)
        known.update(describe_all(service, missing, sleep))
    return known
