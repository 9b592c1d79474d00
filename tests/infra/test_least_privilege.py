"""Policies allow what is used and nothing else; templates and modules are safe by common rules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.infra.deploy import deploy_stack, template_text
from miniwdl_cloud.infra.specification.template import VARIANTS, as_dict

ROOT = Path(__file__).parents[2]
TEMPLATES = ("batch-efs", "batch-fsx")
ROLES = ("WorkflowEngineRole", "TaskRole", "InstanceRole", "EcsExecutionRole")

# Actions on every resource, as AWS knows no narrower one (Service Authorization Reference).
EVERYWHERE = {
    "batch:DescribeComputeEnvironments",
    "batch:DescribeJobDefinitions",
    "batch:DescribeJobQueues",
    "batch:DescribeJobs",
    "batch:ListJobs",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeTags",
    "ecr:GetAuthorizationToken",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:DiscoverPollEndpoint",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",
    "fsx:DescribeDataRepositoryAssociations",
    "fsx:DescribeDataRepositoryTasks",
    "fsx:DescribeFileSystems",
    "pricing:GetProducts",
}
# What parliament finds, and why it is as it should be.
EXPECTED = {
    ("RESOURCE_MISMATCH", "batch:SubmitJob"): (
        "AWS Batch user guide, 'Resource: Restrict to a job queue': queue and definition are what"
        " has to be named"
    ),
    ("MISMATCHED_TYPE_BUT_USABLE", "StringEquals"): (
        "EFS user guide, 'Using IAM to enforce mounting with access points', has it so"
    ),
    ("PERMISSIONS_MANAGEMENT_ACTIONS", "iam:passrole"): (
        "to two named roles, to ECS alone: a task cannot have a role else"
    ),
    ("RESOURCE_STAR", "ecs:ListTasks"): "bounded to the cluster by a condition",
    ("CREDENTIALS_EXPOSURE", "ecr:getauthorizationtoken"): (
        "logging in to ECR is how images are pulled; what can be pulled is a statement of its own"
    ),
}

_PARLIAMENT = """
import json, sys
from parliament import analyze_policy_string
for name, policy in json.load(sys.stdin).items():
    found = analyze_policy_string(json.dumps(policy), include_community_auditors=True).findings
    print(json.dumps([name, [[f.issue, [f.detail, f.location]] for f in found]]))
