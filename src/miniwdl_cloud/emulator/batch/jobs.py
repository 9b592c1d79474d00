"""Operations on jobs: submit, describe, list, cancel, terminate."""

from __future__ import annotations

import uuid
from typing import Any

from .. import limits
from ..errors import client_error
from .base import Params, operation, page
from .definitions import DefinitionOperations
from .describe import describe_job, summarize_job
from .environments import EnvironmentOperations
from .models import RUNNING, STATUSES, Job, JobDefinition, JobQueue, now_ms


class JobOperations(EnvironmentOperations, DefinitionOperations):
    """Jobs."""

    @operation
    def submit_job(self, params: Params) -> Params:
        """SubmitJob."""
        limits.check_submission(params)
        queue = self.find_queue(params["jobQueue"])
        if queue.detail["state"] != "ENABLED":
            raise client_error(f"JobQueue {queue.arn} is not ENABLED.")
        definition = self.find_definition(params["jobDefinition"])
        if definition.is_fargate != queue.is_fargate:
            asked, there = ("FARGATE", "EC2") if definition.is_fargate else ("EC2", "FARGATE")
            raise client_error(
                f"JobDefinition {definition.arn} has platformCapabilities {asked}, but the compute"
                f" environments of JobQueue {queue.arn} are {there}."
            )
        limits.check_share(params.get("shareIdentifier"), "schedulingPolicyArn" in queue.detail)
        job = self._make_job(params, queue, definition)
        waits_for = self._dependencies(job, params.get("dependsOn", []))
        size = params.get("arrayProperties", {}).get("size")
        self.jobs[job.id] = job
        if size:
            self._add_children(job, size, params.get("dependsOn", []))
        job.waits_for = waits_for
        for job_id in waits_for:
            self.jobs[job_id].dependents.append(job)
        self.scheduler.submitted(job)
        return {"jobArn": job.arn, "jobName": job.name, "jobId": job.id}

    @operation
    def describe_jobs(self, params: Params) -> Params:
        """DescribeJobs; unknown ids are left out, as Batch does."""
        limits.check_ids(params["jobs"], "jobs")
        found = (self.jobs.get(job_id.rsplit("/", 1)[-1]) for job_id in params["jobs"])
        return {"jobs": [describe_job(job) for job in found if job is not None]}

    @operation
    def list_jobs(self, params: Params) -> Params:
        """ListJobs of a queue or of the children of an array job."""
        chosen = [m for m in ("jobQueue", "arrayJobId", "multiNodeJobId") if params.get(m)]
        if len(chosen) != 1:
            raise client_error(
                "Exactly one of jobQueue, arrayJobId and multiNodeJobId must be provided."
            )
        filters = params.get("filters", [])
        if filters and "jobQueue" not in params:
            raise client_error("filters need jobQueue.")
        status = params.get("jobStatus")
        if status is not None and status not in STATUSES:
            raise client_error(f"jobStatus {status} is not valid.")
        jobs = self._jobs_listed(params, chosen[0])
        if filters:
            name, values = _one_filter(filters)
            jobs = [job for job in jobs if _matches(job, name, values)]
            if name != "SHARE_IDENTIFIER":
                status = None
            elif status is None:
                status = RUNNING
            largest = limits.LIST_PAGE_FILTERED
        else:
            status = status or RUNNING
            largest = limits.LIST_PAGE
        if status:
            jobs = [job for job in jobs if job.status == status]
        part, token = page(jobs, params, largest)
        return {"jobSummaryList": [summarize_job(job) for job in part], **token}

    @operation
    def cancel_job(self, params: Params) -> Params:
        """CancelJob: only a job that has not reached STARTING; silently nothing for others."""
        self.scheduler.cancel(self._job_to_end(params), params["reason"])
        return {}

    @operation
    def terminate_job(self, params: Params) -> Params:
        """TerminateJob: a job in any state; silently nothing for one that has ended."""
        job = self._job_to_end(params)
        self.scheduler.terminate(job, params["reason"])
        return {}

    @operation
    def get_job_queue_snapshot(self, params: Params) -> Params:
        """GetJobQueueSnapshot: the first hundred RUNNABLE jobs."""
        queue = self.find_queue(params["jobQueue"])
        front = [
            job for job in (*queue.misfits.values(), *queue.runnable) if job.status == "RUNNABLE"
        ][:100]
        jobs = [{"jobArn": j.arn, "earliestTimeAtPosition": j.runnable_at} for j in front]
        return {"frontOfQueue": {"jobs": jobs, "lastUpdatedAt": now_ms()}}

    def _job_to_end(self, params: Params) -> Job:
        if not params["reason"]:
            raise client_error("reason is not provided.")
        if len(params["reason"]) > limits.REASON_LENGTH:
            raise client_error(f"reason must be at most {limits.REASON_LENGTH} characters.")
        job = self.jobs.get(params["jobId"])
        if job is None:
            raise client_error(f"Job {params['jobId']} not found.")
        return job

    def _jobs_listed(self, params: Params, member: str) -> list[Job]:
        if member == "arrayJobId":
            array = self.jobs.get(params[member])
            if array is None or array.children is None:
                raise client_error(f"Array job {params[member]} not found.")
            return array.children
        if member == "multiNodeJobId":
            raise client_error(f"Multi-node job {params[member]} not found.")
        queue = self.find_queue(params[member])
        return [j for j in self.jobs.values() if j.queue is queue and j.parent is None]

    def _make_job(self, params: Params, queue: JobQueue, definition: JobDefinition) -> Job:
        overrides = params.get("containerOverrides", {})
        container = merge_overrides(definition.detail["containerProperties"], overrides)
        if definition.is_fargate:
            for member in ("vcpus", "memory"):
                if overrides.get(member):
                    container[member] = overrides[member]
        vcpus, memory, gpus = limits.check_resources(container, definition.is_fargate)
        retry = params.get("retryStrategy") or definition.detail.get("retryStrategy") or {}
        timeout = params.get("timeout") or definition.detail.get("timeout") or {}
        tags = dict(params.get("tags", {}))
        job_id = str(uuid.uuid4())
        return Job(
            id=job_id,
            arn=self.arn("job", job_id),
            name=params["jobName"],
            queue=queue,
            definition=definition,
            created_at=now_ms(),
            container=container,
            parameters={**definition.detail["parameters"], **params.get("parameters", {})},
            vcpus=vcpus,
            memory_mib=memory,
            gpus=gpus,
            tags=tags,
            retry_strategy={"evaluateOnExit": [], **retry, "attempts": retry.get("attempts", 1)},
            timeout_s=timeout.get("attemptDurationSeconds"),
            request=params,
        )

    def _dependencies(self, job: Job, depends_on: list[dict[str, Any]]) -> set[str]:
        """Ids that the job as a whole waits for.

        Raises
        ------
        ApiError
            A dependency does not exist or cannot be.
        """
        is_array = "arrayProperties" in job.request
        waits_for = set()
        for dependency in depends_on:
            other_id, kind = dependency.get("jobId"), dependency.get("type")
            if kind == "SEQUENTIAL":
                if other_id or not is_array:
                    raise client_error(
                        "A SEQUENTIAL dependency is for an array job, without jobId."
                    )
                continue
            other = self.jobs.get(other_id or "")
            if other is None:
                raise client_error(f"Job {other_id} of dependsOn not found.")
            if kind == "N_TO_N":
                size = job.request.get("arrayProperties", {}).get("size")
                if other.children is None or len(other.children) != size:
                    raise client_error("A N_TO_N dependency needs array jobs of the same size.")
                continue
            waits_for.add(other.id)
        return waits_for

    def _add_children(self, parent: Job, size: int, depends_on: list[dict[str, Any]]) -> None:
        sequential = any(d.get("type") == "SEQUENTIAL" for d in depends_on)
        one_to_one = [self.jobs[d["jobId"]] for d in depends_on if d.get("type") == "N_TO_N"]
        children: list[Job] = []
        for index in range(size):
            child_id = f"{parent.id}:{index}"
            child = Job(
                id=child_id,
                arn=self.arn("job", child_id),
                name=parent.name,
                queue=parent.queue,
                definition=parent.definition,
                created_at=parent.created_at,
                container=parent.container,
                parameters=parent.parameters,
                vcpus=parent.vcpus,
                memory_mib=parent.memory_mib,
                gpus=parent.gpus,
                tags=dict(parent.tags),
                retry_strategy=parent.retry_strategy,
                timeout_s=parent.timeout_s,
                request=parent.request,
                parent=parent,
                index=index,
            )
            before = [array.children[index] for array in one_to_one if array.children]
            if sequential and children:
                before.append(children[-1])
            for other in before:
                child.waits_for.add(other.id)
                other.dependents.append(child)
            children.append(child)
            self.jobs[child_id] = child
        parent.children = children
        parent.child_counts = {**dict.fromkeys(STATUSES, 0), "SUBMITTED": size}


