"""Which workflow job a process runs in: a Batch job, whose id is a UUID, or an ECS task, whose id
is its ARN."""

from __future__ import annotations

import json
import logging
import re
import time
import urllib.request
from collections.abc import Mapping

logger = logging.getLogger("miniwdl-cloud.workflow-job")

ECS_TASK = re.compile(r"arn:[\w-]+:ecs:[\w-]+:\d{12}:task/[\w-]+/[0-9a-f]{32}", re.ASCII)
"""The ARN of an ECS task, with its cluster (ECS developer guide, "Amazon Resource Names (ARNs) and
IDs"). Shorter ones, without, are of tasks of before 2021."""
BATCH_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The id of a Batch job."""
_TRIES = 4
_TIMEOUT_S = 3.0


def is_ecs_task(job_id: str) -> bool:
    """Whether an id is the ARN of an ECS task."""
    return job_id.startswith("arn:")


def workflow_job_id(environ: Mapping[str, str]) -> str | None:
    """The id of the Batch job or ECS task that this process runs in; ``None`` outside of both.

    An ECS task is told its ARN by the task metadata endpoint alone (ECS developer guide, "Amazon
    ECS task metadata endpoint version 4 for tasks on Fargate"). Batch jobs have one as well.

    Parameters
    ----------
    environ
        The process environment.
    """
    job_id = environ.get("AWS_BATCH_JOB_ID")
    uri = environ.get("ECS_CONTAINER_METADATA_URI_V4")
    return job_id or (_task_arn(uri) if uri else None)


def _task_arn(uri: str) -> str | None:
    # A link-local address, which no proxy can reach.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for left in reversed(range(_TRIES)):
        try:
            with opener.open(f"{uri}/task", timeout=_TIMEOUT_S) as answer:
                return str(json.load(answer)["TaskARN"])
        except (OSError, ValueError, KeyError, TypeError) as exn:
            if not left:
                logger.warning(
                    "the task metadata endpoint does not answer, so tasks will not be tagged with"
                    " the workflow job: %s",
                    exn,
                )
        time.sleep(0.5)
    return None
