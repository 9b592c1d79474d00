"""Why a job or an attempt ended, in Batch's words."""

from __future__ import annotations

from ..limits import OVERRIDES_LENGTH, TAGS
from .launch import overrides_length
from .models import Attempt, Job


def why_refused(job: Job) -> str | None:
    """What Batch finds only when it hands an accepted job to ECS."""
    if overrides_length(job) > OVERRIDES_LENGTH:
        return f"Container Overrides length must be at most {OVERRIDES_LENGTH}"
    definition = job.definition.detail
    if job.request.get("propagateTags", definition.get("propagateTags")):
        tags = len({**definition["tags"], **job.tags})
        if tags > TAGS:
            return f"Number of tags to propagate must be at most {TAGS}, got {tags}"
    return None


def status_reason(attempt: Attempt) -> str:
    """Why an attempt ended, as Batch words it."""
    if attempt.ending is not None and attempt.ending.status_reason is not None:
        return attempt.ending.status_reason
    if attempt.interrupted and attempt.environment.is_fargate:
        return "Your Spot Task was interrupted."
    if attempt.interrupted:
        return f"Host EC2 (instance i-{attempt.task_id[:17]}) terminated."
    if attempt.timed_out:
        return "Job attempt duration exceeded timeout"
    if attempt.exit_code is None:
        return "Task failed to start"
    return "Essential container in task exited"
