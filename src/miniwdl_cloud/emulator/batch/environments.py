"""Operations on compute environments, job queues and scheduling policies."""

from __future__ import annotations

import re
import uuid
from typing import Any

from .. import limits
from ..errors import client_error
from .base import BatchBase, Params, operation, page, short_name
from .capacity import describe_instance
from .models import ACCOUNT_ID, ComputeEnvironment, JobQueue

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


class EnvironmentOperations(BatchBase):
    """Compute environments, job queues, scheduling policies."""

    @operation
    def create_compute_environment(self, params: Params) -> Params:
        """CreateComputeEnvironment. It is VALID at once."""
        name = params["computeEnvironmentName"]
        _check_name(name, "computeEnvironmentName")
        if name in self.environments:
            raise client_error("Object already exists")
        limits.check_tags(params.get("tags", {}))
        resources = dict(params.get("computeResources") or {})
        if params["type"] == "MANAGED" and not resources:
            raise client_error("computeResources must be provided for a MANAGED environment.")
        if resources:
            _check_resources(resources)
        arn = self.arn("compute-environment", name)
        # As accounts show it today; the examples of Batch's API reference have an older form.
        cluster = f"arn:aws:ecs:{self.region}:{ACCOUNT_ID}:cluster/AWSBatch-{name}-{uuid.uuid4()}"
        detail = {
            **params,
            "computeEnvironmentArn": arn,
            "ecsClusterArn": cluster,
            "containerOrchestrationType": "ECS",
            "state": params.get("state", "ENABLED"),
            "status": "VALID",
            "statusReason": "ComputeEnvironment Healthy",
            "tags": dict(params.get("tags", {})),
            "uuid": str(uuid.uuid4()),
        }
        if resources:
            detail["computeResources"] = resources
        self.environments[name] = ComputeEnvironment(name, arn, detail)
        return {"computeEnvironmentName": name, "computeEnvironmentArn": arn}

    @operation
    def describe_compute_environments(self, params: Params) -> Params:
        """DescribeComputeEnvironments; unknown names are left out, as Batch does."""
        names = params.get("computeEnvironments")
        found = [e.detail for e in _pick(self.environments, names)]
        part, token = page(found, params, limits.DESCRIBE_PAGE)
        return {"computeEnvironments": part, **token}

    @operation
    def update_compute_environment(self, params: Params) -> Params:
        """UpdateComputeEnvironment; members of computeResources are replaced one by one."""
        environment = self.find_environment(params["computeEnvironment"])
        changes = {k: v for k, v in params.items() if k != "computeEnvironment"}
        resources = {**environment.resources, **changes.pop("computeResources", {})}
        environment.detail.update(changes)
        if resources:
            environment.detail["computeResources"] = resources
        self.scheduler.reconsider()
        return {
            "computeEnvironmentName": environment.name,
            "computeEnvironmentArn": environment.arn,
        }

    @operation
    def delete_compute_environment(self, params: Params) -> Params:
        """DeleteComputeEnvironment; it must be disabled and in no queue."""
        environment = self.environments.get(short_name(params["computeEnvironment"]))
        if environment:
            if environment.detail["state"] != "DISABLED":
                raise client_error("Cannot delete, ComputeEnvironment state must be DISABLED")
            if any(environment in queue.environments for queue in self.queues.values()):
                raise client_error("Cannot delete, found existing JobQueue relationship")
            del self.environments[environment.name]
        return {}

    @operation
    def create_job_queue(self, params: Params) -> Params:
        """CreateJobQueue. It is VALID at once."""
        name = params["jobQueueName"]
        _check_name(name, "jobQueueName")
        if name in self.queues:
            raise client_error("Object already exists")
        limits.check_tags(params.get("tags", {}))
        policy = params.get("schedulingPolicyArn")
        if policy and policy not in self.policies:
            raise client_error(f"SchedulingPolicy {policy} not found.")
        limits.check_time_limit_actions(params.get("jobStateTimeLimitActions", []))
        environments = self._in_order(params.get("computeEnvironmentOrder", []))
        arn = self.arn("job-queue", name)
        detail = {
            **params,
            "jobQueueArn": arn,
            "state": params.get("state", "ENABLED"),
            "status": "VALID",
            "statusReason": "JobQueue Healthy",
            "tags": dict(params.get("tags", {})),
            "computeEnvironmentOrder": _order_of(environments),
        }
        self.queues[name] = JobQueue(name, arn, detail, environments)
        return {"jobQueueName": name, "jobQueueArn": arn}

    @operation
    def describe_job_queues(self, params: Params) -> Params:
        """DescribeJobQueues; unknown names are left out, as Batch does."""
        found = [q.detail for q in _pick(self.queues, params.get("jobQueues"))]
        part, token = page(found, params, limits.DESCRIBE_PAGE)
        return {"jobQueues": part, **token}

    @operation
    def update_job_queue(self, params: Params) -> Params:
        """UpdateJobQueue."""
        queue = self.find_queue(params["jobQueue"])
        changes = {k: v for k, v in params.items() if k != "jobQueue"}
        policy = changes.get("schedulingPolicyArn")
        if policy and policy not in self.policies:
            raise client_error(f"SchedulingPolicy {policy} not found.")
        limits.check_time_limit_actions(changes.get("jobStateTimeLimitActions", []))
        if "computeEnvironmentOrder" in changes:
            queue.environments = self._in_order(changes["computeEnvironmentOrder"])
            changes["computeEnvironmentOrder"] = _order_of(queue.environments)
        queue.detail.update(changes)
        self.scheduler.reconsider()
        return {"jobQueueName": queue.name, "jobQueueArn": queue.arn}

    @operation
    def delete_job_queue(self, params: Params) -> Params:
        """DeleteJobQueue; it must be disabled. Jobs in it are terminated, as Batch does."""
        queue = self.queues.get(short_name(params["jobQueue"]))
        if queue:
            if queue.detail["state"] != "DISABLED":
                raise client_error("Cannot delete, JobQueue state must be DISABLED")
            self.scheduler.end_queue(queue)
            del self.queues[queue.name]
        return {}

    @operation
    def create_scheduling_policy(self, params: Params) -> Params:
        """CreateSchedulingPolicy."""
        _check_name(params["name"], "name")
        limits.check_tags(params.get("tags", {}))
        arn = self.arn("scheduling-policy", params["name"])
        if arn in self.policies:
            raise client_error("Object already exists")
        self.policies[arn] = {**params, "arn": arn, "tags": dict(params.get("tags", {}))}
        return {"name": params["name"], "arn": arn}

    @operation
    def describe_scheduling_policies(self, params: Params) -> Params:
        """DescribeSchedulingPolicies."""
        found = [self.policies[arn] for arn in params["arns"] if arn in self.policies]
        return {"schedulingPolicies": found}

    @operation
    def update_scheduling_policy(self, params: Params) -> Params:
        """UpdateSchedulingPolicy."""
        policy = self.policies.get(params["arn"])
        if policy is None:
            raise client_error(f"SchedulingPolicy {params['arn']} not found.")
        policy.update(params)
        return {}

    @operation
    def list_scheduling_policies(self, params: Params) -> Params:
        """ListSchedulingPolicies."""
        part, token = page([{"arn": a} for a in self.policies], params, limits.DESCRIBE_PAGE)
        return {"schedulingPolicies": part, **token}

    @operation
    def delete_scheduling_policy(self, params: Params) -> Params:
        """DeleteSchedulingPolicy; no queue may use it."""
        arn = params["arn"]
        if any(q.detail.get("schedulingPolicyArn") == arn for q in self.queues.values()):
            raise client_error("Cannot delete, found existing JobQueue relationship")
        self.policies.pop(arn, None)
        return {}

    def find_queue(self, name_or_arn: str) -> JobQueue:
        """The queue of a name or an ARN.

        Raises
        ------
        ApiError
            There is none.
        """
        queue = self.queues.get(short_name(name_or_arn))
        if queue is None or name_or_arn not in (queue.name, queue.arn):
            raise client_error(f"JobQueue {name_or_arn} not found.")
        return queue

    def find_environment(self, name_or_arn: str) -> ComputeEnvironment:
        """The compute environment of a name or an ARN.

        Raises
        ------
        ApiError
            There is none.
        """
        environment = self.environments.get(short_name(name_or_arn))
        if environment is None or name_or_arn not in (environment.name, environment.arn):
            raise client_error(f"ComputeEnvironment {name_or_arn} not found.")
        return environment

    def describe_container_instances(
        self, cluster: str, arns: list[str]
    ) -> dict[str, dict[str, Any]] | None:
        """Container instances of a compute environment's ECS cluster by ARN, as ECS shows them;
        ``None`` if it is no environment's."""
        with self.lock:
            if all(
                str(environment.detail["ecsClusterArn"]).rpartition("/")[2] != cluster
                for environment in self.environments.values()
            ):
                return None
            known = self.container_instances
            return {
                arn: describe_instance(arn, known[arn][0], known[arn][1].environment)
                for arn in arns
                if arn in known and arn.split("/")[-2] == cluster
            }

    def _in_order(self, order: list[dict[str, Any]]) -> list[ComputeEnvironment]:
        if not 1 <= len(order) <= limits.ENVIRONMENTS_PER_QUEUE:
            raise client_error(
                "computeEnvironmentOrder must have between 1 and"
                f" {limits.ENVIRONMENTS_PER_QUEUE} compute environments."
            )
        ranked = sorted(order, key=lambda item: int(item["order"]))
        environments = [self.find_environment(item["computeEnvironment"]) for item in ranked]
        if len({environment.is_fargate for environment in environments}) > 1:
            raise client_error(
                "All compute environments of a job queue must be of the same kind: Fargate, or EC2."
            )
        return environments


