"""AWS Batch as an operator looks at it: whole queues, in as few calls as the API allows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .batch import DESCRIBE_JOBS_MAX
from .error_mapping import map_errors
from .session import AwsSession


class BatchListing:
    """Lists queues, jobs and children, and counts the calls that this takes.

    Parameters
    ----------
    session
        Where the client comes from.

    Attributes
    ----------
    calls
        Requests sent so far, without those that botocore repeats by itself.
    """

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("batch")
        self.calls = 0

    def queues(self) -> list[dict[str, Any]]:
        """All job queues of the Region, with their tags."""
        return self._pages("describe_job_queues", "jobQueues", "looking at the job queues")

    def jobs(self, queue: str, status: str) -> list[dict[str, Any]]:
        """Summaries of a queue's jobs that have a status, a thousand a call (ListJobs,
        `jobStatus`); children of array jobs are not among them, and no tags."""
        return self._pages(
            "list_jobs",
            "jobSummaryList",
            f"looking at the jobs of the queue {queue}",
            jobQueue=queue,
            jobStatus=status,
        )

    def children(self, array_id: str, status: str) -> list[dict[str, Any]]:
        """Summaries of an array job's children that have a status."""
        return self._pages(
            "list_jobs",
            "jobSummaryList",
            "looking at an array job's children",
            arrayJobId=array_id,
            jobStatus=status,
        )

    def describe(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Jobs by id, tags included, a hundred a call; unknown ones are left out."""
        wanted = list(ids)
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(wanted), DESCRIBE_JOBS_MAX):
            self.calls += 1
            with map_errors("looking at jobs"):
                answer = self._client.describe_jobs(jobs=wanted[start : start + DESCRIBE_JOBS_MAX])
            for job in answer["jobs"]:
                found[job["jobId"]] = job
        return found

    def _pages(self, operation: str, member: str, doing: str, **request: Any) -> list[Any]:
        found: list[Any] = []
        with map_errors(doing):
            for page in self._client.get_paginator(operation).paginate(**request):
                self.calls += 1
                found += page[member]
        return found
