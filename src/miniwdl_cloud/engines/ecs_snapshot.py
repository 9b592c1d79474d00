"""What ECS says of a task, in the terms of `jobs/`: pure functions over DescribeTasks and RunTask.

Shapes are those of botocore's `ecs` model: `Task` and `Failure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MiniwdlCloudError, NoCapacity, ServiceError, Throttled
from ..jobs.request import JobSnapshot, JobState

# ECS developer guide, "Amazon ECS task lifecycle". A task waits for a machine and its network in
# PROVISIONING; in PENDING its agent mounts volumes and pulls the image. Until STOPPED the exit code
# may be missing and the reason change.
_STATES = {
    "PROVISIONING": JobState.RUNNABLE,
    "PENDING": JobState.STARTING,
    "ACTIVATING": JobState.STARTING,
    "RUNNING": JobState.RUNNING,
    "DEACTIVATING": JobState.RUNNING,
    "STOPPING": JobState.RUNNING,
    "DEPROVISIONING": JobState.RUNNING,
}
_ENDED = ("STOPPED", "DELETED")

# Reasons of RunTask's `failures` that pass by themselves: ECS developer guide, "API failure
# reasons" and "Service event messages"; AWS re:Post, "Capacity is unavailable".
_NO_CAPACITY = (
    "RESOURCE:",
    "AGENT",
    "EMPTY CAPACITY PROVIDER",
    "NO ACTIVE INSTANCES",
    "Capacity is unavailable",
    "reached the limit",
)
_THROTTLED = "Rate exceeded"


def snapshot_of_task(
    task: Mapping[str, Any], container: str | None = None, log_prefix: str | None = None
) -> JobSnapshot:
    """A snapshot of a task as DescribeTasks shows it; its ARN is the job's id.

    Parameters
    ----------
    task
        One of `tasks`.
    container
        Name of the container that runs the command; the only one, or the first, by default.
    log_prefix
        `awslogs-stream-prefix` of the task definition; the log stream is prefix/container/task id
        (ECS developer guide, "Send Amazon ECS logs to CloudWatch").
    """
    containers: Sequence[Mapping[str, Any]] = task.get("containers", [])
    main = next((c for c in containers if c.get("name") == container), None)
    if main is None:
        main = containers[0] if containers else {}
    arn = str(task["taskArn"])
    started = "startedAt" in task or "exitCode" in main
    stream = f"{log_prefix}/{main.get('name')}/{arn.rpartition('/')[2]}"
    return JobSnapshot(
        job_id=arn,
        state=_state(task, main),
        exit_code=main.get("exitCode"),
        reason=main.get("reason"),
        status_reason=task.get("stoppedReason"),
        attempt_reasons=tuple(
            other["reason"] for other in containers if other is not main and other.get("reason")
        ),
        log_stream=stream if log_prefix and started else None,
        stop_code=task.get("stopCode"),
        terminated=task.get("stopCode") == "UserInitiated",
        detail=task,
    )


def _state(task: Mapping[str, Any], main: Mapping[str, Any]) -> JobState:
    status = task.get("lastStatus", "")
    if status not in _ENDED:
        # A state that AWS may add some day is none that has ended.
        return _STATES.get(status, JobState.PENDING)
    well = main.get("exitCode") == 0 and not main.get("reason")
    return JobState.SUCCEEDED if well and _ended_itself(task) else JobState.FAILED


def _ended_itself(task: Mapping[str, Any]) -> bool:
    return task.get("stopCode") in (None, "EssentialContainerExited")


def run_task_error(failures: Sequence[Mapping[str, Any]]) -> MiniwdlCloudError | None:
    """What RunTask's `failures` mean: `None` if there are none.

    ECS has started nothing then, so that there is no doubt about the request.

    Returns
    -------
    MiniwdlCloudError
        `NoCapacity` where waiting helps: capacity, limits. `Throttled` where ECS asks to slow down.
        `ServiceError` for all else, such as ``MISSING``.
    """
    if not failures:
        return None
    reasons = [str(failure.get("reason") or failure.get("detail") or "") for failure in failures]
    said = "; ".join(dict.fromkeys(_worded(failure) for failure in failures))
    info = {"operation": "RunTask", "failures": [dict(failure) for failure in failures]}
    if all(any(part in reason for part in (*_NO_CAPACITY, _THROTTLED)) for reason in reasons):
        kind = Throttled if any(_THROTTLED in reason for reason in reasons) else NoCapacity
        return kind(f"ECS cannot start the task at this time, so it waits: {said}", info)
    return ServiceError(
        f"ECS cannot start the task: {said}; look at the cluster and the task definition.", info
    )


def _worded(failure: Mapping[str, Any]) -> str:
    texts = (failure.get("reason"), failure.get("detail"), failure.get("arn"))
    return ", ".join(str(text) for text in texts if text) or "no reason was given"