def merge_overrides(container: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The container of a job: its definition's, with the overrides of the submission.

    The deprecated ``vcpus`` and ``memory`` overrides do not change what the definition's
    resourceRequirements say (botocore's Batch model, ``ContainerOverrides``).
    """
    merged = dict(container)
    for member in ("command", "instanceType"):
        if overrides.get(member):
            merged[member] = list(overrides[member])
    environment = {e["name"]: e.get("value", "") for e in container.get("environment", [])}
    environment.update({e["name"]: e.get("value", "") for e in overrides.get("environment", [])})
    merged["environment"] = [{"name": k, "value": v} for k, v in environment.items()]
    required = {r["type"]: r["value"] for r in container.get("resourceRequirements", [])}
    for kind, member in (("VCPU", "vcpus"), ("MEMORY", "memory")):
        if kind not in required and overrides.get(member):
            merged[member] = overrides[member]
    required.update({r["type"]: r["value"] for r in overrides.get("resourceRequirements", [])})
    merged["resourceRequirements"] = [{"type": k, "value": v} for k, v in required.items()]
    return merged


def _one_filter(filters: list[dict[str, Any]]) -> tuple[str, list[str]]:
    names = (
        "JOB_NAME",
        "JOB_DEFINITION",
        "BEFORE_CREATED_AT",
        "AFTER_CREATED_AT",
        "SHARE_IDENTIFIER",
    )
    if len(filters) != 1 or filters[0].get("name") not in names or not filters[0].get("values"):
        raise client_error(f"filters must be one of {', '.join(names)}, with values.")
    values = filters[0]["values"]
    if filters[0]["name"].endswith("CREATED_AT") and not str(values[0]).isdigit():
        raise client_error("The value of a CREATED_AT filter must be milliseconds.")
    return filters[0]["name"], values


def _matches(job: Job, name: str, values: list[str]) -> bool:
    if name == "JOB_NAME":
        return any(_glob(value.lower(), job.name.lower()) for value in values)
    if name == "JOB_DEFINITION":
        definition = job.definition
        full = f"{definition.name}:{definition.revision}"
        return any(
            value == definition.arn or _glob(value, definition.name) or _glob(value, full)
            for value in values
        )
    if name == "BEFORE_CREATED_AT":
        return job.created_at < int(values[0])
    if name == "AFTER_CREATED_AT":
        return job.created_at > int(values[0])
    return job.request.get("shareIdentifier") in values


def _glob(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
