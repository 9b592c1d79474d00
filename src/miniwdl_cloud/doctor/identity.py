"""Who asks, and what the deployment's roles may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import settings as s
from ..aws.iam import ROLE_ARN
from ..errors import AccessDenied
from .facts import Facts
from .finding import Finding, Level, ok, problem

TRUSTED = "ecs-tasks.amazonaws.com"
"""Who assumes the roles of Batch jobs and of ECS tasks (Batch user guide, "Job IAM roles")."""


def check_identity(facts: Facts) -> Iterator[Finding]:
    """Whose credentials these are."""
    account, arn = facts.aws.caller()
    yield ok("identity", f"You are {arn} of account {account}, in {facts.session.region}.")
    if arn.endswith(":root"):
        yield Finding(
            "identity-root",
            Level.WARNING,
            "These are the credentials of the account's root user.",
            "They may do everything, and cannot be limited.",
            "Use those of a role or of an IAM Identity Center user.",
        )


def check_roles(facts: Facts) -> Iterator[Finding]:
    """The roles that settings and tags name."""
    for setting, kind in (
        (s.WORKFLOW_ROLE, "role of the workflow job"),
        (s.TASK_ROLE, "role of task jobs"),
        (s.FARGATE_EXECUTION_ROLE, "execution role of ECS tasks"),
    ):
        arn = facts.settings.get(setting)
        if arn:
            yield from _check_role(facts, str(arn), kind, setting)


def _check_role(facts: Facts, arn: str, kind: str, setting: s.Setting) -> Iterator[Finding]:
    match = ROLE_ARN.fullmatch(arn)
    role = facts.aws.role(match[1]) if match else None
    if role is None:
        yield problem(
            "role-missing",
            f"The {kind} {arn} does not exist.",
            "Jobs that need it are refused, or do not start.",
            f"Correct {setting.env} or the tag {setting.tag}, or make the role.",
        )
        return
    if not _trusts(role["AssumeRolePolicyDocument"]):
        yield problem(
            "role-not-trusting",
            f"The {kind} {role['RoleName']} does not trust {TRUSTED}.",
            "Jobs that have it do not start.",
            f"Let {TRUSTED} assume it in its trust policy.",
        )
        return
    if setting is s.WORKFLOW_ROLE:
        yield from _check_permissions(facts, role["Arn"], kind)
    else:
        yield ok("role", f"The {kind} {role['RoleName']} exists and can be assumed.")


def _check_permissions(facts: Facts, arn: str, kind: str) -> Iterator[Finding]:
    lacking: dict[str, str] = {}
    for resource, actions in _needed(facts).items():
        for action in facts.aws.denied(arn, actions, resource):
            lacking.setdefault(action, resource)
    for action, resource in lacking.items():
        yield problem(
            "permission-missing",
            f"The {kind} may not call {action} on {resource}.",
            "Runs fail when they come to it.",
            "Allow it in the role's policy; the shipped templates have a complete one.",
        )
    if not lacking:
        yield ok("permissions", f"The {kind} may make the calls that runs need (simulated).")


def _needed(facts: Facts) -> Mapping[str, list[str]]:
    """What a workflow job calls, by resource."""
    queues = [q["jobQueueArn"] for q in facts.task_queues.values() if q is not None]
    needed: dict[str, list[str]] = {
        "*": [
            "batch:DescribeJobQueues",
            "batch:DescribeComputeEnvironments",
            "batch:DescribeJobDefinitions",
            "batch:DescribeJobs",
            "batch:ListJobs",
        ]
    }
    for arn in queues:
        needed[arn] = ["batch:SubmitJob"]
        definition = arn.split(":job-queue/")[0] + ":job-definition/miniwdl-cloud-task-0"
        needed[definition] = ["batch:RegisterJobDefinition"]
    return needed


def _trusts(document: Mapping[str, Any]) -> bool:
    statements = document.get("Statement") or []
    for statement in [statements] if isinstance(statements, dict) else statements:
        principal = statement.get("Principal") or {}
        services = principal.get("Service", []) if isinstance(principal, dict) else principal
        services = [services] if isinstance(services, str) else services
        actions = statement.get("Action", [])
        actions = [actions] if isinstance(actions, str) else actions
        assumes = {"sts:AssumeRole", "sts:*", "*"}.intersection(actions)
        if statement.get("Effect") == "Allow" and assumes and {TRUSTED, "*"}.intersection(services):
            return True
    return False


def check_quotas(facts: Facts) -> Iterator[Finding]:
    """Whether the account may have as many vCPUs as the compute environments ask for."""
    wanted: dict[tuple[str, str, str], int] = {}
    for environment in facts.environments.values():
        resources = environment.get("computeResources") or {}
        quota = _QUOTAS.get(str(resources.get("type", "")))
        if quota is not None:
            # Environments share the quota, but are seldom all full: the largest counts.
            wanted[quota] = max(wanted.get(quota, 0), int(resources.get("maxvCpus") or 0))
    for (service, code, called), vcpus in wanted.items():
        try:
            limit = facts.aws.quota(service, code)
        except AccessDenied:
            yield Finding(
                "quota",
                Level.UNKNOWN,
                f"The quota of {called} could not be looked at.",
                "",
                "Allow servicequotas:GetServiceQuota to know.",
            )
            continue
        if limit is None:
            continue
        if limit < vcpus:
            yield Finding(
                "quota-small",
                Level.WARNING,
                f"The account's quota of {called} is {limit:g} vCPUs; a compute environment asks"
                f" for up to {vcpus}.",
                "Runs are slower than the deployment could be.",
                f"Ask for more: aws service-quotas request-service-quota-increase --service-code"
                f" {service} --quota-code {code} --desired-value {vcpus}",
            )
        else:
            yield ok("quota", f"The quota of {called} ({limit:g} vCPUs) is enough.")


_QUOTAS = {
    "SPOT": ("ec2", "L-34B43A08", "standard spot instances"),
    "EC2": ("ec2", "L-1216C47A", "standard on-demand instances"),
    "FARGATE": ("fargate", "L-3032A538", "Fargate on demand"),
    "FARGATE_SPOT": ("fargate", "L-36FBB829", "Fargate Spot"),
}
"""Service Quotas' codes (EC2 user guide, "Amazon EC2 service quotas"; ECS developer guide, "Fargate
service quotas")."""
