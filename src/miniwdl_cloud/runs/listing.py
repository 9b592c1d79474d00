"""AWS Batch and Amazon ECS as one, for whoever looks at runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..workflow_job import is_ecs_task
from .ecs_jobs import EcsJobs

if TYPE_CHECKING:
    from ..aws.batch_listing import BatchListing
    from ..aws.ecs import EcsClient


class Listing:
    """Lists queues, jobs, children and tasks; tasks in the form of jobs.

    Parameters
    ----------
    batch
        AWS Batch.
    ecs
        Amazon ECS.
    """

    def __init__(self, batch: BatchListing, ecs: EcsClient) -> None:
        self._batch = batch
        self._tasks = EcsJobs(ecs)
        self.queues = batch.queues
        self.jobs = batch.jobs
        self.children = batch.children
        self.tasks = self._tasks.all

    def describe(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Jobs and tasks by id; unknown ones are left out."""
        wanted = list(ids)
        jobs = [job_id for job_id in wanted if not is_ecs_task(job_id)]
        found = self._batch.describe(jobs) if jobs else {}
        return {**found, **self._tasks.describe(filter(is_ecs_task, wanted))}
