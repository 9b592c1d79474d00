"""AWS Batch as a queue service of the dispatcher."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..accounting.tagged import ALONE_PREFIX, OWNER_VARIABLE, AloneDefinition, OpenJob
from ..aws.batch import ARRAY_MAX, DESCRIBE_JOBS_MAX, BatchClient
from ..errors import MiniwdlCloudError, ServiceError
from ..filesystems.weather import write_file_atomically
from ..jobs.request import Definition, JobRequest, JobSnapshot, JobState, Resources
from ..jobs.service import DefinitionNotVisible
from ..workflow_job import is_ecs_task


class BatchQueue:
    """Implements `jobs.service.QueueService` over AWS Batch.

    Parameters
    ----------
    batch
        For looking: botocore may retry its calls.
    submitting
        For SubmitJob alone: without botocore's retries. SubmitJob has no client token, so a
        request that may have taken effect must be looked up before it is sent again.
    describe_others
        Describes what is no Batch job: workflow jobs that are ECS tasks.
    """

    describe_max = DESCRIBE_JOBS_MAX
    array_max = ARRAY_MAX

    def __init__(
        self,
        batch: BatchClient,
        submitting: BatchClient,
        describe_others: Callable[[Sequence[str]], Mapping[str, JobSnapshot]] | None = None,
    ) -> None:
        self._batch = batch
        self._submitting = submitting
        self._describe_others = describe_others

    def ensure_definition(self, definition: Definition) -> str:
        """ARN of an active job definition of this name, which says all of its content."""
        found = self._batch.find_definition(definition.name)
        if found is not None:
            return found
        request = {"jobDefinitionName": definition.name, **json.loads(definition.content)}
        return self._batch.register_definition(request)

    def retire(self, definition: Definition) -> None:
        """DeregisterJobDefinition of every active revision: where the answer to a registration was
        lost, there are two."""
        self.retire_named(definition.name)

    def retire_named(self, name: str) -> None:
        """DeregisterJobDefinition likewise."""
        for arn in self._batch.active_definitions(name):
            self._batch.deregister_definition(arn)

    def alone_definitions(self) -> Sequence[AloneDefinition]:
        """DescribeJobDefinitions, of the whole Region."""
        found = [
            AloneDefinition(each["jobDefinitionName"], owner_in([each["containerProperties"]]))
            for each in self._batch.all_active_definitions()
            if each["jobDefinitionName"].startswith(ALONE_PREFIX) and "containerProperties" in each
        ]
        return [each for each in found if each.owner]

    def submit(self, requests: Sequence[JobRequest], definition_handle: str) -> str:
        """SubmitJob; an array's manifest is written into the directory of its first task."""
        manifest = None
        if len(requests) > 1:
            manifest = Path(requests[0].item.directory) / f"array.{requests[0].name}.tsv"
            write_file_atomically("\n".join(r.item.line for r in requests), manifest)
        try:
            return self._submitting.submit(submit_request(requests, definition_handle, manifest))
        except MiniwdlCloudError as exn:
            if self._batch.definition_not_visible_yet(exn):
                raise DefinitionNotVisible from exn
            raise

    def find(self, request: JobRequest) -> str | None:
        """Look the unique name up in the queue."""
        try:
            jobs = self._batch.list_jobs(request.queue, request.name)
        except ServiceError:
            # Batch deletes no queue that has jobs (API reference, DeleteJobQueue).
            if not self._batch.describe_queues([request.queue]):
                return None
            raise
        return str(jobs[0]["jobId"]) if jobs else None

    def describe(self, ids: Sequence[str]) -> Mapping[str, JobSnapshot]:
        """DescribeJobs."""
        jobs = [id_ for id_ in ids if not is_ecs_task(id_)]
        found = {id_: snapshot_of(job) for id_, job in self._batch.describe_jobs(jobs).items()}
        if len(jobs) < len(ids) and self._describe_others is not None:
            found.update(self._describe_others([id_ for id_ in ids if is_ecs_task(id_)]))
        return found

    def child_id(self, array_id: str, index: int) -> str:
        """Batch user guide, "Array jobs": the array's id, a colon, the index."""
        return f"{array_id}:{index}"

    def list_children(self, array_id: str, state: JobState) -> Sequence[str]:
        """ListJobs by `arrayJobId`."""
        return self._batch.list_children(array_id, state.value)

    def terminate(self, job_id: str, reason: str) -> None:
        """TerminateJob."""
        self._batch.terminate(job_id, reason)

    def open_jobs(self, queue: str) -> Sequence[OpenJob]:
        """ListJobs in each state that is not an end, and DescribeJobs, which alone tells tags."""
        ids = [
            str(job["jobId"])
            for state in JobState
            if not state.ended
            for job in self._batch.list_jobs_in_state(queue, state.value)
        ]
        # A job that changed its state in between is listed twice, or not at all.
        described = self._batch.describe_jobs(dict.fromkeys(ids))
        return [
            OpenJob(
                job_id=job_id,
                name=job["jobName"],
                queue=queue,
                created=job["createdAt"] / 1000,
                tags=dict(job.get("tags") or {}),
                tasks=job.get("arrayProperties", {}).get("size", 1),
            )
            for job_id, job in described.items()
            if not _state(job["status"]).ended
        ]

    def tag(self, job_id: str, name: str, value: str) -> None:
        """TagResource, which does not take children of array jobs (API reference)."""
        array_id = job_id.partition(":")[0]
        job = self._batch.describe_jobs([array_id]).get(array_id)
        if job is not None:
            self._batch.tag_resource(str(job["jobArn"]), {name: value})


