"""What is known of a run: its workflow job, and its tasks with their attempts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..jobs.request import JobState

WAITING = (JobState.SUBMITTED, JobState.PENDING, JobState.RUNNABLE)
RUNNING = (JobState.STARTING, JobState.RUNNING)

_JOB_NAME = re.compile(r"(?P<run_id>.+?)(?:-try(?P<attempt>\d+))?-[a-z2-7]{8}")


def state_of(text: str) -> JobState:
    """The state of that name; one that AWS may add some day counts as waiting."""
    return JobState(text) if text in JobState.__members__ else JobState.PENDING


def short_id(job_id: str) -> str:
    """The beginning of a job's id, or of the part of a task's ARN that is its own."""
    return job_id.rpartition("/")[2][:8]


def parse_job_name(name: str) -> tuple[str, str, int]:
    """Call name, shard and attempt of a task job's name (`engines.task_job.unique_job_name`).

    A call name is a WDL identifier, which holds no hyphen; what follows it are the indices of its
    scatters, each perhaps with a label. A job of another kind of name is a call of that name.
    """
    match = _JOB_NAME.fullmatch(name)
    if match is None:
        return name, "", 1
    call, _, shard = match["run_id"].partition("-")
    return call, shard, int(match["attempt"] or 1)


@dataclass
class Counts:
    """How many tasks are where."""

    done: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.done + self.running + self.waiting + self.failed

    def add(self, state: JobState, number: int = 1) -> None:
        """Count tasks of a state."""
        if state is JobState.SUCCEEDED:
            self.done += number
        elif state is JobState.FAILED:
            self.failed += number
        elif state in RUNNING:
            self.running += number
        else:
            self.waiting += number

    def plus(self, other: Counts) -> Counts:
        """The sum of two."""
        return Counts(
            self.done + other.done,
            self.running + other.running,
            self.waiting + other.waiting,
            self.failed + other.failed,
        )

    def as_json(self) -> dict[str, int]:
        """For ``--json``."""
        return {
            "done": self.done,
            "running": self.running,
            "waiting": self.waiting,
            "failed": self.failed,
        }


@dataclass(frozen=True)
class Attempt:
    """One attempt at one task: a Batch job, or a child of an array job.

    Parameters
    ----------
    number
        From 1.
    reason
        Why it failed, or why it waits, where that is known.
    exit_code
        Of its container, where it has one.
    created, started, stopped
        Seconds since the epoch.
    terminated
        Whether somebody asked for its end.
    """

    job_id: str
    queue: str
    number: int
    state: JobState
    reason: str | None = None
    exit_code: int | None = None
    created: float | None = None
    started: float | None = None
    stopped: float | None = None
    terminated: bool = False

    def as_json(self) -> dict[str, Any]:
        """For ``--json``; times in seconds since the epoch."""
        return {
            "attempt": self.number,
            "jobId": self.job_id,
            "jobQueue": self.queue,
            "state": self.state.value,
            "reason": self.reason,
            "exitCode": self.exit_code,
            "created": self.created,
            "started": self.started,
            "stopped": self.stopped,
        }


@dataclass(frozen=True)
class Task:
    """One task: a call, or one shard of a scattered call.

    Parameters
    ----------
    shard
        Its indices, and labels, such as ``3-sampleA``; empty for a call that is not scattered.
    exact
        Whether the name is the task's own. Children of an array job are known by their index
        alone, where the shared filesystem with the array's manifest is not at hand; their array is
        named after its first member.
    attempts
        In their order.
    """

    call: str
    shard: str
    exact: bool
    attempts: tuple[Attempt, ...]

    @property
    def last(self) -> Attempt:
        """The latest attempt, which says how the task is."""
        return self.attempts[-1]

    @property
    def label(self) -> str:
        """How it is called on the screen."""
        return f"[{self.shard}]" if self.shard else self.call

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "call": self.call,
            "shard": self.shard or None,
            "exact": self.exact,
            "state": self.last.state.value,
            "attempts": [attempt.as_json() for attempt in self.attempts],
        }


@dataclass(frozen=True)
class Run:
    """A run: its workflow job, and what is known of its tasks.

    Parameters
    ----------
    counts
        Of each call by name, in the order in which the calls began.
    tasks
        One by one, where they were asked for.
    task_queues, clusters
        Where its task jobs are: Batch job queues, ECS clusters.
    created, started, stopped
        Seconds since the epoch.
    cost
        US dollars that its tasks have cost so far, as its engine estimates; ``None`` where no tag
        of the workflow job says.
    """

    job_id: str
    name: str
    queue: str
    state: JobState
    reason: str | None = None
    exit_code: int | None = None
    created: float = 0.0
    started: float | None = None
    stopped: float | None = None
    task_queues: tuple[str, ...] = ()
    cost: float | None = None
    counts: Mapping[str, Counts] = field(default_factory=dict)
    tasks: Sequence[Task] = ()
    clusters: tuple[str, ...] = ()

    @property
    def total(self) -> Counts:
        """Counts of all calls together."""
        ans = Counts()
        for counts in self.counts.values():
            ans = ans.plus(counts)
        return ans

    @property
    def retries(self) -> int:
        """Attempts beyond the first of each task, where tasks were asked for one by one."""
        return sum(len(task.attempts) - 1 for task in self.tasks)

    def as_json(self, with_tasks: bool) -> dict[str, Any]:
        """For ``--json``; times in seconds since the epoch."""
        ans: dict[str, Any] = {
            "jobId": self.job_id,
            "jobName": self.name,
            "jobQueue": self.queue,
            "state": self.state.value,
            "reason": self.reason,
            "exitCode": self.exit_code,
            "created": self.created,
            "started": self.started,
            "stopped": self.stopped,
            "costUSD": self.cost,
            "taskQueues": list(self.task_queues),
            "clusters": list(self.clusters),
            "tasks": self.total.as_json(),
            "calls": [
                {"name": name, **counts.as_json()} for name, counts in sorted(self.counts.items())
            ],
        }
        if with_tasks:
            ans["shards"] = [task.as_json() for task in self.tasks]
        return ans
