"""From AWS Batch's and ECS's answers to runs: which jobs belong to which run, how its tasks are.

The number of calls grows with the pages of the answers, not with the tasks: ListJobs gives a
thousand summaries a call, one listing a state, and only the tags, which tell whose a job is, need
DescribeJobs, a hundred jobs a call and once a job. Of ECS tasks ListTasks gives a hundred ARNs a
call, and DescribeTasks says the rest, a hundred tasks a call, until they have stopped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..accounting.tagged import CALL_TAG, PARENT_TAG
from ..costs.spending import COST_TAG
from ..engines.batch_queue import snapshot_of
from ..engines.ecs_queue import CONTAINER, LOG_PREFIX
from ..engines.ecs_snapshot import snapshot_of_task
from ..jobs.blocked import diagnose
from ..jobs.outcome import classify
from ..jobs.request import JobState
from ..workflow_job import is_ecs_task
from .model import Attempt, Counts, Run, Task, parse_job_name, state_of

if TYPE_CHECKING:
    from .listing import Listing

Manifest = Callable[[str], "list[str] | None"]
"""The lines of an array job's manifest by its path; ``None`` where it cannot be read."""


def read_manifest(path: str) -> list[str] | None:
    """Read an array job's manifest, where the shared filesystem is at hand."""
    try:
        return Path(path).read_text().split("\n")
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class _Owner:
    """What DescribeJobs alone tells of a task job, and what does not change."""

    run: str
    manifest: str | None
    call: str | None = None


