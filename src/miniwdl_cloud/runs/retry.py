"""The same submission again: a workflow job made of what DescribeJobs says of an earlier one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from .model import state_of

_UNIQUE_END = re.compile(r"-[a-z2-7]{8}$")
_JOB_NAME_MAX = 128


def request_again(job: Mapping[str, Any], unique: str) -> dict[str, Any]:
    """The SubmitJob request that repeats a workflow job.

    The job definition is named by its revision, so that it is the very same, and the WDL source
    code that travelled in variables and tags travels again.

    Parameters
    ----------
    job
        As DescribeJobs shows it.
    unique
        An ending of letters and digits for the job's name.

    Raises
    ------
    UsageError
        It has not ended, or is no job of one container.
    """
    if not state_of(job["status"]).ended:
        raise UsageError(
            f"The run {job['jobName']} has not ended ({job['status']}); cancel it first, or wait"
            " for its end."
        )
    container = job.get("container")
    if not container or "command" not in container:
        raise UsageError(f"The job {job['jobId']} was not submitted by miniwdl-aws-submit.")
    stem = _UNIQUE_END.sub("", job["jobName"])
    request: dict[str, Any] = {
        "jobName": f"{stem[: _JOB_NAME_MAX - len(unique) - 1]}-{unique}",
        "jobQueue": job["jobQueue"],
        "jobDefinition": job["jobDefinition"],
        "containerOverrides": {
            "command": container["command"],
            # Batch takes no variable of these names in an override (API reference,
            # ContainerOverrides).
            "environment": [
                pair
                for pair in container.get("environment", [])
                if not pair.get("name", "").startswith("AWS_BATCH")
            ],
            "resourceRequirements": container.get("resourceRequirements", []),
        },
    }
    # Tags whose keys begin so are AWS's own.
    tags = {k: v for k, v in (job.get("tags") or {}).items() if not k.startswith("aws:")}
    if tags:
        request["tags"] = tags
    if job.get("timeout"):
        request["timeout"] = job["timeout"]
    return request