"""

Policies = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policies]:
    """Every inline policy of every role of both file systems, as deployed."""
    root = tmp_path_factory.mktemp("policies")
    found: dict[str, Any] = {}
    with LocalCloud(root / "state", root / "filesystem") as cloud:
        session = LocalSession(cloud.endpoint_url, cloud.region)
        iam, stacks = session.client("iam"), session.client("cloudformation")
        for template in TEMPLATES:
            parameters = {"S3UploadBucket": "uploads", "S3InputBuckets": "first,second"}
            deploy_stack(session, template_text(template), f"p-{template}", parameters)
            resources = stacks.describe_stack_resources(StackName=f"p-{template}")
            for resource in resources["StackResources"]:
                if resource["ResourceType"] != "AWS::IAM::Role":
                    continue
                role = resource["PhysicalResourceId"]
                for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                    policy = iam.get_role_policy(RoleName=role, PolicyName=name)
                    place = f"{template} {resource['LogicalResourceId']} {name}"
                    found[place] = policy["PolicyDocument"]
    yield found


@pytest.fixture(scope="module")
def tools() -> Path:
    """Where checkov and parliament are."""
    try:
        done = subprocess.run(
            [str(ROOT / "scripts/audit-venv"), sys.executable],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("tier audit: checkov and parliament could not be installed within 10 minutes")
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"tier audit: checkov and parliament cannot be installed: {why}")
    return Path(done.stdout.strip())


def _list(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [value]


def test_every_role_has_policies_of_its_own(policies: Policies) -> None:
    """What is looked at here is there."""
    places = {" ".join(place.split()[:2]) for place in policies}
    assert places == {f"{t} {role}" for t in TEMPLATES for role in ROLES[:3]} | {
        f"batch-efs {ROLES[3]}"
    }


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_no_policy_of_aws_is_attached(name: str) -> None:
    """What a role may do is written out, in every variant; and a boundary can be set on each."""
    found = {
        logical: resource["Properties"]
        for logical, resource in as_dict(name)["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    assert set(found) == set(ROLES if "efs" in name else ROLES[:3])
    for properties in found.values():
        assert "ManagedPolicyArns" not in properties and properties["Policies"]
        assert properties["PermissionsBoundary"]["Fn::If"][0] == "HasBoundary"


def test_no_policy_allows_everything(policies: Policies) -> None:
    """No action is a pattern; every resource is named but for actions that know none."""
    used = set()
    for place, policy in policies.items():
        for statement in policy["Statement"]:
            actions = _list(statement["Action"])
            assert not any("*" in action for action in actions), place
            if "*" in _list(statement["Resource"]):
                assert set(actions) <= EVERYWHERE, place
                used |= set(actions)
    assert used == EVERYWHERE


def test_roles_are_passed_to_ecs_alone_and_by_name(policies: Policies) -> None:
    """iam:PassRole is for the task role, and the execution role of ECS tasks."""
    passed = [
        statement
        for policy in policies.values()
        for statement in policy["Statement"]
        if "iam:PassRole" in _list(statement["Action"])
    ]
    assert len(passed) == 3
    for statement in passed:
        (resource,) = _list(statement["Resource"])
        assert re.search(r":role/p-batch-\w+-(TaskRole|EcsExecutionRole)-", resource)
        wanted = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
        assert statement["Condition"] == wanted


@pytest.mark.timeout(900)
def test_parliament_finds_only_what_is_explained(policies: Policies, tools: Path) -> None:
    """Unknown actions, resources of the wrong kind, dangerous permissions."""
    done = subprocess.run(
        [str(tools / "python"), "-c", _PARLIAMENT],
        input=json.dumps(policies),
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    found = set()
    for line in done.stdout.splitlines():
        place, findings = json.loads(line)
        for issue, detail in findings:
            text = json.dumps(detail)
            known = [key for key in EXPECTED if key[0] == issue and key[1] in text]
            assert known, f"{place}: {issue} {text}"
            found.update(known)
    assert found == set(EXPECTED)


@pytest.mark.timeout(900)
def test_checkov_finds_only_what_is_explained(tools: Path) -> None:
    """No failed check of templates and modules but those of deploy/checkov.yaml, each of which has
    its reason there."""
    folders = (ROOT / "src/miniwdl_cloud/infra/templates", ROOT / "deploy/terraform")
    done = subprocess.run(
        [
            *(str(tools / "python"), "-m", "checkov.main", "--skip-download", "--output", "json"),
            *("--config-file", str(ROOT / "deploy/checkov.yaml")),
            *("--framework", "cloudformation", "terraform"),
            *(option for folder in folders for option in ("--directory", str(folder))),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=tools,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    decoder, text, reports = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        found, end = decoder.raw_decode(text)
        reports += found if isinstance(found, list) else [found]
        text = text[end:].strip()
    totals = {report["check_type"]: report["summary"] for report in reports if "summary" in report}
    assert set(totals) == {"cloudformation", "terraform"}
    for summary in totals.values():
        assert summary["passed"] > 100
        assert (summary["failed"], summary["parsing_errors"]) == (0, 0)


def test_every_exception_has_its_reason() -> None:
    """Before each skipped check stands a comment."""
    lines = (ROOT / "deploy/checkov.yaml").read_text().splitlines()
    skipped = [i for i, line in enumerate(lines) if line.strip().startswith("- CKV")]
    assert len(skipped) > 10
    assert all(lines[i - 1].strip().startswith("# ") for i in skipped)
