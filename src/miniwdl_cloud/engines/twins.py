"""Two jobs for one task: which one has it; see `task_files.close_attempt`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import FilesystemFull, MiniwdlCloudError
from ..jobs.service import QueueService
from ..patience import patiently
from . import task_files


def other_job(
    queue: QueueService,
    directory: Path,
    attempt: int,
    job_id: str | None,
    is_unwanted: Callable[[], bool],
) -> str | None:
    """The job that has an attempt in place of one that is over; if there is none, no other will
    have it from now on.

    Parameters
    ----------
    queue
        Where both are.
    directory
        The task's run directory.
    attempt
        Which of its attempts.
    job_id
        The job that is over, if it ever had an id.
    is_unwanted
        Whether the task is; then AWS is not waited for.
    """
    try:
        claim = task_files.close_attempt(directory, attempt)
    except (OSError, FilesystemFull):
        # Whoever needs the filesystem next will say so.
        return None
    if job_id is None or claim == task_files.CLOSED or task_files.holds(job_id, claim):
        return None
    # A task may write into its directory whatever it wants.
    try:
        found = patiently(lambda: queue.describe([job_id, claim]), is_unwanted, lambda exn: None)
    except MiniwdlCloudError:
        return None
    names = [found[id_].detail.get("jobName") for id_ in (job_id, claim) if id_ in found]
    known = len(names) == 2 and names[0] is not None
    return claim if known and names[0] == names[1] else None
