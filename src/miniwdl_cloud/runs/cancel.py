"""Ending a run: its workflow job first, which ends its own tasks, then whatever is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ..errors import ServiceError, Unreachable
from ..workflow_job import is_ecs_task
from .collect import Collector
from .model import state_of

LANES = 8
"""Calls that terminate, at a time."""
PERIOD_S = 1.0
"""Seconds between two looks."""
WORKFLOW_WAIT_S = 60.0
"""Seconds that the workflow job gets to end its tasks: Batch kills its container 30 s after the
SIGTERM (Batch user guide, "Job timeouts"), ECS after the task's `stopTimeout`; a job that waits for
an instance ends at once."""
LOOKS_MIN = 2
"""Looks in a row that have to find nothing: lists of jobs may lag behind."""


class Terminating(Protocol):
    """What is needed of `BatchClient`."""

    def terminate(self, job_id: str, reason: str) -> None:
        """Terminate a job in whatever state."""


class Terminator:
    """Terminates Batch jobs and stops ECS tasks.

    Parameters
    ----------
    jobs, tasks
        AWS Batch and Amazon ECS.
    """

    def __init__(self, jobs: Terminating, tasks: Terminating) -> None:
        self._jobs = jobs
        self._tasks = tasks

    def terminate(self, job_id: str, reason: str) -> None:
        """Terminate a job, or stop a task, in whatever state."""
        (self._tasks if is_ecs_task(job_id) else self._jobs).terminate(job_id, reason)


def cancel(
    collector: Collector,
    service: Terminating,
    run_id: str,
    queues: Sequence[str],
    clusters: Sequence[str],
    say: Callable[[str], None],
    reason: str = "cancelled by miniwdl-cloud cancel",
    limit_s: float = 300.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """End a run and each of its jobs, and make sure of it.

    Parameters
    ----------
    run_id
        The workflow job.
    queues, clusters
        Where its task jobs are.
    limit_s
        Seconds after which it is given up.

    Returns
    -------
    int
        How many task jobs were left for this to terminate; an array job counts as one.

    Raises
    ------
    ServiceError
        Jobs are left when the time is over.
    Unreachable
        AWS does not answer.
    """
    deadline = clock() + limit_s
    patience = clock() + WORKFLOW_WAIT_S
    service.terminate(run_id, reason)
    say(f"workflow job {run_id}: asked to end")
    terminated: set[str] = set()
    left: list[str] = []
    ended, empty = False, 0
    while True:
        try:
            job = collector.listing.describe([run_id]).get(run_id)
            ended = job is None or state_of(job["status"]).ended
            left = collector.open_jobs(run_id, queues, clusters)
            # A workflow job that is about to end terminates its tasks itself, and knows why.
            if left and (ended or clock() > patience):
                fresh = [job_id for job_id in left if job_id not in terminated]
                if fresh:
                    say(f"{len(fresh):,} task jobs are left; terminating them")
                    _terminate(service, fresh, reason)
                    terminated.update(fresh)
            empty = empty + 1 if ended and not left else 0
        except Unreachable:
            if clock() > deadline:
                raise
            empty = 0
        if empty >= LOOKS_MIN:
            return len(terminated)
        if clock() > deadline:
            remaining = left if ended else [run_id, *left]
            raise ServiceError(
                f"{len(remaining):,} jobs of the run {run_id} have not ended after {limit_s:.0f} s,"
                f" {', '.join(remaining[:5])} among them; cancel it once more.",
                {"jobIds": remaining},
            )
        sleep(PERIOD_S)


def _terminate(service: Terminating, ids: Sequence[str], reason: str) -> None:
    with ThreadPoolExecutor(LANES, thread_name_prefix="terminate") as lanes:
        for future in [lanes.submit(service.terminate, job_id, reason) for job_id in ids]:
            future.result()
