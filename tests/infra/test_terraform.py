"""The Terraform modules by themselves; what they make is looked at with CloudFormation's, in
test_batch_efs_template.py."""

from __future__ import annotations

import re

import pytest
from terraform_tier import SOURCE, Terraform

from miniwdl_cloud.infra.specification.hosts import user_data
from miniwdl_cloud.infra.specification.template import as_dict


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """The root module batch-efs, initialised."""
    return Terraform(tmp_path_factory.mktemp("terraform"), "batch-efs")


def test_instances_do_the_same_at_boot() -> None:
    """The user data is the CloudFormation templates'."""
    assert (SOURCE / "modules/batch/user_data.txt").read_text() == user_data("efs")


def test_defaults_are_those_of_cloudformation() -> None:
    """A variable and the parameter that means the same have the same default."""
    parameters = as_dict("batch-efs")["Parameters"]
    text = (SOURCE / "batch-efs/variables.tf").read_text()
    blocks = dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL))
    defaults = {
        name: re.search(r"^  default +=(.*?)(?=^  \w|\n  validation|\Z)", block, re.M | re.S)
        for name, block in blocks.items()
    }
    same = {
        "environment_tag": "Environment",
        "owner_tag": "Owner",
        "task_max_vcpus": "MaxVCPUTask",
        "workflow_max_vcpus": "MaxVCPUWorkflow",
        "spot_bid_percentage": "BatchSpotBidPercentage",
        "create_spot_service_roles": "CreateSpotServiceRole",
        "enable_task_fallback": "EnableTaskFallback",
        "enable_fargate": "EnableFargate",
        "task_root_volume_gib": "TaskRootVolumeGiB",
        "task_instance_types": "TaskInstanceTypes",
        "availability_zone_count": "AvailabilityZoneCount",
        "stage_expiration_days": "StageExpirationDays",
        "mount_point": "MountPoint",
    }
    for variable, parameter in same.items():
        found = defaults[variable]
        assert found is not None
        values = re.findall(r"[\w.-]+", found[1])
        assert ",".join(values) == str(parameters[parameter]["Default"])
    assert set(blocks) == {*same, "name", "s3upload_buckets", "s3_input_buckets"}


def test_the_code_is_formatted_and_valid(terraform: Terraform) -> None:
    """terraform fmt and validate find nothing."""
    for arguments in (("fmt", "-check", "-recursive", ".."), ("validate",)):
        done = terraform.run(*arguments, timeout=120)
        assert done is not None
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(400)
def test_its_own_tests_pass(terraform: Terraform) -> None:
    """terraform test, with a provider that is mocked."""
    done = terraform.run("test", timeout=300)
    assert done is not None
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed, 0 failed" in done.stdout


def test_every_module_names_its_provider() -> None:
    """Every module says which provider it needs."""
    modules = [path.parent for path in SOURCE.rglob("main.tf")]
    assert len(modules) == 6
    assert all((module / "versions.tf").is_file() for module in modules)
