"""The same submission again: a workflow job made of what DescribeJobs says of an earlier one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import settings as s
from ..costs.spending import COST_TAG
from ..engines.ecs_place import find_place
from ..engines.ecs_queue import NAME_TAG, run_task_request
from ..errors import UsageError
from ..jobs.request import Definition, JobRequest, Resources
from .model import state_of

_UNIQUE_END = re.compile(r"-[a-z2-7]{8}$")
_JOB_NAME_MAX = 128


def request_again(job: Mapping[str, Any], unique: str) -> dict[str, Any]:
    """The SubmitJob or RunTask request that repeats a workflow job.

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
    name = f"{stem[: _JOB_NAME_MAX - len(unique) - 1]}-{unique}"
    # Tags whose keys begin so are AWS's own; what the run has cost, the new one has not.
    tags = {
        key: value
        for key, value in (job.get("tags") or {}).items()
        if not key.startswith("aws:") and key != COST_TAG
    }
    if "ecsTask" in job:
        return _run_task(job, name, tags)
    request: dict[str, Any] = {
        "jobName": name,
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
    if tags:
        request["tags"] = tags
    if job.get("timeout"):
        request["timeout"] = job["timeout"]
    return request


def _run_task(job: Mapping[str, Any], name: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """The RunTask request that repeats a workflow job. DescribeTasks does not tell its network,
    but its own variables do."""
    task, container = job["ecsTask"], job["container"]
    variables = {pair["name"]: pair["value"] for pair in container["environment"]}
    place = find_place(s.Settings(s.env_source(variables)), None)
    request = run_task_request(
        JobRequest(
            name=name,
            queue=job["jobQueue"],
            definition=Definition("{}"),
            resources=Resources(int(task["cpu"]) / 1024, int(task["memory"])),
            environment=tuple(variables.items()),
            tags=tuple((key, value) for key, value in tags.items() if key != NAME_TAG),
        ),
        task["taskDefinitionArn"],
        place.network,
    )
    request["overrides"]["containerOverrides"][0]["command"] = container["command"]
    return request
