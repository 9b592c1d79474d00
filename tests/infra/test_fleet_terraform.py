"""The fleet's Terraform: what it makes on an embedded AWS, what machines are told to do at their
first boot, and the environment file that checks itself."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from terraform_tier import SOURCE, Terraform, embedded_awses

from miniwdl_cloud import settings

ROOTS = ("fleet", "monolith")
NETWORKS = ["198.51.100.0/24", "203.0.113.7/32"]
VARIABLES = {
    "allowed_networks": NETWORKS,
    "ssh_public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFt8h9Fy0m1v7o4o1N6a1b2c3d4e5f6g7h8i9j0k"
    "1l2m test",
    "image_id": "ami-12c6146b",
}
FLEET_VARIABLES = {"worker_count": 3, "burst_worker_count": 1, "burst_scaling": "on"}
ENVIRONMENT = SOURCE / "fleet" / "environment"
# The embedded auto scaling (moto 5) says of every hook whom it notifies, with made-up names.
HOOK_OVERRIDE = """\
resource "aws_autoscaling_lifecycle_hook" "drain" {
  lifecycle {
    ignore_changes = [notification_target_arn, role_arn]
  }
}
"""


def initialised(folder: Path, root: str) -> Terraform:
    """A root module, beside the roles that machines get."""
    shutil.copytree(SOURCE.parent / "ansible", folder / "ansible")
    return Terraform(folder, root)


@dataclass
class Applied:
    """The fleet on an embedded AWS."""

    outputs: dict[str, Any]
    again: subprocess.CompletedProcess[str]
    endpoint: str

    def client(self, service: str) -> Any:
        """A client of an AWS service."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def group(self, name: str) -> dict[str, Any]:
        """An auto scaling group."""
        found = self.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[name]
        )
        group: dict[str, Any] = found["AutoScalingGroups"][0]
        return group

    def template(self, name: str) -> dict[str, Any]:
        """What a group's launch template says."""
        policy = self.group(name)["MixedInstancesPolicy"]["LaunchTemplate"]
        versions = self.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=policy["LaunchTemplateSpecification"]["LaunchTemplateId"]
        )
        data: dict[str, Any] = versions["LaunchTemplateVersions"][-1]["LaunchTemplateData"]
        return data

    def manager(self) -> dict[str, Any]:
        """The manager's instance."""
        named = [{"Name": "tag:Name", "Values": ["fleet-manager"]}]
        found = self.client("ec2").describe_instances(Filters=named)
        instance: dict[str, Any] = found["Reservations"][0]["Instances"][0]
        return instance


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    """The fleet, applied once, and what a plan says afterwards."""
    folder = tmp_path_factory.mktemp("fleet")
    terraform = initialised(folder, "fleet")
    (folder / "aws").mkdir()
    (folder / "terraform/modules/fleet/embedded_override.tf").write_text(HOOK_OVERRIDE)
    with embedded_awses([folder / "aws"]) as (cloud,):
        outputs = terraform.apply(cloud.endpoint_url, {**VARIABLES, **FLEET_VARIABLES})
        again = terraform.run(
            *("plan", "-input=false", "-detailed-exitcode"),
            timeout=300,
            AWS_ENDPOINT_URL=cloud.endpoint_url,
        )
        assert again is not None
        yield Applied(outputs, again, cloud.endpoint_url)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("root", ROOTS)
def test_the_code_is_valid_and_its_own_tests_pass(root: str, tmp_path: Path) -> None:
    """terraform fmt, validate and test, with a provider that is mocked."""
    terraform = initialised(tmp_path, root)
    text = (terraform.directory / "tests/plan.tftest.hcl").read_text()
    for arguments in (("fmt", "-check", "."), ("validate",), ("test",)):
        done = terraform.run(*arguments, timeout=300)
        assert done is not None
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(re.findall('^run ', text, re.MULTILINE))} passed, 0 failed" in done.stdout


@pytest.mark.timeout(900)
def test_a_second_plan_changes_nothing(applied: Applied) -> None:
    """What was applied is what is planned."""
    assert applied.again.returncode == 0, applied.again.stdout[-3000:] + applied.again.stderr


