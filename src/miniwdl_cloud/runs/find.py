"""Which runs there are, and which one a person means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import NotFound, UsageError
from ..jobs.request import JobState

if TYPE_CHECKING:
    from ..aws.batch_listing import BatchListing

_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CANDIDATES_MAX = 5
"""Runs that an error message names."""


class WorkflowQueues:
    """The job queues that runs are submitted to.

    Parameters
    ----------
    listing
        AWS Batch.
    wanted
        Name or ARN of the only queue to look at; without it, all queues of the Region that carry
        the tag of a workflow queue.
    """

    def __init__(self, listing: BatchListing, wanted: str | None = None) -> None:
        self._listing = listing
        self._wanted = wanted
        self._tags: dict[str, dict[str, str]] | None = None
        self._others: dict[str, dict[str, str]] = {}

    def tags(self) -> Mapping[str, Mapping[str, str]]:
        """The tags of each queue by its name; all job queues are looked up in one go.

        Raises
        ------
        NotFound
            The queue does not exist.
        UsageError
            No queue is named, and none is tagged.
        """
        if self._tags is None:
            queues = self._listing.queues()
            if self._wanted:
                mine = [
                    queue
                    for queue in queues
                    if self._wanted in (queue["jobQueueName"], queue["jobQueueArn"])
                ]
                if not mine:
                    raise NotFound(
                        f"The workflow queue {self._wanted} (--workflow-queue) does not exist in"
                        " this account and Region; correct the name, or choose the Region with"
                        " --region."
                    )
            else:
                mine = [q for q in queues if s.TASK_QUEUE.tag in (q.get("tags") or {})]
                if not mine:
                    raise UsageError(
                        "No workflow queue is named, and no job queue of this Region has the tag"
                        f" {s.TASK_QUEUE.tag}; name one with --workflow-queue or"
                        f" {s.WORKFLOW_QUEUE.env}."
                    )
            self._tags = {q["jobQueueName"]: dict(q.get("tags") or {}) for q in mine}
        return self._tags

    def tags_of(self, job: Mapping[str, Any]) -> Mapping[str, str]:
        """The tags of a workflow job's queue; of a queue that is gone, none."""
        name = str(job["jobQueue"]).rpartition("/")[2]
        if self._tags is not None and name in self._tags:
            return self._tags[name]
        if name not in self._others:
            self._others = {
                q["jobQueueName"]: dict(q.get("tags") or {}) for q in self._listing.queues()
            }
        return self._others.setdefault(name, {})

    def jobs(self) -> list[dict[str, Any]]:
        """Summaries of all workflow jobs that Batch remembers, the latest first, each with its
        ``jobQueue``."""
        found: dict[str, dict[str, Any]] = {}
        for name in self.tags():
            for state in JobState:
                for job in self._listing.jobs(name, state.value):
                    found[job["jobId"]] = {**job, "jobQueue": name}
        return sorted(found.values(), key=lambda job: (-job["createdAt"], job["jobId"]))

    def find(self, run: str) -> dict[str, Any]:
        """The workflow job of a run, as DescribeJobs shows it.

        Parameters
        ----------
        run
            The workflow job's id or name, or the beginning of one that no other run shares.

        Raises
        ------
        NotFound
            There is none.
        UsageError
            There are several.
        """
        if not run:
            raise UsageError("The run's name is empty; give the workflow job's id or name.")
        job_id = run if _JOB_ID.fullmatch(run) else self._by_beginning(run)
        job = self._listing.describe([job_id]).get(job_id)
        if job is None:
            raise _unknown(run)
        return job

    def _by_beginning(self, run: str) -> str:
        jobs = self.jobs()
        exact = [job for job in jobs if job["jobName"] == run]
        found = exact or [
            job for job in jobs if job["jobId"].startswith(run) or job["jobName"].startswith(run)
        ]
        if not found:
            raise _unknown(run)
        if len(found) > 1:
            raise UsageError(
                f"{len(found)} runs are called {run}{'…' if not exact else ''}; say which:"
                f" {_names(found)}."
            )
        return str(found[0]["jobId"])


def _names(jobs: Sequence[Mapping[str, Any]]) -> str:
    names = [f"{job['jobName']} ({job['jobId'][:8]})" for job in jobs[:CANDIDATES_MAX]]
    return ", ".join(names) + (", …" if len(jobs) > CANDIDATES_MAX else "")


def _unknown(run: str) -> NotFound:
    return NotFound(
        f"AWS Batch knows no run {run}; see `miniwdl-cloud status --all` for those that it does"
        " (it forgets a run about a week after its end), or choose the Region with --region."
    )
