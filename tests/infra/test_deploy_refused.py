"""`miniwdl-cloud deploy create` where AWS refuses: a quota, a permission. What AWS would say is put
into the embedded AWS, which has neither quotas of EC2 nor permissions."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.exceptions import ServiceException
from moto.ec2.models.vpcs import VPCBackend
from moto.iam.models import IAMBackend

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.cli import main as cli
from miniwdl_cloud.emulator.server import LocalCloud

DENIED = (
    "User: arn:aws:iam::123456789012:user/me is not authorized to perform: {} on resource: {}"
    " because no identity-based policy allows the {} action"
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running embedded AWS, with nothing deployed."""
    root = tmp_path_factory.mktemp("refused")
    with LocalCloud(root / "state", root / "filesystem") as running:
        yield running


def create(
    cloud: LocalCloud,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
) -> tuple[object, str]:
    """Run the command: its exit code, and the last line that it printed."""
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": cloud.region,
        "NO_PROXY": "127.0.0.1",
        "XDG_CONFIG_HOME": str(directory),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("miniwdl_cloud.cli.deploy._POLL_S", 0.01)
    monkeypatch.setattr("sys.argv", ["miniwdl-cloud", "deploy", "create", "refused"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return caught.value.code, err.splitlines()[-1]


def test_a_quota_that_is_used_up(
    cloud: LocalCloud,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The resource, what the service says, and where a higher quota is asked for; what was made is
    gone."""

    def full(*args: object, **kwargs: object) -> None:
        raise ServiceException("VpcLimitExceeded", "The maximum number of VPCs has been reached.")

    monkeypatch.setattr(VPCBackend, "create_vpc", full)
    code, told = create(cloud, capsys, monkeypatch, tmp_path)
    assert code == 78
    assert told == (
        "miniwdl-cloud: The stack 'refused' ended in ROLLBACK_COMPLETE because of VPC"
        " (AWS::EC2::VPC): The maximum number of VPCs has been reached; a quota of the account in"
        " this Region is used up: delete what is not needed, or ask for a higher one in Service"
        " Quotas."
    )
    left = LocalSession(cloud.endpoint_url, cloud.region).client("batch").describe_job_queues()
    assert left["jobQueues"] == []


def test_a_permission_that_a_resource_needs(
    cloud: LocalCloud,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """CloudFormation acts with the caller's permissions: the one that is missing is named."""
    denied = DENIED.format("iam:CreateRole", "role refused-TaskRole", "iam:CreateRole")

    def refuse(*args: object, **kwargs: object) -> None:
        raise ServiceException("AccessDenied", denied)

    monkeypatch.setattr(IAMBackend, "create_role", refuse)
    code, told = create(cloud, capsys, monkeypatch, tmp_path)
    assert code == 77
    assert told.startswith("miniwdl-cloud: The stack 'refused' ended in ROLLBACK_COMPLETE because")
    assert "Role (AWS::IAM::Role): User: " in told and "perform: iam:CreateRole" in told
    assert told.endswith(
        "; the credentials lack this permission: have it added, or deploy with others."
    )


@pytest.mark.filterwarnings("ignore:.*does not match an error shape:UserWarning")
def test_a_permission_to_deploy_at_all(
    cloud: LocalCloud,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Without cloudformation:CreateStack nothing begins."""
    action = "cloudformation:CreateStack"

    def refuse(*args: object, **kwargs: object) -> None:
        refused = ValidationError(message=DENIED.format(action, "stack/refused/*", action))
        refused.code = "AccessDenied"
        raise refused

    monkeypatch.setattr(CloudFormationResponse, "create_stack", refuse)
    code, told = create(cloud, capsys, monkeypatch, tmp_path)
    assert code == 77
    assert action in told and told.startswith("miniwdl-cloud: ")
