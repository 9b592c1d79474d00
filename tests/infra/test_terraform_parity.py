"""What the Terraform modules make is what the CloudFormation templates make: both are deployed into
an embedded AWS, the same is asserted of both, and workflows run on what Terraform made."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import test_batch_efs_template
from deployed_inventory import Deployment
from terraform_tier import Terraform, embedded_awses
from test_batch_efs_template import Deployed
from test_runs_on_variants import WDL, Shell

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.emulator.state import ServerState
from miniwdl_cloud.infra.deploy import deploy_stack, template_text

pytestmark = pytest.mark.timeout(900)

# The assertions on CloudFormation's template, on what Terraform made.
globals().update(
    {
        name: test
        for name, test in vars(test_batch_efs_template).items()
        if name.startswith("test_")
        and "deployed" in inspect.signature(test).parameters
        and name not in test_batch_efs_template.OF_CLOUDFORMATION_ALONE
    }
)

BOUNDARY = "arn:aws:iam::aws:policy/PowerUserAccess"


@dataclass(frozen=True)
class Variant:
    """A deployment, said in both ways.

    Parameters
    ----------
    template
        CloudFormation's template; the Terraform root is the first two words of it.
    variables
        Terraform's.
    parameters
        CloudFormation's that mean the same.
    """

    template: str
    variables: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)


VARIANTS = {
    variant.template: variant
    for variant in (
        Variant(
            "batch-efs",
            {
                "mount_point": "/mnt/work",
                "s3upload_buckets": ["uploads"],
                "s3_input_buckets": ["first", "second"],
                "task_max_vcpus": 512,
                "create_spot_service_roles": True,
            },
            {
                "MountPoint": "/mnt/work",
                "S3UploadBucket": "uploads",
                "S3InputBuckets": "first,second",
                "MaxVCPUTask": "512",
            },
        ),
        Variant(
            "batch-efs-private",
            {"private_subnets": True, "permissions_boundary": BOUNDARY, "engine": "fargate"},
            {"PermissionsBoundary": BOUNDARY, "Engine": "fargate"},
        ),
        Variant(
            "batch-efs-existing-vpc",
            {"enable_fargate": False, "enable_task_fallback": False, "owner_tag": "someone"},
            {"EnableFargate": "false", "EnableTaskFallback": "false", "Owner": "someone"},
        ),
        Variant(
            "batch-fsx",
            {"gpu_instance_types": ["g6", "p4d"], "enable_events": False},
            {"GpuInstanceTypes": "g6,p4d", "EnableEvents": "false"},
        ),
        Variant(
            "batch-fsx-private",
            {
                "private_subnets": True,
                "availability_zone_count": 2,
                "lustre_GiB": 2400,
                "lustre_weekly_maintenance_start_time": "1:05:00",
            },
            {
                "AvailabilityZoneCount": "2",
                "StorageCapacity": "2400",
                "WeeklyMaintenanceStartTime": "1:05:00",
            },
        ),
        Variant(
            "batch-fsx-existing-vpc",
            {"task_instance_types": ["m7g", "c7g"], "spot_bid_percentage": 80},
            {"TaskInstanceTypes": "m7g,c7g", "BatchSpotBidPercentage": "80"},
        ),
    )
}


class Applied:
    """What Terraform made of a variant.

    Parameters
    ----------
    variant
        Which.
    root
        Directory to be used.
    cloud
        An embedded AWS with nothing in it.
    """

    def __init__(self, variant: Variant, root: Path, cloud: ServerState) -> None:
        self.cloud = cloud
        self.root = root
        self.variant = variant
        self.terraform = Terraform(root, "-".join(variant.template.split("-")[:2]))
        self.existing = self._existing() if "existing" in variant.template else {}
        more: dict[str, Any] = {}
        if self.existing:
            subnets = ("Subnet0", "Subnet1", "SubnetId")
            more["subnet_ids"] = [self.existing[n] for n in subnets if n in self.existing]
            more["security_group_id"] = self.existing["SecurityGroupId"]
        self.mount = {}
        if variant.template == "batch-efs-private":
            # Nothing is mounted here: jobs see the directory at its own path.
            self.mount = {"MountPoint": cloud.filesystem}
            more["mount_point"] = cloud.filesystem
        self.outputs = {
            "".join(word.capitalize() for word in key.split("_")): ",".join(value)
            if isinstance(value, list)
            else value
            for key, value in self.terraform.apply(
                cloud.endpoint_url, {"name": "tfparity", **variant.variables, **more}
            ).items()
        }
        planned = self.terraform.run(
            "plan",
            "-detailed-exitcode",
            "-input=false",
            timeout=300,
            AWS_ENDPOINT_URL=cloud.endpoint_url,
        )
        assert planned is not None
        self.plan = planned

    def _existing(self) -> dict[str, str]:
        """Subnets and a security group of somebody's, as CloudFormation's parameters."""
        ec2 = LocalSession(self.cloud.endpoint_url, self.cloud.region).client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        group = ec2.create_security_group(GroupName="theirs", Description="d", VpcId=vpc)["GroupId"]
        names = ("Subnet0", "Subnet1") if "efs" in self.variant.template else ("SubnetId",)
        made = {"SecurityGroupId": group}
        for number, name in enumerate(names):
            made[name] = ec2.create_subnet(
                VpcId=vpc,
                CidrBlock=f"10.1.{number}.0/24",
                AvailabilityZone=f"us-east-1{'ab'[number]}",
            )["Subnet"]["SubnetId"]
        return made


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Applied]]:
    """All variants, by template: each in an embedded AWS of its own, applied at the same time,
    since an apply is waiting for the most part."""
    places = {name: tmp_path_factory.mktemp(name) for name in VARIANTS}
    with (
        embedded_awses(list(places.values())) as clouds,
        ThreadPoolExecutor(len(VARIANTS)) as threads,
    ):
        made = threads.map(Applied, VARIANTS.values(), places.values(), clouds)
        yield dict(zip(VARIANTS, made, strict=True))


@pytest.fixture
def deployed(applied: dict[str, Applied]) -> Deployed:
    """For the assertions on the template batch-efs."""
    made = applied["batch-efs"]
    outputs = {key: value for key, value in made.outputs.items() if value is not None}
    return Deployed(made.cloud, "tfparity", outputs)


@pytest.mark.parametrize("name", VARIANTS)
def test_applying_again_changes_nothing(applied: dict[str, Applied], name: str) -> None:
    """A second plan finds everything as it should be."""
    plan = applied[name].plan
    assert plan.returncode == 0, plan.stdout + plan.stderr


@pytest.mark.parametrize("name", VARIANTS)
def test_both_make_the_same(applied: dict[str, Applied], name: str) -> None:
    """Queues, environments, launch templates, roles with every statement of their policies,
    network, file system, bucket, events and cluster are the same, and so are the outputs."""
    made = applied[name]
    session = LocalSession(made.cloud.endpoint_url, made.cloud.region)
    parameters = {**made.variant.parameters, **made.existing, **made.mount}
    outputs = deploy_stack(session, template_text(name), "cfparity", parameters)
    by_terraform = Deployment(made.cloud.endpoint_url, "tfparity", made.outputs)
    by_template = Deployment(made.cloud.endpoint_url, "cfparity", outputs)
    # Terraform's existing subnets are outputs too, and the root module tells the template.
    assert set(by_terraform.outputs) | {"Template"} == set(by_template.outputs) | {"VpcId"}
    shown = [
        json.dumps(each.inventory(), indent=1, sort_keys=True).splitlines()
        for each in (by_terraform, by_template)
    ]
    difference = list(difflib.unified_diff(*shown, "Terraform", "CloudFormation", n=2, lineterm=""))
    assert not difference, "\n".join(difference)


@pytest.mark.parametrize("name", ["batch-efs-private", "batch-fsx"])
def test_workflows_run_on_it(applied: dict[str, Applied], name: str) -> None:
    """A workflow of two tasks is submitted to the queue that Terraform's output names."""
    made = applied[name]
    (made.root / "w.wdl").write_text(WDL)
    shell = Shell(made.cloud.endpoint_url, Path(made.cloud.filesystem), made.root)
    mount = {} if made.mount else {"MINIWDL__AWS__MOUNT": made.cloud.filesystem}
    folder = f"s3://{made.outputs['BucketName']}/results"
    shell(
        *("miniwdl-aws-submit", "w.wdl", "--wait", "--s3upload", f"{folder}/"),
        *("--workflow-queue", made.outputs["WorkflowQueue"]),
        **mount,
    )
    s3 = LocalSession(made.cloud.endpoint_url, made.cloud.region).client("s3")
    body = s3.get_object(Bucket=made.outputs["BucketName"], Key="results/outputs.json")["Body"]
    assert b'"w.doubled"' in body.read()