def _check_name(name: str, member: str) -> None:
    if not _NAME.fullmatch(name):
        raise client_error(f"{member} must match pattern ^[A-Za-z0-9]{{1}}[A-Za-z0-9_-]{{0,127}}$.")


def _check_resources(resources: dict[str, Any]) -> None:
    if resources["maxvCpus"] < 1:
        raise client_error("maxvCpus must be greater than 0.")
    if not resources.get("subnets") and resources["type"] != "ECS_MANAGED_INSTANCES":
        raise client_error("At least one subnet is required.")
    if resources["type"].startswith("FARGATE"):
        for member in ("instanceTypes", "instanceRole", "minvCpus", "launchTemplate", "imageId"):
            if resources.get(member):
                raise client_error(f"{member} is not applicable for Fargate.")
    elif resources["type"] in ("EC2", "SPOT"):
        if not resources.get("instanceRole"):
            raise client_error("Instance role is required.")
        if not resources.get("instanceTypes"):
            raise client_error("At least one instance type is required.")
        resources.setdefault("minvCpus", 0)
        resources.setdefault("desiredvCpus", resources["minvCpus"])


def _order_of(environments: list[ComputeEnvironment]) -> list[dict[str, Any]]:
    return [{"order": i + 1, "computeEnvironment": e.arn} for i, e in enumerate(environments)]


def _pick(known: dict[str, Any], names: list[str] | None) -> list[Any]:
    if not names:
        return list(known.values())
    found = (known.get(short_name(name)) for name in names)
    return [item for item in found if item is not None]
