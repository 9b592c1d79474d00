"""Jobs as DescribeJobs and ListJobs show them."""

from __future__ import annotations

from typing import Any

from .models import STARTING, TERMINAL, Attempt, Job, now_ms


def describe_job(job: Job) -> dict[str, Any]:
    """A job in the shape of botocore's ``JobDetail``."""
    definition = job.definition.detail
    detail: dict[str, Any] = {
        "jobArn": job.arn,
        "jobName": job.name,
        "jobId": job.id,
        "jobQueue": job.queue.arn,
        "status": job.status,
        "attempts": [_attempt(a) for a in job.attempts if a.stopped_at is not None],
        "createdAt": job.created_at,
        "retryStrategy": job.retry_strategy,
        "dependsOn": job.request.get("dependsOn", []),
        "jobDefinition": job.definition.arn,
        "parameters": job.parameters,
        "tags": job.tags,
        "propagateTags": job.request.get("propagateTags", definition.get("propagateTags", False)),
        "platformCapabilities": definition.get("platformCapabilities", ["EC2"]),
        "eksAttempts": [],
        "isCancelled": job.is_cancelled,
        "isTerminated": job.is_terminated,
        "container": _container(job),
        **_optional(
            statusReason=job.status_reason,
            startedAt=job.started_at,
            stoppedAt=job.stopped_at,
            shareIdentifier=job.request.get("shareIdentifier"),
            schedulingPriority=job.request.get(
                "schedulingPriorityOverride", definition.get("schedulingPriority")
            ),
        ),
    }
    if job.timeout_s is not None:
        detail["timeout"] = {"attemptDurationSeconds": job.timeout_s}
    if job.children is not None or job.parent is not None:
        detail["arrayProperties"] = _array(job)
    return detail


def summarize_job(job: Job) -> dict[str, Any]:
    """A job in the shape of botocore's ``JobSummary``."""
    summary: dict[str, Any] = {
        "jobArn": job.arn,
        "jobId": job.id,
        "jobName": job.name,
        "createdAt": job.created_at,
        "status": job.status,
        "jobDefinition": job.definition.arn,
        **_optional(
            statusReason=job.status_reason,
            startedAt=job.started_at,
            stoppedAt=job.stopped_at,
            shareIdentifier=job.request.get("shareIdentifier"),
        ),
    }
    attempt = job.attempt
    if attempt is not None and attempt.stopped_at is not None:
        ended = _optional(exitCode=attempt.exit_code, reason=attempt.reason)
        if ended:
            summary["container"] = ended
    if job.children is not None or job.parent is not None:
        summary["arrayProperties"] = _array(job)
    return summary


def _container(job: Job) -> dict[str, Any]:
    container = dict(job.container)
    container.setdefault("networkInterfaces", [])
    attempt = job.attempt
    if attempt is None or job.status not in (STARTING, "RUNNING", *TERMINAL):
        return container
    return {**container, **_where(attempt)}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "container": {"networkInterfaces": [], **_where(attempt)},
        **_optional(
            startedAt=attempt.started_at,
            stoppedAt=attempt.stopped_at,
            statusReason=attempt.status_reason,
        ),
    }


def _where(attempt: Attempt) -> dict[str, Any]:
    return _optional(
        exitCode=attempt.exit_code,
        reason=attempt.reason,
        containerInstanceArn=attempt.container_instance_arn,
        taskArn=attempt.task_arn,
        logStreamName=attempt.log_stream,
    )


def _array(job: Job) -> dict[str, Any]:
    if job.children is None:
        return {"index": job.index, "statusSummary": {}}
    return {
        "size": len(job.children),
        "statusSummary": dict(job.child_counts),
        "statusSummaryLastUpdatedAt": now_ms(),
    }


def _optional(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