class Collector:
    """Looks at runs; keeps what cannot change, so that looking again is cheaper.

    Parameters
    ----------
    listing
        AWS Batch and Amazon ECS.
    manifest
        Reads an array job's manifest.
    """

    def __init__(self, listing: Listing, manifest: Manifest = read_manifest) -> None:
        self.listing = listing
        self._manifest = manifest
        self._owners: dict[str, _Owner] = {}
        self._ended_arrays: dict[str, list[dict[str, Any]]] = {}

    def runs(
        self, jobs: Sequence[Mapping[str, Any]], queue_tags: Mapping[str, Mapping[str, str]]
    ) -> list[Run]:
        """These workflow jobs as runs, with counts of their tasks.

        Parameters
        ----------
        jobs
            As ListJobs or DescribeJobs shows them, with ``jobQueue``.
        queue_tags
            Tags of the workflow queues, by name; they say where the tasks are.
        """
        if not jobs:
            return []
        queues = _unique(
            queue for job in jobs for queue in task_queues(job, queue_tags.get(_queue(job), {}))
        )
        clusters = _unique(
            name for job in jobs for name in clusters_of(job, queue_tags.get(_queue(job), {}))
        )
        since = min(job["createdAt"] for job in jobs)
        mine = self._task_jobs(queues, clusters, since)
        # Summaries have no tags, one of which says what a run costs.
        known = self.listing.describe([str(job["jobId"]) for job in jobs])
        tags = {job_id: detail.get("tags") or {} for job_id, detail in known.items()}
        return [
            _run(
                {**job, "tags": tags.get(job["jobId"], {})},
                queue_tags.get(_queue(job), {}),
                _counts(mine.get(job["jobId"], [])),
            )
            for job in jobs
        ]

    def run(self, job: Mapping[str, Any], queue_tags: Mapping[str, str]) -> Run:
        """One workflow job as a run, with each of its tasks.

        Parameters
        ----------
        job
            As DescribeJobs shows it.
        queue_tags
            Tags of its queue.
        """
        queues, clusters = task_queues(job, queue_tags), clusters_of(job, queue_tags)
        jobs = self._task_jobs(queues, clusters, job["createdAt"]).get(job["jobId"], [])
        return _run(job, queue_tags, _counts(jobs), self._tasks(jobs))

    def open_jobs(
        self, run_id: str, queues: Sequence[str], clusters: Sequence[str] = ()
    ) -> list[str]:
        """Ids of the jobs of a run that have not ended; of an array job the whole."""
        open_states = [state for state in JobState if not state.ended]
        found = self._task_jobs(queues, clusters, 0, open_states)
        return [job["jobId"] for job in found.get(run_id, [])]

    def _task_jobs(
        self,
        queues: Sequence[str],
        clusters: Sequence[str],
        since_ms: int,
        states: Sequence[JobState] = tuple(JobState),
    ) -> dict[str, list[dict[str, Any]]]:
        """Summaries of jobs by the run that they belong to.

        A job that had ended before ``since_ms`` is none of a run that began then; one that had
        merely begun may have been adopted.
        """
        listed: dict[str, dict[str, Any]] = {}
        for queue in queues:
            # In the order of a job's life: one that moves on meanwhile is seen twice, never missed.
            for state in states:
                for job in self.listing.jobs(queue, state.value):
                    if job.get("stoppedAt", since_ms) >= since_ms:
                        listed[job["jobId"]] = {**job, "jobQueue": queue}
        unknown = [job_id for job_id in listed if job_id not in self._owners]
        stale = [
            job_id
            for job_id, job in listed.items()
            if "size" in job.get("arrayProperties", {})
            and not job["arrayProperties"].get("statusSummary")
        ]
        described = self.listing.describe(dict.fromkeys([*unknown, *stale]))
        for job_id, detail in described.items():
            self._owners[job_id] = _owner(detail)
            if job_id in stale:
                listed[job_id]["arrayProperties"] = detail.get("arrayProperties", {})
        for cluster in clusters:
            for job in self.listing.tasks(cluster):
                if state_of(job["status"]) in states and job.get("stoppedAt", since_ms) >= since_ms:
                    listed[job["jobId"]] = job
                    # Adopting a task gives it another owner.
                    self._owners[job["jobId"]] = _owner(job)
        found: dict[str, list[dict[str, Any]]] = {}
        for job in sorted(listed.values(), key=lambda job: (job["createdAt"], job["jobId"])):
            owner = self._owners.get(job["jobId"])
            if owner is not None and owner.run:
                found.setdefault(owner.run, []).append({**job, "call": owner.call})
        return found

    def _tasks(self, jobs: Iterable[Mapping[str, Any]]) -> list[Task]:
        attempts: dict[tuple[str, str], list[Attempt]] = {}
        guessed = set()
        for job in jobs:
            if "size" not in job.get("arrayProperties", {}):
                call, shard, number = parse_job_name(job["jobName"])
                attempts.setdefault((call, shard), []).append(_attempt(job, number))
                continue
            lines = self._lines(job["jobId"])
            for child in self._children(job):
                index = child["arrayProperties"]["index"]
                if lines is not None and index < len(lines):
                    call, shard, number = _parse_line(lines[index])
                else:
                    call, number = _call(job)
                    shard = f"{job['jobId'][:8]}:{index}"
                    guessed.add((call, shard))
                attempts.setdefault((call, shard), []).append(
                    _attempt({**child, "jobQueue": job["jobQueue"]}, number)
                )
        return [
            Task(
                call,
                shard,
                (call, shard) not in guessed,
                tuple(sorted(group, key=lambda a: (a.number, a.created or 0.0, a.job_id))),
            )
            for (call, shard), group in attempts.items()
        ]

    def _lines(self, array_id: str) -> list[str] | None:
        owner = self._owners.get(array_id)
        return self._manifest(owner.manifest) if owner and owner.manifest else None

    def _children(self, array: Mapping[str, Any]) -> list[dict[str, Any]]:
        array_id = array["jobId"]
        if array_id in self._ended_arrays:
            return self._ended_arrays[array_id]
        size = array["arrayProperties"]["size"]
        summary = array["arrayProperties"].get("statusSummary") or {}
        ended = state_of(array["status"]).ended
        states = [state.value for state in JobState]
        if ended and sum(summary.values()) == size:
            states = [state for state in states if summary.get(state)]
        found = {
            child["jobId"]: child
            for state in states
            for child in self.listing.children(array_id, state)
        }
        children = sorted(found.values(), key=lambda child: child["arrayProperties"]["index"])
        if ended and len(children) == size and all(state_of(c["status"]).ended for c in children):
            self._ended_arrays[array_id] = children
        return children


def task_queues(job: Mapping[str, Any], queue_tags: Mapping[str, str]) -> tuple[str, ...]:
    """The queues that a workflow job submits its tasks to: by its own environment, which only
    DescribeJobs shows, else by the tags of its queue."""
    found = s.Settings(s.env_source(variables_of(job)), s.tag_source(queue_tags))
    named = [found.get(setting) for setting in (s.TASK_QUEUE, s.TASK_QUEUE_FALLBACK)]
    return _unique([*named, *s.names(found.get(s.TASK_QUEUES))])


