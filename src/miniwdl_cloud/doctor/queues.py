"""Job queues and compute environments: do they take jobs, and can they ever start one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import settings as s
from ..engines.limits import MANAGED_SETS
from .facts import Facts, environments_of, is_fargate, is_spot, resources_of
from .finding import Finding, ok, problem, warning


def check_queues(facts: Facts) -> Iterator[Finding]:
    """The workflow queue and the task queues."""
    name = facts.workflow_queue_name
    if not name:
        yield problem(
            "workflow-queue-unset",
            "No workflow job queue is named.",
            "Nothing says where the deployment is.",
            f"Name one with --workflow-queue or {s.WORKFLOW_QUEUE.env}; `miniwdl-cloud deploy"
            " outputs` shows it.",
        )
        return
    yield from _check_queue(name, facts.workflow_queue, "workflow queue")
    if facts.workflow_queue is None:
        return
    if not facts.settings.get(s.TASK_QUEUE):
        yield problem(
            "task-queue-unset",
            f"No task queue is named, nor is {name} tagged with {s.TASK_QUEUE.tag}.",
            "Workflow jobs would not know where to submit tasks.",
            f"Set {s.TASK_QUEUE.env}, or tag the workflow queue.",
        )
    for task_queue, found in facts.task_queues.items():
        yield from _check_queue(task_queue, found, "task queue")
    fallback = facts.settings.get(s.TASK_QUEUE_FALLBACK)
    on_spot = facts.task_queues.get(facts.settings.get(s.TASK_QUEUE) or "")
    if on_spot is not None and not fallback and _all_spot(facts, on_spot):
        yield warning(
            "fallback-unset",
            f"The task queue {on_spot['jobQueueName']} is all spot, and has no fallback.",
            "A task that loses its machines too often fails, where it could move on demand.",
            f"Set {s.TASK_QUEUE_FALLBACK.env} or the tag {s.TASK_QUEUE_FALLBACK.tag} to a queue of"
            " on-demand instances.",
        )
    if _any_spot(facts, facts.workflow_queue):
        yield warning(
            "workflow-on-spot",
            f"The workflow queue {name} has spot capacity.",
            "A workflow job that loses its machine ends its run; only the call cache is left.",
            "Use on-demand capacity for the workflow queue; its jobs are small.",
        )


def check_environments(facts: Facts) -> Iterator[Finding]:
    """The compute environments of all queues."""
    for queue in facts.queues:
        arns = environments_of(queue)
        found = [facts.environments[arn] for arn in arns if arn in facts.environments]
        usable = [e for e in found if e["state"] == "ENABLED" and e["status"] == "VALID"]
        if not usable:
            yield problem(
                "queue-without-environment",
                f"The job queue {queue['jobQueueName']} has no enabled, valid compute environment.",
                "Its jobs would wait for ever.",
                "Enable or repair one of its compute environments, as listed here.",
            )
    for environment in facts.environments.values():
        yield from _check_environment(environment)
    yield from _check_instance_types(facts)


def _check_queue(name: str, queue: dict[str, Any] | None, kind: str) -> Iterator[Finding]:
    if queue is None:
        yield problem(
            "queue-missing",
            f"There is no {kind} {name} in this account and Region.",
            "No job can be submitted to it.",
            "Correct the name, or choose the Region with AWS_DEFAULT_REGION.",
        )
        return
    short = queue["jobQueueName"]
    if queue["state"] != "ENABLED":
        yield problem(
            "queue-disabled",
            f"The {kind} {short} is disabled.",
            "It takes no jobs.",
            f"Enable it: aws batch update-job-queue --job-queue {short} --state ENABLED",
        )
    if queue["status"] not in ("VALID", "UPDATING", "CREATING"):
        yield problem(
            "queue-invalid",
            f"The {kind} {short} is {queue['status']}: {queue.get('statusReason') or 'no reason'}.",
            "Its jobs would not run.",
            "Repair what the reason names, or name another queue.",
        )
    if kind == "task queue" and not queue.get("jobStateTimeLimitActions"):
        yield warning(
            "no-time-limit",
            f"The {kind} {short} lets jobs wait for ever.",
            "A job that can never start holds up its run until somebody looks.",
            "Give the queue jobStateTimeLimitActions, as the shipped templates do.",
        )
    if queue["state"] == "ENABLED" and queue["status"] == "VALID":
        yield ok("queue", f"The {kind} {short} takes jobs.")


def _check_environment(environment: dict[str, Any]) -> Iterator[Finding]:
    name, resources = environment["computeEnvironmentName"], resources_of(environment)
    if environment["state"] != "ENABLED":
        yield problem(
            "environment-disabled",
            f"The compute environment {name} is disabled.",
            "It starts no machines for its queues.",
            f"Enable it: aws batch update-compute-environment --compute-environment {name} --state"
            " ENABLED",
        )
    if environment["status"] == "INVALID":
        yield problem(
            "environment-invalid",
            f"The compute environment {name} is INVALID:"
            f" {environment.get('statusReason') or 'no reason'}.",
            "It starts no machines.",
            "Repair what the reason names: a role, a subnet, a launch template that is gone.",
        )
    if resources and not resources.get("maxvCpus"):
        yield problem(
            "environment-without-room",
            f"The compute environment {name} may have 0 vCPUs.",
            "No job ever starts there.",
            "Raise its maxvCpus.",
        )
    if resources.get("minvCpus"):
        yield warning(
            "environment-always-on",
            f"The compute environment {name} keeps {resources['minvCpus']} vCPUs at all times.",
            "They cost money when nothing runs.",
            "Set its minvCpus to 0, unless you want jobs to start at once.",
        )
    if resources.get("allocationStrategy") == "BEST_FIT" and is_spot(environment):
        yield warning(
            "spot-best-fit",
            f"The compute environment {name} takes spot instances by BEST_FIT.",
            "It looks for the cheapest type alone, and is interrupted more often.",
            "Use SPOT_PRICE_CAPACITY_OPTIMIZED.",
        )
    if environment["state"] == "ENABLED" and environment["status"] == "VALID":
        yield ok(
            "environment",
            f"The compute environment {name} is valid ({resources.get('maxvCpus', '?')} vCPUs).",
        )


def _check_instance_types(facts: Facts) -> Iterator[Finding]:
    listed: dict[str, list[str]] = {}
    for environment in facts.environments.values():
        if not is_fargate(environment):
            named = set(resources_of(environment).get("instanceTypes") or ())
            listed[environment["computeEnvironmentName"]] = sorted(named.difference(MANAGED_SETS))
    if not any(listed.values()):
        return
    offered = facts.aws.offered_instance_types()
    families = {name.split(".")[0] for name in offered}
    for environment_name, names in listed.items():
        gone = [name for name in names if name not in offered and name not in families]
        if gone:
            yield (problem if len(gone) == len(names) else warning)(
                "instance-types-unknown",
                f"The Region does not have instance types of the compute environment"
                f" {environment_name}: {', '.join(gone)}.",
                "Batch starts none of these.",
                "Name types or families that the Region has.",
            )


def _all_spot(facts: Facts, queue: dict[str, Any]) -> bool:
    found = [facts.environments.get(arn) for arn in environments_of(queue)]
    return bool(found) and all(each is not None and is_spot(each) for each in found)


def _any_spot(facts: Facts, queue: dict[str, Any]) -> bool:
    found = [facts.environments.get(arn) for arn in environments_of(queue)]
    return any(each is not None and is_spot(each) for each in found)
