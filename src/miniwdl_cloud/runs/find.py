"""Which runs there are, and which one a person means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import NotFound, UsageError
from ..jobs.request import JobState
from ..workflow_job import BATCH_JOB, ECS_TASK, is_ecs_task
from .ecs_jobs import is_workflow
from .model import short_id

if TYPE_CHECKING:
    from .listing import Listing

_CLUSTER_TAG = str(s.FARGATE_CLUSTER.tag)
CANDIDATES_MAX = 5
"""Runs that an error message names."""


class WorkflowQueues:
    """The job queues, and ECS clusters, that runs are submitted to.

    Parameters
    ----------
    listing
        AWS Batch and Amazon ECS.
    wanted
        Name or ARN of the only queue to look at; without it, all queues of the Region that carry
        the tag of a workflow queue.
    cluster
        Name or ARN of an ECS cluster, beside those that the tags of the queues name.
    """

    def __init__(
        self, listing: Listing, wanted: str | None = None, cluster: str | None = None
    ) -> None:
        self._listing = listing
        self._wanted = wanted
        self._cluster = cluster
        self._tags: dict[str, dict[str, str]] | None = None
        self._others: dict[str, dict[str, str]] = {}

    def tags(self) -> Mapping[str, Mapping[str, str]]:
        """The tags of each queue by its name; all job queues are looked up in one go.

        Raises
        ------
        NotFound
            The queue does not exist.
        UsageError
            No queue and no cluster is named, and no queue is tagged.
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
                if not mine and not self._cluster:
                    raise UsageError(
                        "No workflow queue is named, and no job queue of this Region has the tag"
                        f" {s.TASK_QUEUE.tag}; name one with --workflow-queue or"
                        f" {s.WORKFLOW_QUEUE.env}, or an ECS cluster with --cluster."
                    )
            self._tags = {q["jobQueueName"]: dict(q.get("tags") or {}) for q in mine}
        return self._tags

    def clusters(self) -> tuple[str, ...]:
        """Names of the ECS clusters."""
        named = [self._cluster, *(tags.get(_CLUSTER_TAG) for tags in self.tags().values())]
        return tuple(dict.fromkeys(name.rpartition("/")[2] for name in named if name))

    def tags_of(self, job: Mapping[str, Any]) -> Mapping[str, str]:
        """The tags of a workflow job's queue; of a queue that is gone, and of a cluster, none."""
        if is_ecs_task(str(job["jobId"])):
            return {}
        name = str(job["jobQueue"]).rpartition("/")[2]
        if self._tags is not None and name in self._tags:
            return self._tags[name]
        if name not in self._others:
            self._others = {
                q["jobQueueName"]: dict(q.get("tags") or {}) for q in self._listing.queues()
            }
        return self._others.setdefault(name, {})

    def jobs(self) -> list[dict[str, Any]]:
        """Summaries of all workflow jobs that Batch and ECS remember, the latest first, each with
        its ``jobQueue``."""
        found: dict[str, dict[str, Any]] = {}
        for name in self.tags():
            for state in JobState:
                for job in self._listing.jobs(name, state.value):
                    found[job["jobId"]] = {**job, "jobQueue": name}
        for cluster in self.clusters():
            found.update((j["jobId"], j) for j in self._listing.tasks(cluster) if is_workflow(j))
        return sorted(found.values(), key=lambda job: (-job["createdAt"], job["jobId"]))

    def find(self, run: str) -> dict[str, Any]:
        """The workflow job of a run, as DescribeJobs shows it; an ECS task in the same form.

        Parameters
        ----------
        run
            The workflow job's id or name, or the beginning of one that no other run shares; of an
            ECS task, also of the part of its ARN that is its own.

        Raises
        ------
        NotFound
            There is none.
        UsageError
            There are several.
        """
        if not run:
            raise UsageError("The run's name is empty; give the workflow job's id or name.")
        whole = BATCH_JOB.fullmatch(run) or ECS_TASK.fullmatch(run)
        job_id = run if whole else self._by_beginning(run)
        job = self._listing.describe([job_id]).get(job_id)
        if job is None:
            raise _unknown(run)
        return job

    def _by_beginning(self, run: str) -> str:
        jobs = self.jobs()
        exact = [job for job in jobs if job["jobName"] == run]
        found = exact or [
            job
            for job in jobs
            if job["jobId"].rpartition("/")[2].startswith(run) or job["jobName"].startswith(run)
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
    names = [f"{job['jobName']} ({short_id(job['jobId'])})" for job in jobs[:CANDIDATES_MAX]]
    return ", ".join(names) + (", …" if len(jobs) > CANDIDATES_MAX else "")


def _unknown(run: str) -> NotFound:
    return NotFound(
        f"AWS knows no run {run}; see `miniwdl-cloud status --all` for those that it does (Batch"
        " forgets a run about a week after its end, ECS an hour after), or choose the Region with"
        " --region."
    )