def submit_request(
    requests: Sequence[JobRequest], definition_handle: str, manifest: Path | None = None
) -> dict[str, Any]:
    """The SubmitJob request of a job, or of several of one kind as an array job.

    Parameters
    ----------
    manifest
        For an array: the file in which each child finds what is its own, by its index.
    """
    first = requests[0]
    variables = dict(first.environment)
    if manifest is None:
        variables.update(first.item.environment)
    else:
        variables["MINIWDL_CLOUD_MANIFEST"] = str(manifest)
    ans: dict[str, Any] = {
        "jobName": first.name,
        "jobQueue": first.queue,
        "jobDefinition": definition_handle,
        "containerOverrides": {
            "environment": [{"name": k, "value": v} for k, v in variables.items()],
            "resourceRequirements": resource_requirements(first.resources),
        },
        "timeout": {"attemptDurationSeconds": first.timeout_s},
        "tags": dict(first.tags),
    }
    if first.share_identifier is not None:
        ans["shareIdentifier"] = first.share_identifier
    if first.scheduling_priority is not None:
        ans["schedulingPriorityOverride"] = first.scheduling_priority
    if manifest is not None:
        ans["arrayProperties"] = {"size": len(requests)}
    return ans


def alone_definition(definition: Definition, suffix: str, owner: str | None) -> Definition:
    """A definition for one attempt alone, of Batch or ECS. Its name says so, and a variable which
    workflow job it belongs to, so that what a killed one left can be told.

    Parameters
    ----------
    suffix
        Ending of the attempt's name.
    owner
        Id of the workflow job, if there is one.
    """
    content = json.loads(definition.content)
    containers = [content.get("containerProperties"), *content.get("containerDefinitions", ())]
    for container in containers if owner is not None else ():
        if container:
            pair = {"name": OWNER_VARIABLE, "value": owner}
            container["environment"] = [*container.get("environment", ()), pair]
    return Definition.of(content, f"{ALONE_PREFIX}{suffix}")


def owner_in(containers: Sequence[Mapping[str, Any]]) -> str:
    """The workflow job that a definition for one attempt alone names in its variables; empty if it
    names none."""
    for pair in (pair for each in containers for pair in each.get("environment") or []):
        if pair.get("name") == OWNER_VARIABLE:
            return str(pair.get("value", ""))
    return ""


def resource_requirements(resources: Resources) -> list[dict[str, str]]:
    """`resourceRequirements` of a job or job definition."""
    ans = [
        {"type": "VCPU", "value": str(resources.vcpus)},
        {"type": "MEMORY", "value": str(resources.memory_mib)},
    ]
    if resources.gpus:
        ans.append({"type": "GPU", "value": str(resources.gpus)})
    return ans


def snapshot_of(job: Mapping[str, Any]) -> JobSnapshot:
    """A snapshot of a job as DescribeJobs shows it."""
    container = job.get("container", {})
    reasons = []
    for attempt in job.get("attempts", []):
        reasons += [attempt.get("statusReason"), attempt.get("container", {}).get("reason")]
    summary = job.get("arrayProperties", {}).get("statusSummary", {})
    return JobSnapshot(
        job_id=job["jobId"],
        state=_state(job["status"]),
        exit_code=container.get("exitCode"),
        reason=container.get("reason"),
        status_reason=job.get("statusReason"),
        attempt_reasons=tuple(r for r in reasons if r),
        log_stream=container.get("logStreamName"),
        terminated=bool(job.get("isTerminated") or job.get("isCancelled")),
        children={_state(text): count for text, count in summary.items()},
        detail=job,
    )


def _state(text: str) -> JobState:
    # A state that AWS may add some day is none that has ended.
    return JobState(text) if text in JobState.__members__ else JobState.PENDING
