"""Why a job waits in RUNNABLE without hope: a pure function from what Batch says of it.

Batch diagnoses the job at the head of a queue in its `statusReason` (user guide, "Jobs stuck in
RUNNABLE status"). A job that only waits for its turn has none.
"""

from __future__ import annotations

from dataclasses import dataclass

from .request import JobSnapshot, JobState


@dataclass(frozen=True)
class Blockage:
    """Why a job cannot start.

    Parameters
    ----------
    reason
        Batch's own words.
    advice
        What it means and what to do.
    passing
        Whether it may pass by itself, as a want of capacity does; another queue may do better.
    """

    reason: str
    advice: str
    passing: bool


# Beginnings of Batch's reasons, or parts of them, in the order in which they are looked for.
_KNOWN = (
    (
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
        "AWS has no instance free of the types that the queue may use; allow more instance types"
        " or Availability Zones, or name a fallback queue",
        True,
    ),
    (
        "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
        "the task asks for more than the compute environments' maximum of vCPUs or their largest"
        " instance type can give; lower its cpu or memory, or raise the maximum",
        False,
    ),
    (
        "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        # nextflow#7479: also said for a while, until the first instances have started.
        "no instance type of the queue has the CPUs, memory or GPUs that the task asks for; unless"
        " this passes once instances have started, lower them, or allow larger instance types",
        False,
    ),
    (
        "MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS",
        "the compute environment's service role may not start instances; repair its permissions",
        False,
    ),
    (
        "MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED",
        "the compute environment's instances cannot be started as configured; look at its launch"
        " template and image",
        False,
    ),
    (
        "CE(s) associated with the job queue are invalid",
        "the compute environments of the job queue are invalid; look at their status reason",
        False,
    ),
    ("MISCONFIGURATION:", "the deployment is not able to run the task", False),
    ("UNDETERMINED", "Batch does not know why the task cannot start; look at the queue", True),
)


def diagnose(snapshot: JobSnapshot) -> Blockage | None:
    """Why a job cannot start; ``None`` for one that runs, has ended, or waits its turn."""
    reason = snapshot.status_reason
    if snapshot.state is not JobState.RUNNABLE or not reason:
        return None
    for part, advice, passing in _KNOWN:
        if part in reason:
            return Blockage(reason, advice, passing)
    return None
