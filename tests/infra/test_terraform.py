"""The Terraform modules by themselves; what they make is looked at with CloudFormation's, in
test_terraform_parity.py."""

from __future__ import annotations

import re

import pytest
from terraform_tier import SOURCE, Terraform

from miniwdl_cloud.infra.specification import terraform as shared
from miniwdl_cloud.infra.specification.template import as_dict

ROOTS = ("batch-efs", "batch-fsx")
# Variables, and the parameters that mean the same.
SAME = {
    "environment_tag": "Environment",
    "owner_tag": "Owner",
    "permissions_boundary": "PermissionsBoundary",
    "task_max_vcpus": "MaxVCPUTask",
    "workflow_max_vcpus": "MaxVCPUWorkflow",
    "spot_bid_percentage": "BatchSpotBidPercentage",
    "create_spot_service_roles": "CreateSpotServiceRole",
    "enable_task_fallback": "EnableTaskFallback",
    "enable_events": "EnableEvents",
    "task_root_volume_gib": "TaskRootVolumeGiB",
    "task_instance_types": "TaskInstanceTypes",
    "gpu_instance_types": "GpuInstanceTypes",
    "availability_zone_count": "AvailabilityZoneCount",
    "stage_expiration_days": "StageExpirationDays",
}
SAME_OF = {
    "batch-efs": {
        "enable_fargate": "EnableFargate",
        "engine": "Engine",
        "mount_point": "MountPoint",
    },
    "batch-fsx": {
        "lustre_GiB": "StorageCapacity",
        "lustre_weekly_maintenance_start_time": "WeeklyMaintenanceStartTime",
    },
}
# What the templates do not have, or have as a template of its own, or as one name in place of many.
OWN = {"name", "s3upload_buckets", "s3_input_buckets"}
OWN |= {"private_subnets", "subnet_ids", "security_group_id"}
OWN_OF = {
    "batch-efs": set[str](),
    "batch-fsx": {"availability_zone", "lustre_deployment_type", "lustre_kms_key_id"},
}


@pytest.fixture(scope="module", params=ROOTS)
def terraform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Terraform:
    """Each root module, initialised."""
    return Terraform(tmp_path_factory.mktemp("terraform"), request.param)


def test_policies_and_user_data_are_the_templates() -> None:
    """After a change of the specification, scripts/make-templates writes them anew."""
    modules = SOURCE / "modules"
    there = [path for pattern in shared.patterns() for path in modules.glob(pattern)]
    assert {str(path.relative_to(modules)): path.read_text() for path in there} == shared.files()


@pytest.mark.parametrize("root", ROOTS)
def test_defaults_are_those_of_cloudformation(root: str) -> None:
    """A variable and the parameter that means the same have the same default."""
    parameters = as_dict(root)["Parameters"]
    text = (SOURCE / root / "variables.tf").read_text()
    blocks = dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL))
    same = {**SAME, **SAME_OF[root]}
    for variable, parameter in same.items():
        found = re.search(
            r"^  default +=(.*?)(?=^  \w|\n  validation|\Z)", blocks[variable], re.M | re.S
        )
        assert found is not None
        values = re.findall(r"[\w.:-]+", found[1])
        assert ",".join(values) == str(parameters[parameter]["Default"])
    assert set(blocks) == {*same, *OWN, *OWN_OF[root]}
    assert set(parameters) == {*same.values(), "S3UploadBucket", "S3InputBuckets"}


def test_the_code_is_formatted_and_valid(terraform: Terraform) -> None:
    """terraform fmt and validate find nothing."""
    for arguments in (("fmt", "-check", "-recursive", ".."), ("validate",)):
        done = terraform.run(*arguments, timeout=120)
        assert done is not None
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(400)
def test_its_own_tests_pass(terraform: Terraform) -> None:
    """terraform test, with a provider that is mocked."""
    text = (terraform.directory / "tests/plan.tftest.hcl").read_text()
    done = terraform.run("test", timeout=300)
    assert done is not None
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(re.findall('^run ', text, re.MULTILINE))} passed, 0 failed" in done.stdout


def test_every_module_names_its_provider() -> None:
    """Every module says which provider it needs."""
    modules = [path.parent for path in SOURCE.rglob("main.tf")]
    assert len(modules) > 8
    assert all((module / "versions.tf").is_file() for module in modules)
