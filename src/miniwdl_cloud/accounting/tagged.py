"""Finding orphans by tags alone, where the shared filesystem with the leases is not at hand.

Every job that a workflow job submits is tagged with its id, and one that is adopted gets the new
id. A job without the tag belongs to a run outside of AWS, of which nobody here can say whether it
lives.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..jobs.service import QueueService
from .reaper import Orphan, describe_all

PARENT_TAG = "AWS_BATCH_PARENT_JOB_ID"
"""The tag that names a job's workflow job."""
CALL_TAG = "miniwdl-cloud-call"
"""The tag that names the call of a job's task, or of all tasks of an array job."""
FORGOTTEN_S = 7 * 86400.0
"""Seconds for which Batch keeps a job that has ended, at least (Batch user guide, "Job states")."""
_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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


class TaggingService(QueueService, Protocol):
    """A queue service whose jobs can be listed with their tags, and tagged anew."""

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
            if _JOB_ID.fullmatch(parent):
                tagged.setdefault(parent, []).append(job)
    known = dict(describe_all(service, sorted(tagged), sleep))
    found = []
    for parent, jobs in sorted(tagged.items()):
        snapshot = known.get(parent)
        for job in jobs:
            forgotten = snapshot is None and now() - job.created > FORGOTTEN_S
            if forgotten or (snapshot is not None and snapshot.state.ended):
                holder = f"workflow job {parent}"
                found.append(Orphan(holder, job.job_id, job.name, job.queue, job.tasks))
    return found
