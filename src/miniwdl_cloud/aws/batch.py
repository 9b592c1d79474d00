"""AWS Batch: the calls that we make, a function each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import botocore.exceptions

from .error_mapping import map_errors
from .session import AwsSession

DESCRIBE_JOBS_MAX = 100
"""Ids in one DescribeJobs call (API reference, DescribeJobs, `jobs`)."""
ARRAY_MAX = 10_000
"""Children of an array job (API reference, ArrayProperties, `size`)."""


class BatchClient:
    """AWS Batch in one Region.

    Every method raises the errors of `miniwdl_cloud.errors` that `aws.error_mapping` makes of
    botocore's.

    Parameters
    ----------
    session
        Where the client comes from.
    retrying
        Whether botocore may send a request again by itself.
    """

    def __init__(self, session: AwsSession, retrying: bool = True) -> None:
        self._client = session.client("batch", retrying)

    def describe_queues(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Job queues by name or ARN; those that do not exist are left out."""
        with map_errors(f"looking up the job queue {', '.join(names)}"):
            return list(self._client.describe_job_queues(jobQueues=list(names))["jobQueues"])

    def all_queues(self) -> list[dict[str, Any]]:
        """All job queues of the account and Region."""
        with map_errors("looking at the job queues"):
            pages = self._client.get_paginator("describe_job_queues").paginate()
            return [queue for page in pages for queue in page["jobQueues"]]

    def describe_compute_environments(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Compute environments by name or ARN; those that do not exist are left out."""
        with map_errors("looking up compute environments"):
            answer = self._client.describe_compute_environments(computeEnvironments=list(names))
        return list(answer["computeEnvironments"])

    def find_definition(self, name: str) -> str | None:
        """ARN of the newest active revision of a job definition, if there is one."""
        return next(iter(self.active_definitions(name)), None)

    def all_active_definitions(self) -> list[dict[str, Any]]:
        """The active job definitions of the account and Region."""
        with map_errors("looking up job definitions"):
            pages = self._client.get_paginator("describe_job_definitions").paginate(status="ACTIVE")
            return [definition for page in pages for definition in page["jobDefinitions"]]

    def active_definitions(self, name: str) -> list[str]:
        """ARNs of a job definition's active revisions, the newest first."""
        with map_errors("looking up job definitions"):
            pages = self._client.get_paginator("describe_job_definitions").paginate(
                jobDefinitionName=name, status="ACTIVE"
            )
            found = [definition for page in pages for definition in page["jobDefinitions"]]
        found.sort(key=lambda definition: definition["revision"], reverse=True)
        return [str(definition["jobDefinitionArn"]) for definition in found]

    def describe_definition(self, name_or_arn: str) -> dict[str, Any] | None:
        """One job definition by ARN or ``name:revision``, tags included."""
        with map_errors("looking up a job definition"):
            found = self._client.describe_job_definitions(jobDefinitions=[name_or_arn])
        definitions = found["jobDefinitions"]
        return dict(definitions[0]) if definitions else None

    def register_definition(self, request: Mapping[str, Any]) -> str:
        """Register a job definition; returns its ARN."""
        with map_errors("registering a job definition"):
            return str(self._client.register_job_definition(**request)["jobDefinitionArn"])

    def deregister_definition(self, arn: str) -> None:
        """Make a job definition inactive."""
        with map_errors("deregistering a job definition"):
            self._client.deregister_job_definition(jobDefinition=arn)

    def submit(self, request: Mapping[str, Any]) -> str:
        """Submit a job; returns its id. SubmitJob has no client token: a caller in doubt whether
        a lost answer was a success looks the unique name up with `list_jobs`."""
        with map_errors("submitting a job"):
            return str(self._client.submit_job(**request)["jobId"])

    def describe_jobs(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Jobs by id, in calls of 100; those that the answer leaves out are not in the result."""
        found: dict[str, dict[str, Any]] = {}
        for chunk in _chunks(list(ids), DESCRIBE_JOBS_MAX):
            with map_errors("looking at jobs"):
                for job in self._client.describe_jobs(jobs=chunk)["jobs"]:
                    found[job["jobId"]] = job
        return found

    def list_jobs(self, queue: str, name: str) -> list[dict[str, Any]]:
        """Summaries of a queue's jobs of this exact name, in any state."""
        with map_errors("looking up a job by name"):
            pages = self._client.get_paginator("list_jobs").paginate(
                jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}]
            )
            # The JOB_NAME filter is a case-insensitive match with an optional trailing asterisk.
            return [
                job for page in pages for job in page["jobSummaryList"] if job["jobName"] == name
            ]

    def list_jobs_in_state(self, queue: str, status: str) -> list[dict[str, Any]]:
        """Summaries of a queue's jobs that have a status; children of array jobs are not listed."""
        with map_errors("looking at the jobs of a queue"):
            pages = self._client.get_paginator("list_jobs").paginate(
                jobQueue=queue, jobStatus=status
            )
            return [job for page in pages for job in page["jobSummaryList"]]

    def tag_resource(self, arn: str, tags: Mapping[str, str]) -> None:
        """Set tags of a job, queue, definition or compute environment."""
        with map_errors("tagging a job"):
            self._client.tag_resource(resourceArn=arn, tags=dict(tags))

    def list_children(self, array_id: str, status: str) -> list[str]:
        """Ids of an array job's children that have a status; a thousand a call."""
        with map_errors("looking at an array job's children"):
            pages = self._client.get_paginator("list_jobs").paginate(
                arrayJobId=array_id, jobStatus=status
            )
            return [job["jobId"] for page in pages for job in page["jobSummaryList"]]

    def terminate(self, job_id: str, reason: str) -> None:
        """Terminate a job in whatever state; nothing happens to one that has ended.

        Parameters
        ----------
        reason
            At most 1,024 characters (TerminateJob, `reason`); cut if longer.
        """
        with map_errors("terminating a job"):
            self._client.terminate_job(jobId=job_id, reason=reason[:1024])

    def definition_not_visible_yet(self, exn: BaseException) -> bool:
        """Whether a refusal of SubmitJob says that the job definition does not exist.

        Batch is eventually consistent: a definition just registered may be unknown for seconds.
        """
        cause = exn.__cause__
        if not isinstance(cause, botocore.exceptions.ClientError):
            return False
        text = str(cause.response.get("Error", {}).get("Message", "")).lower()
        return "jobdefinition" in text.replace(" ", "") and "not" in text


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