def clusters_of(job: Mapping[str, Any], queue_tags: Mapping[str, str]) -> tuple[str, ...]:
    """The ECS clusters in which a workflow job may have tasks, likewise; its own first."""
    found = s.Settings(s.env_source(variables_of(job)), s.tag_source(queue_tags))
    own = str(job["jobQueue"]).partition("/")[0] if is_ecs_task(str(job["jobId"])) else None
    return _unique((own, found.get(s.FARGATE_CLUSTER)))


def variables_of(job: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables of a job as DescribeJobs shows it."""
    pairs = job.get("container", {}).get("environment", [])
    return {pair["name"]: pair["value"] for pair in pairs if "name" in pair and "value" in pair}


def reason_of(job: Mapping[str, Any]) -> str | None:
    """Why a job failed, or cannot start, in a few words; ``None`` if there is nothing to say."""
    if "ecsTask" in job:
        snapshot = snapshot_of_task(job["ecsTask"], CONTAINER, LOG_PREFIX)
    else:
        snapshot = snapshot_of(job)
    if snapshot.state is JobState.FAILED:
        return classify(snapshot, None).message.removesuffix(f" (job {snapshot.job_id})")
    blockage = diagnose(snapshot)
    return blockage.advice if blockage else None


def _unique(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.rpartition("/")[2] for name in names if name))


def _queue(job: Mapping[str, Any]) -> str:
    if is_ecs_task(str(job["jobId"])):
        return str(job["jobQueue"])
    return str(job["jobQueue"]).rpartition("/")[2]


def _owner(detail: Mapping[str, Any]) -> _Owner:
    manifest = variables_of(detail).get("MINIWDL_CLOUD_MANIFEST")
    tags = detail.get("tags") or {}
    return _Owner(tags.get(PARENT_TAG, ""), manifest, tags.get(CALL_TAG))


def _call(job: Mapping[str, Any]) -> tuple[str, int]:
    """Call name and attempt of a job: its tag says the call, whatever the name has room for."""
    call, _, attempt = parse_job_name(job["jobName"])
    return job.get("call") or call, attempt


def _parse_line(line: str) -> tuple[str, str, int]:
    """Call, shard and attempt of a line of a manifest (`engines.task_job.item_of`)."""
    directory, _, suffix = line.partition("\t")
    name = PurePath(directory).name.removeprefix("call-")
    call, _, shard = name.partition("-")
    return call, shard, int(suffix) if suffix.isdecimal() else 1


def _counts(jobs: Iterable[Mapping[str, Any]]) -> dict[str, Counts]:
    ans: dict[str, Counts] = {}
    later: dict[str, int] = {}
    for job in jobs:
        call, attempt = _call(job)
        counts = ans.setdefault(call, Counts())
        array = job.get("arrayProperties", {})
        if attempt > 1:
            later[call] = later.get(call, 0) + array.get("size", 1)
        if "size" not in array:
            counts.add(state_of(job["status"]))
            continue
        before = counts.total
        for state, number in (array.get("statusSummary") or {}).items():
            counts.add(state_of(state), number)
        # Batch counts children a little late.
        counts.waiting += max(0, array["size"] - (counts.total - before))
    for call, number in later.items():
        # Each later attempt stands in the place of one that failed.
        ans[call].failed = max(0, ans[call].failed - number)
    return ans


def _attempt(job: Mapping[str, Any], number: int) -> Attempt:
    return Attempt(
        job_id=job["jobId"],
        queue=job["jobQueue"],
        number=number,
        state=state_of(job["status"]),
        reason=reason_of(job),
        exit_code=job.get("container", {}).get("exitCode"),
        created=_seconds(job.get("createdAt")),
        started=_seconds(job.get("startedAt")),
        stopped=_seconds(job.get("stoppedAt")),
        terminated=bool(job.get("isTerminated") or job.get("isCancelled")),
    )


def _run(
    job: Mapping[str, Any],
    queue_tags: Mapping[str, str],
    counts: Mapping[str, Counts],
    tasks: Sequence[Task] = (),
) -> Run:
    return Run(
        job_id=job["jobId"],
        name=job["jobName"],
        queue=_queue(job),
        cost=_cost((job.get("tags") or {}).get(COST_TAG)),
        state=state_of(job["status"]),
        reason=reason_of(job),
        exit_code=job.get("container", {}).get("exitCode"),
        created=job["createdAt"] / 1000,
        started=_seconds(job.get("startedAt")),
        stopped=_seconds(job.get("stoppedAt")),
        task_queues=task_queues(job, queue_tags),
        counts=counts,
        tasks=tasks,
        clusters=clusters_of(job, queue_tags),
    )


def _cost(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else None


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None