@pytest.mark.timeout(900)
def test_only_logins_on_the_manager_are_open(applied: Applied) -> None:
    """From outside come SSH and mosh, to the manager, from the networks that are named."""
    ec2 = applied.client("ec2")
    rules = [
        (rule["GroupId"], rule["IpProtocol"], rule["FromPort"], rule["ToPort"], rule["CidrIpv4"])
        for rule in ec2.describe_security_group_rules()["SecurityGroupRules"]
        if not rule["IsEgress"] and rule.get("CidrIpv4")
    ]
    (group,) = {rule[0] for rule in rules}
    assert sorted(rule[1:] for rule in rules) == [
        ("tcp", 22, 22, NETWORKS[0]),
        ("tcp", 22, 22, NETWORKS[1]),
        ("udp", 60000, 61000, NETWORKS[0]),
        ("udp", 60000, 61000, NETWORKS[1]),
    ]
    assert group in {each["GroupId"] for each in applied.manager()["SecurityGroups"]}
    for name in ("fleet-persistent", "fleet-burst"):
        (interface,) = applied.template(name)["NetworkInterfaces"]
        assert group not in interface["Groups"]


@pytest.mark.timeout(900)
def test_workers_are_spot_instances_in_two_groups(applied: Applied) -> None:
    """Persistent workers keep their number; burst workers are protected, and bounded; both are spot
    instances of several types, with instance metadata that tasks do not reach."""
    persistent, burst = applied.group("fleet-persistent"), applied.group("fleet-burst")
    assert [persistent[key] for key in ("MinSize", "DesiredCapacity", "MaxSize")] == [0, 3, 3]
    assert [burst[key] for key in ("MinSize", "DesiredCapacity", "MaxSize")] == [0, 1, 20]
    assert not persistent["NewInstancesProtectedFromScaleIn"]
    assert burst["NewInstancesProtectedFromScaleIn"]
    for group in (persistent, burst):
        policy = group["MixedInstancesPolicy"]
        assert policy["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] == 0
        assert len(policy["LaunchTemplate"]["Overrides"]) == 6
        hooks = applied.client("autoscaling").describe_lifecycle_hooks(
            AutoScalingGroupName=group["AutoScalingGroupName"]
        )["LifecycleHooks"]
        assert [hook["HeartbeatTimeout"] for hook in hooks] == [120]
        template = applied.template(group["AutoScalingGroupName"])
        assert template["MetadataOptions"]["HttpTokens"] == "required"
        assert template["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert template["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert template["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]


@pytest.mark.timeout(900)
def test_machines_apply_the_roles_to_themselves(applied: Applied) -> None:
    """User data has the roles as they are, within EC2's limit, and says what each machine is."""
    ansible = SOURCE.parent / "ansible"
    burst = cloud_config(applied.template("fleet-burst")["UserData"])
    files = {item["path"]: item["content"] for item in burst["write_files"]}
    place = "/opt/miniwdl-cloud-ansible"
    roles = [path for path in (ansible / "roles").rglob("*") if path.is_file()]
    assert len(roles) > 20
    for path in [ansible / "worker.yml", ansible / "ansible.cfg", *roles]:
        assert files[f"{place}/{path.relative_to(ansible)}"] == path.read_text()
    assert burst["runcmd"] == [[f"{place}/provision", "worker.yml", "true"]]
    machine = json.loads(files[f"{place}/machine.json"])
    assert machine["lustre_client_dns_name"] and machine["lustre_client_mount_name"]
    assert machine["worker_settings"] == {
        "group": "fleet-burst",
        "burst": "true",
        "burst_worker_idle_minutes": "30",
    }
    persistent = cloud_config(applied.template("fleet-persistent")["UserData"])
    files = {item["path"]: item["content"] for item in persistent["write_files"]}
    machine = json.loads(files[f"{place}/machine.json"])
    assert machine["worker_settings"] == {"group": "fleet-persistent"}

    attribute = applied.client("ec2").describe_instance_attribute(
        InstanceId=applied.manager()["InstanceId"], Attribute="userData"
    )
    manager = cloud_config(attribute["UserData"]["Value"])
    files = {item["path"]: item["content"] for item in manager["write_files"]}
    assert manager["runcmd"] == [[f"{place}/provision", "manager.yml", "false"]]
    assert json.loads(files[f"{place}/machine.json"])["manager_settings"] == {
        "scale": "on",
        "burst_group": "fleet-burst",
        "burst_max": "20",
    }


def test_the_settings_that_machines_get_are_settings() -> None:
    """The keys that Terraform and the roles write into fleet.env are declared."""
    known = {s.key for s in vars(settings).values() if getattr(s, "section", None) == "fleet"}
    texts = [
        (SOURCE / "modules/fleet/user_data.tf").read_text(),
        *(path.read_text() for path in (SOURCE.parent / "ansible/roles").rglob("fleet.env.j2")),
    ]
    given = set(re.findall(r"MINIWDL__FLEET__([A-Z_]+)=", "".join(texts)))
    block = texts[0][texts[0].index("burst_settings") : texts[0].index("machines =")]
    given |= {key.upper() for key in re.findall(r"^    (\w+) +=", block, re.MULTILINE)}
    given |= {"GROUP", "BURST", "BURST_WORKER_IDLE_MINUTES"}
    assert len(given) > 7
    assert {key.lower() for key in given} <= known


def cloud_config(encoded: str) -> dict[str, Any]:
    """User data as cloud-init reads it: compressed, and no larger than EC2 takes it."""
    raw = base64.b64decode(encoded)
    # Instances' user data is encoded by the provider, launch templates' by us.
    assert len(raw) <= 16384
    text = gzip.decompress(raw).decode()
    assert text.startswith("#cloud-config\n")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def sourced(tmp_path: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """The environment file, sourced in bash; then the variables that Terraform would see."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "terraform").write_text("#!/bin/sh\n")
    (programs / "terraform").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), **given}
    script = f"set -u; source {ENVIRONMENT} || exit 9; env | grep -E '^(TF_VAR|AWS)_' | sort"
    return subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )


def test_the_environment_file_says_what_is_missing(tmp_path: Path) -> None:
    """Each thing that is missing or cannot be has its line, and nothing is set."""
    done = sourced(
        tmp_path, TF_VAR_lustre_GiB="1300", FLEET_ALLOWED_NETWORKS="0.0.0.0/0 there 192.0.2.0/24"
    )
    assert done.returncode == 9
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("environment: ") and line.endswith(".") for line in lines)
    for line, about in zip(
        lines, ("AWS_REGION", "'0.0.0.0/0'", "'there'", "ssh-keygen", "1300"), strict=True
    ):
        assert about in line
    assert "FLEET_ALLOWED_NETWORKS is not set" in sourced(tmp_path, AWS_REGION="us-west-2").stderr


def test_the_environment_file_sets_what_terraform_reads(tmp_path: Path) -> None:
    """With all there, Terraform's variables are set, of which each is declared."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA me\n")
    done = sourced(
        tmp_path,
        AWS_DEFAULT_REGION="us-west-2",
        FLEET_ALLOWED_NETWORKS="192.0.2.0/24 203.0.113.7/32",
        TF_VAR_owner_tag="lab",
        TF_VAR_worker_count="5",
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "environment: a fleet in us-west-2, with 5 workers and 0 burst workers."
    found = dict(line.split("=", 1) for line in lines)
    assert json.loads(found["TF_VAR_allowed_networks"]) == ["192.0.2.0/24", "203.0.113.7/32"]
    assert found["TF_VAR_ssh_public_key"] == "ssh-ed25519 AAAA me"
    assert found["AWS_REGION"] == "us-west-2"
    assert (found["TF_VAR_owner_tag"], found["TF_VAR_worker_count"]) == ("lab", "5")
    declared = re.findall(r'^variable "(\w+)"', (SOURCE / "fleet/variables.tf").read_text(), re.M)
    assert {name.removeprefix("TF_VAR_") for name in found if name.startswith("TF")} <= {*declared}
